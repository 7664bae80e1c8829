"""`GET /` and `/static/`: the web page and its files, without a build step.

The files are read once: a change shows after a restart. `index.html` is rewritten: its modules are joined
into one script and its style sheets into one sheet, so a first visit loads few files. Links carry a hash of
the content, so browsers can cache the files for ever. The page contains the texts of the reader's language,
so it can be read before any script runs.

Decisions: docs/decisions/page.md
"""

import asyncio
import gzip
import hashlib
import html
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache, cached_property
from http import HTTPStatus
from pathlib import Path
from types import MappingProxyType

from aiohttp import hdrs, web

from server import __version__
from server.api.bodies import client_has, docs_path, language, takes_gzip
from server.api.bundling import ON_DEMAND, join_scripts, join_sheets, minified
from server.api.downloads import SANDBOX_POLICY
from server.api.keys import SETTINGS, WAKE
from server.api.openapi.operation import TEXT, Operation, Reply
from server.api.route import Access, get, undescribed
from server.core.errors import NotFound

_PACKAGE = Path(__file__).parent.parent
# In the package if it was installed from a wheel, beside the package in a checkout.
STATIC = next(path for path in (_PACKAGE / "static", _PACKAGE.parent / "static") if path.is_dir())
WORKER = "js/sw.js"
FOREVER = "public, max-age=31536000, immutable"
TYPES = {
    ".css": "text/css",
    ".html": "text/html",
    ".js": "text/javascript",
    ".json": "application/json",
    ".png": "image/png",
    ".svg": "image/svg+xml",
    ".webmanifest": "application/manifest+json",
}
# These types are parts of a page, whose own Content-Security-Policy applies to them, so they get a short one;
# a worker has its own policy.
_PARTS = (TYPES[".css"], TYPES[".js"], TYPES[".svg"])
MIN_PACKED = 400  # bytes
SCRIPT, SHEET, LATER_SHEET = "page.js", "page.css", "later.css"
_SHEETS = re.compile(r'(?:\s*<link rel="stylesheet" href="static/([^"]+)">)+')
# Files that are loaded by a script.
_LATER_SHEETS = re.compile(r'(?:\s*<link rel="stylesheet" href="static/([^"]+)" disabled>)+')
_EACH_SHEET = re.compile(r'href="static/([^"]+)"')
_ENTRY = re.compile(r'src="static/js/(\w+)\.js"')
_NAMED = re.compile(r'((?:src|href)="static/)([^"?]+)"')
_INDENT = re.compile(r"^[ \t]+", re.MULTILINE)
_TEXT = re.compile(r'(<[^<>]* data-t="([^"]+)"[^<>]*>)(?=</)')
_ATTRIBUTE = re.compile(r'\sdata-t-(label|placeholder|title)="([^"]+)"')
_NAMED_TEXT = re.compile(r'\sdata-t(?:-\w+)?="([^"]+)"')
_COMPOSED = re.compile(r"`([a-z_]+\.)\$\{")
_ATTRIBUTES = {"label": "aria-label"}
# The language that the reader has chosen on the page, which sets this cookie (`i18n.js`).
LANGUAGE_COOKIE = "clipwire_language"
# The script then chooses the language by what it can read of the browser, and shows the page afterwards.
_GUESSED = " data-guessed"


@dataclass(frozen=True)
class Asset:
    body: bytes
    type: str

    @cached_property
    def tag(self) -> str:
        return hashlib.sha256(self.body).hexdigest()[:16]

    @property
    def is_packable(self) -> bool:
        """Whether gzip helps: smaller files fit into one packet anyway, and PNG is compressed already."""
        return len(self.body) >= MIN_PACKED and self.type != TYPES[".png"]

    @cached_property
    def packed(self) -> bytes:
        return gzip.compress(self.body, 9, mtime=0)


@dataclass(frozen=True)
class Assets:
    """`files`: path below `static/` -> file; `pages`: language -> `index.html` with that language's texts;
    `guessed`: the same for browsers that name no language.
    """

    files: Mapping[str, Asset]
    pages: Mapping[str, Asset]
    guessed: Mapping[str, Asset]


@cache
def assets() -> Assets:
    """The page's files, read when this process first needs them."""
    return read_assets(STATIC)


class Page:
    """The page's files, read and compressed in a thread at the first request, so that they do not delay the
    start.
    """

    def __init__(self) -> None:
        self._reading: asyncio.Future[Assets] | None = None

    async def assets(self) -> Assets:
        if self._reading is None:
            self._reading = asyncio.ensure_future(asyncio.to_thread(assets))
        return await asyncio.shield(self._reading)


PAGE = web.AppKey("page", Page)


async def index(request: web.Request) -> web.Response:
    request.app[WAKE]()  # the visitor is about to paste a link
    page = await request.app[PAGE].assets()
    chosen, pages = request.cookies.get(LANGUAGE_COOKIE, ""), page.pages
    if chosen not in pages:
        chosen = language(request)
        if request.headers.get(hdrs.ACCEPT_LANGUAGE, "*") == "*":
            pages = page.guessed
    response = _answer(request, pages[chosen])
    response.headers[hdrs.VARY] = "Accept-Encoding, Accept-Language, Cookie"
    response.headers[hdrs.CONTENT_LANGUAGE] = chosen
    return response


async def moved(request: web.Request) -> web.Response:
    """Redirect `base_path` to `base_path` + `/` and the query: relative links of the page need the slash."""
    _, mark, query = request.raw_path.partition("?")
    location = f"{request.app[SETTINGS].server.base_path}/{mark}{query}"
    return web.Response(status=HTTPStatus.PERMANENT_REDIRECT, headers={"Location": location})


async def static(request: web.Request) -> web.Response:
    """A file that was read before. No path is built from the request, so there is no path traversal."""
    page = await request.app[PAGE].assets()
    asset = page.files.get(request.match_info["path"])
    tag = request.query_string.rstrip("&")  # the page's script appends `&` to retry a failed load
    # A script that is loaded on demand fits only the script of the same release that loads it.
    if asset is None or (request.match_info["path"] in ON_DEMAND and tag not in ("", asset.tag)):
        raise NotFound(docs_path(request))
    response = _answer(request, asset)
    # Cache for ever only if the hash is that of this file: in a cluster, pages of a node with another release
    # may ask here.
    if request.query_string == asset.tag:
        response.headers[hdrs.CACHE_CONTROL] = FOREVER
    if request.match_info["path"] == WORKER:
        # The page's path is above the folder of the worker's script.
        response.headers["Service-Worker-Allowed"] = "/"
    return response


def _answer(request: web.Request, asset: Asset) -> web.Response:
    """The file, with gzip if the client accepts that, or 304 if the client has it."""
    packed = asset.is_packable and takes_gzip(request)
    etag = f'"{asset.tag}-gzip"' if packed else f'"{asset.tag}"'
    if client_has(request, etag):
        response = web.Response(status=HTTPStatus.NOT_MODIFIED)
    else:
        response = web.Response(body=asset.packed if packed else asset.body, content_type=asset.type)
        if packed:
            response.headers[hdrs.CONTENT_ENCODING] = "gzip"
    if asset.type in _PARTS and request.match_info.get("path") != WORKER:
        response.headers["Content-Security-Policy"] = SANDBOX_POLICY
    response.headers[hdrs.ETAG] = etag
    response.headers[hdrs.VARY] = hdrs.ACCEPT_ENCODING
    return response


def paths_in(folder: Path) -> dict[str, Path]:
    """Path in a link -> file, for the types in `TYPES`, without hidden files and editors' backups."""
    found = {path.relative_to(folder): path for path in folder.rglob("*") if path.suffix in TYPES}
    return {
        name.as_posix(): path
        for name, path in found.items()
        if path.is_file() and not any(part.startswith(".") for part in name.parts)
    }


def read_assets(folder: Path) -> Assets:
    """Raises `NotJoinable` if a module cannot be joined with the others."""
    files = {name: Asset(path.read_bytes(), TYPES[path.suffix]) for name, path in paths_in(folder).items()}
    texts = {name: file.body.decode() for name, file in files.items() if file.type != TYPES[".png"]}
    index = texts["index.html"]
    # Join its modules into one script; links contain hashes of their content.
    modules = {Path(name).stem: text for name, text in texts.items() if name.startswith("js/")}
    [entry] = _ENTRY.findall(index)
    scripts = join_scripts(modules, entry)
    later = ""
    for name, text in reversed([*zip((SCRIPT, *ON_DEMAND), minified(scripts), strict=False)]):
        named = text.replace(later, f"{later}?{files[later].tag}") if later else text
        files[name], later = Asset(named.encode(), TYPES[".js"]), name
    for name, links, how in (
        (SHEET, _SHEETS, f'rel="stylesheet" href="static/{SHEET}"'),
        (LATER_SHEET, _LATER_SHEETS, f'id="later-sheet" data-href="static/{LATER_SHEET}"'),
    ):
        block = links.search(index)
        sheets = _EACH_SHEET.findall(block.group()) if block else []
        files[name] = Asset(join_sheets(texts[sheet] for sheet in sheets).encode(), TYPES[".css"])
        index = links.sub(f"\n    <link {how}>", index, count=1)
    index = _ENTRY.sub(f'src="static/{SCRIPT}"', index)
    index = _NAMED.sub(lambda found: f'{found[1]}{found[2]}?{files[found[2]].tag}"', index)
    pages, guessed = dict[str, Asset](), dict[str, Asset]()
    for name, text in texts.items():
        if name.startswith("i18n/"):
            worded = _worded(index, Path(name).stem, text, scripts[0])
            pages[Path(name).stem] = Asset(worded.encode(), TYPES[".html"])
            marked = worded.replace("<html", f"<html{_GUESSED}", 1)
            guessed[Path(name).stem] = Asset(marked.encode(), TYPES[".html"])
    visited = [files[name] for name in (SCRIPT, SHEET, ON_DEMAND[0], LATER_SHEET) if name in files]
    for asset in (*visited, *pages.values()):
        _ = asset.packed  # compress it now, since every visit requests it
    return Assets(MappingProxyType(files), MappingProxyType(pages), MappingProxyType(guessed))


def _worded(index: str, language: str, catalogue: str, script: str) -> str:
    """Return the page with texts of `language` in the elements that show at first, and as JSON the texts that
    `script` may show. Texts of dialogs and of scripts on demand are fetched later, with the catalogue.
    """
    texts = json.loads(catalogue)
    seen, mark, later = _INDENT.sub("", index).partition("<template")
    composed = tuple(_COMPOSED.findall(script))  # keys that scripts compose, such as `action.${name}`
    in_templates = set(_NAMED_TEXT.findall(later))
    used = {
        key: text
        for key, text in texts.items()
        if f'"{key}"' in script or key.startswith(composed) or key in in_templates
    }
    words = json.dumps(used, ensure_ascii=False, separators=(",", ":")).replace("<", "\\u003c")
    seen = _TEXT.sub(lambda found: found[1] + html.escape(texts[found[2]], quote=False), seen)
    seen = _ATTRIBUTE.sub(
        lambda found: f'{found[0]} {_ATTRIBUTES.get(found[1], found[1])}="{html.escape(texts[found[2]])}"',
        seen,
    )
    tag = f'<html lang="{language}" data-version="{__version__}">'
    seen = re.sub(r'<html lang="\w+">', tag, seen, count=1)
    data = f'<script type="application/json" id="texts" lang="{language}">{words}</script>'
    return (seen + mark + later).replace("</body>", f"{data}\n</body>", 1)


ROUTES = [
    get(
        "/",
        index,
        Operation("page", "Service", "The web page", {200: Reply("HTML", {"text/html": TEXT})}),
        access=Access.PAGE,
    ),
    undescribed(web.get("/static/{path:.+}", static), Access.PAGE),
]
