"""The page's files as the server sends them: joined, compressed, and in the reader's language."""

import asyncio
import gzip
import json
import re
import struct
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient

from server import __version__
from server.api import page
from server.api.bundling import ON_DEMAND
from server.api.downloads import SANDBOX_POLICY
from server.api.keys import LANGUAGE, WAKE
from server.api.page import LANGUAGE_COOKIE, SCRIPT, SHEET, WORKER, paths_in, read_assets
from server.app import create_app
from server.settings import DownloadSettings, Settings, StorageSettings
from tests.pictures.icons import OPAQUE, SIZES

Client = TestClient[web.Request, web.Application]
Connect = Callable[[web.Application], Awaitable[Client]]
STATIC = page.STATIC
FIRST_VISIT = 45_500  # bytes, which leave some for headers and for the answers of the API
MAX_ICON = 12_000  # bytes


@pytest.fixture
async def client(aiohttp_client: Connect) -> Client:
    app = web.Application()
    app[page.PAGE], app[LANGUAGE] = page.Page(), "zh"
    app[WAKE] = lambda: None
    app.add_routes([route.definition for route in page.ROUTES])
    client = await aiohttp_client(app)
    client.session._auto_decompress = False
    client.session.headers["Accept-Encoding"] = "identity"
    return client


async def test_a_file_comes_packed_for_those_who_can_unpack_it(client: Client) -> None:
    plain = await client.get(f"/static/{SCRIPT}")
    assert "Content-Encoding" not in plain.headers
    for header in ("gzip", "deflate, gzip;q=0.5", "*", "br;q=1.0, GZIP", "identity;q=0, *;q=0.1"):
        packed = await client.get(f"/static/{SCRIPT}", headers={"Accept-Encoding": header})
        assert packed.headers["Content-Encoding"] == "gzip"
        assert gzip.decompress(await packed.read()) == await plain.read()
        assert packed.headers["ETag"] != plain.headers["ETag"]
        assert packed.headers["Vary"] == plain.headers["Vary"] == "Accept-Encoding"
    for header in ("", "br", "gzip;q=0", "gzip; q=0.000, *", "identity, *;q=0"):
        other = await client.get(f"/static/{SCRIPT}", headers={"Accept-Encoding": header})
        assert other.headers["ETag"] == plain.headers["ETag"]


async def test_who_has_a_packed_file_has_it_still(client: Client) -> None:
    headers = {"Accept-Encoding": "gzip"}
    tag = (await client.get("/", headers=headers)).headers["ETag"]
    assert (await client.get("/", headers=headers | {"If-None-Match": tag})).status == 304
    assert (await client.get("/", headers={"If-None-Match": tag})).status == 200


async def test_what_the_page_names_need_not_be_asked_for_again(client: Client) -> None:
    text = await (await client.get("/")).text()
    named = re.findall(r'(?:src|href)="(static/[^"]+)"', text)
    assert {name.split("?")[0] for name in named} >= {
        f"static/{SCRIPT}",
        f"static/{SHEET}",
        "static/icon.svg",
    }
    for name in named:
        assert "immutable" in (await client.get("/" + name)).headers["Cache-Control"]
    for name in (
        f"static/{SCRIPT}?0123456789abcdef",
        f"static/{SCRIPT}",
        "",
    ):  # of another release, or unknown
        assert "immutable" not in (await client.get("/" + name)).headers.get("Cache-Control", "")


async def test_parts_of_the_page_have_a_short_policy_and_documents_and_the_worker_that_of_all_answers(
    client: Client,
) -> None:
    for name in (SCRIPT, SHEET, "icon.svg", *ON_DEMAND):
        answer = await client.get(f"/static/{name}")
        assert answer.headers.getall("Content-Security-Policy") == [SANDBOX_POLICY], name
    for path in ("/", f"/static/{WORKER}", "/static/index.html"):
        # Not set here: `Doors` adds it to the real answer.
        assert "Content-Security-Policy" not in (await client.get(path)).headers, path


@pytest.mark.parametrize("name", ON_DEMAND)
async def test_a_page_of_another_release_gets_no_script_that_knows_other_names(
    aiohttp_client: Callable[..., Awaitable[Client]], tmp_path: Path, name: str
) -> None:
    """The script says that the page has to be loaded again; this release's script could do anything on that
    page.
    """
    storage, downloads = StorageSettings(data_dir=tmp_path / "data"), DownloadSettings(min_free_disk=0)
    client = await aiohttp_client(create_app(Settings(storage=storage, downloads=downloads)))
    tag = page.assets().files[name].tag
    for query in ("", f"?{tag}", f"?{tag}&&"):
        assert (await client.get(f"/static/{name}{query}")).status == 200
    for query in ("?0123456789abcdef", "?0123456789abcdef&", f"?{tag}0"):
        assert (await client.get(f"/static/{name}{query}")).status == 404


async def test_only_the_service_worker_may_work_for_more_than_its_folder(client: Client) -> None:
    assert (await client.get("/static/js/sw.js")).headers["Service-Worker-Allowed"] == "/"
    assert "Service-Worker-Allowed" not in (await client.get("/static/js/main.js")).headers


@pytest.mark.parametrize(("asked", "language"), [("zh-CN", "zh"), ("de, en;q=0.1", "en"), ("*", "zh")])
async def test_the_page_comes_with_the_words_of_the_reader(client: Client, asked: str, language: str) -> None:
    answer = await client.get("/", headers={"Accept-Language": asked})
    text, words = await answer.text(), json.loads((STATIC / f"i18n/{language}.json").read_text("utf-8"))
    marked = " data-guessed" if asked == "*" else ""
    assert f'<html{marked} lang="{language}" data-version="{__version__}">' in text
    assert answer.headers["Vary"] == "Accept-Encoding, Accept-Language, Cookie"
    assert f'data-t="submit.go">{words["submit.go"]}</button>' in text
    assert f'placeholder="{words["submit.placeholder"]}"' in text
    assert not re.search(r'data-t="[^"]*"[^<>]*></', text.partition("<template")[0])
    [data] = re.findall(rf'<script type="application/json" id="texts" lang="{language}">(.*)</script>', text)
    known = json.loads(data)
    assert known.items() <= words.items()
    assert {"action.pause", "problem.no_answer"} <= known.keys()
    assert not {"cookies.add", "player.small", "log.empty"} & known.keys(), (
        "what is loaded on demand brings its own"
    )


@pytest.mark.parametrize("asked", [{}, {"Accept-Language": "*"}, {"Accept-Language": "zh"}])
async def test_the_page_comes_in_the_language_that_was_chosen_on_it(
    client: Client, asked: dict[str, str]
) -> None:
    for chosen, begin in (
        ("en", '<html lang="en"'),
        ("xx", "<html data-guessed"),
        ("", "<html data-guessed"),
    ):
        cookie = {"Cookie": f"{LANGUAGE_COOKIE}={chosen}"} if chosen else {}
        text = await (await client.get("/", headers=asked | cookie)).text()
        names_a_language = chosen != "en" and asked.get("Accept-Language") == "zh"
        assert ('<html lang="zh"' if names_a_language else begin) in text


def test_a_word_is_text_and_never_markup(tmp_path: Path) -> None:
    for name, text in {
        "index.html": '<html lang="zh"><script type="module" src="static/js/main.js"></script>'
        '<body><p data-t="a" data-t-label="a"></p></body>',
        "js/main.js": "",
        "i18n/en.json": json.dumps({"a": '</script><b>"&'}),
    }.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    page = read_assets(tmp_path).pages["en"].body.decode()
    assert (
        '<p data-t="a" data-t-label="a" aria-label="&lt;/script&gt;&lt;b&gt;&quot;&amp;">&lt;/script' in page
    )
    assert page.count("</script>") == 2
    assert "<b>" not in page


@pytest.mark.wide
async def test_the_page_is_read_once_and_not_before_somebody_asks_for_it(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    reads = list[Path]()

    def read(folder: Path) -> page.Assets:
        reads.append(folder)
        return read_assets(folder)

    page.assets.cache_clear()
    monkeypatch.setattr(page, "read_assets", read)
    assert reads == []
    answers = await asyncio.gather(*(client.get(path) for path in ("/", "/?lang=en", "/static/icon.svg")))
    assert {answer.status for answer in answers} == {200}
    assert reads == [STATIC]


@pytest.mark.parametrize("language", ["zh", "en"])
def test_a_first_visit_is_small(language: str) -> None:
    made = page.assets()
    parts = (made.pages[language], *(made.files[name] for name in (SCRIPT, SHEET, "icon.svg")))
    assert sum(len(part.packed) for part in parts) < FIRST_VISIT


def test_only_what_the_page_is_made_of_can_be_asked_for(tmp_path: Path) -> None:
    ours = ["index.html", "js/main.js"]
    foreign = [".DS_Store", ".index.html", "js/.main.js.swp", "js/main.js~", "js/main.js.orig", "README",
               "js/#main.js#", ".git/hook.js", "__pycache__/x.pyc"]  # fmt: skip
    for name in (*ours, *foreign):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "folder.js").mkdir()
    assert sorted(paths_in(tmp_path)) == ours


def test_all_that_lies_there_can_be_asked_for() -> None:
    lying = {path.relative_to(STATIC).as_posix() for path in STATIC.rglob("[!.]*") if path.is_file()}
    assert lying | {SCRIPT, *ON_DEMAND, SHEET, page.LATER_SHEET} == set(page.assets().files)


@pytest.mark.parametrize(("name", "size"), [*SIZES.items()])
def test_the_icon_is_there_for_those_who_take_no_svg(name: str, size: int) -> None:
    picture = (STATIC / name).read_bytes()
    width, height, depth, colours = struct.unpack(">IIBB", picture[16:26])  # of IHDR (PNG, section 11.2.2)
    assert picture.startswith(b"\x89PNG\r\n\x1a\n")
    assert (width, height, depth) == (size, size, 8)
    assert colours == (2 if name == OPAQUE else 6), "what is clear becomes black on a telephone of Apple's"
    assert len(picture) < MAX_ICON


def test_every_icon_that_is_named_says_its_size() -> None:
    icons = json.loads((STATIC / "manifest.webmanifest").read_text("utf-8"))["icons"]
    assert {icon["src"]: icon["sizes"] for icon in icons if icon["src"].endswith(".png")} == {
        name: f"{size}x{size}" for name, size in SIZES.items() if name != OPAQUE
    }
    assert all((STATIC / icon["src"]).is_file() for icon in icons)
    index = (STATIC / "index.html").read_text("utf-8")
    assert f'<link rel="apple-touch-icon" href="static/{OPAQUE}">' in index


async def test_a_picture_is_not_packed_once_more(client: Client) -> None:
    answer = await client.get(f"/static/{OPAQUE}", headers={"Accept-Encoding": "gzip"})
    assert (answer.content_type, answer.headers.get("Content-Encoding")) == ("image/png", None)
