"""The files of the page, read once at the start: each with its body, its gzipped body and its ETag.

A change to a file shows after a restart. `index.html` is rewritten: its modules are joined into one script
and its style sheets into one sheet. Links carry a hash of the content, so browsers can cache the files for
ever. The page contains the texts of the reader's language, so it can be read before any script runs.
"""

import gzip
import hashlib
import html
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import MappingProxyType

from server import __version__
from server.api.page_bundle import LATER, join_scripts, join_sheets

TYPES = {
    ".css": "text/css",
    ".html": "text/html",
    ".js": "text/javascript",
    ".json": "application/json",
    ".png": "image/png",
    ".svg": "image/svg+xml",
    ".webmanifest": "application/manifest+json",
}
MIN_PACKED = 400  # bytes
SCRIPT, SHEET = "page.js", "page.css"
_SHEETS = re.compile(r'(?:\s*<link rel="stylesheet" href="static/([^"]+)">)+')
_EACH_SHEET = re.compile(r'href="static/([^"]+)"')
_ENTRY = re.compile(r'src="static/js/(\w+)\.js"')
_NAMED = re.compile(r'((?:src|href)="static/)([^"?]+)"')
_INDENT = re.compile(r"^[ \t]+", re.MULTILINE)
_TEXT = re.compile(r'(<[^<>]* data-t="([^"]+)"[^<>]*>)(?=</)')
_ATTRIBUTE = re.compile(r'\sdata-t-(label|placeholder|title)="([^"]+)"')
_ATTRIBUTES = {"label": "aria-label"}


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
    """`files`: path below `static/` -> file; `pages`: language -> `index.html` with that language's texts."""

    files: Mapping[str, Asset]
    pages: Mapping[str, Asset]


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
    index = _text(files["index.html"])
    script, later = _scripts(files, index)
    files[LATER] = _asset(later, ".js")
    files[SCRIPT] = _asset(script.replace(LATER, f"{LATER}?{files[LATER].tag}"), ".js")
    files[SHEET] = _asset(_sheet(files, index), ".css")
    index = _named(_ENTRY.sub(f'src="static/{SCRIPT}"', _SHEETS.sub(_one_sheet, index, 1)), files)
    pages = {
        Path(name).stem: _asset(_worded(index, Path(name).stem, _text(file)), ".html")
        for name, file in files.items()
        if name.startswith("i18n/")
    }
    for asset in (files[SCRIPT], files[LATER], files[SHEET], *pages.values()):
        _ = asset.packed  # compress now what every visit requests, so that no request waits for it
    return Assets(MappingProxyType(files), MappingProxyType(pages))


def _asset(text: str, suffix: str) -> Asset:
    return Asset(text.encode(), TYPES[suffix])


def _text(asset: Asset) -> str:
    return asset.body.decode()


def _scripts(files: Mapping[str, Asset], index: str) -> tuple[str, str]:
    modules = {Path(name).stem: _text(file) for name, file in files.items() if name.startswith("js/")}
    [entry] = _ENTRY.findall(index)
    return join_scripts(modules, entry)


def _sheet(files: Mapping[str, Asset], index: str) -> str:
    block = _SHEETS.search(index)
    names = _EACH_SHEET.findall(block.group()) if block else []
    return join_sheets(_text(files[name]) for name in names)


def _one_sheet(_: re.Match[str]) -> str:
    return f'\n    <link rel="stylesheet" href="static/{SHEET}">'


def _named(index: str, files: Mapping[str, Asset]) -> str:
    """`index` with the hash of its content added to the link of each file."""
    return _NAMED.sub(lambda found: f'{found[1]}{found[2]}?{files[found[2]].tag}"', index)


def _worded(index: str, language: str, catalogue: str) -> str:
    """The page with a language's texts in the elements that show at first, and all texts as JSON."""
    texts = json.loads(catalogue)
    words = json.dumps(texts, ensure_ascii=False, separators=(",", ":")).replace("<", "\\u003c")
    seen, mark, later = _INDENT.sub("", index).partition("<dialog")
    seen = _TEXT.sub(lambda found: found[1] + html.escape(texts[found[2]], quote=False), seen)
    seen = _ATTRIBUTE.sub(
        lambda found: f'{found[0]} {_ATTRIBUTES.get(found[1], found[1])}="{html.escape(texts[found[2]])}"',
        seen,
    )
    tag = f'<html lang="{language}" data-version="{__version__}">'
    seen = re.sub(r'<html lang="\w+">', tag, seen, count=1)
    data = f'<script type="application/json" id="texts" lang="{language}">{words}</script>'
    return (seen + mark + later).replace("</body>", f"{data}\n</body>", 1)
