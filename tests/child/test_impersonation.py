"""Sources that answer only browsers, which they recognise by the TLS handshake: see `tests.walled`."""

import json
import select
import socket
import sys
from collections.abc import Iterator
from pathlib import Path
from subprocess import run

import pytest

from tests.jobs import ENVIRONMENT, ROOT, Jobs, broken, running_jobs, told
from tests.shelf import Shelf
from tests.walled import HASHED, Walled, open_walled

PAGE = '<html><head><title>A film</title></head><body><video src="{}"></video></body></html>'


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Walled]:
    with open_walled(tmp_path_factory.mktemp("walled")) as site:
        yield site


@pytest.fixture
def walled(site: Walled) -> Walled:
    """The site, as it was before the first test."""
    blank = Walled(site.authority, site.port)
    vars(site).update(vars(blank))
    return site


@pytest.fixture(scope="module")
def trusting(site: Walled) -> Iterator[Jobs]:
    """Jobs that trust the site's authority, as if an operator had named it in `SSL_CERT_FILE`."""
    with running_jobs(SSL_CERT_FILE=str(site.authority)) as jobs:
        yield jobs


def film(walled: Walled, media: Path) -> str:
    return walled.put("/film.mp4", (media / "video.mp4").read_bytes(), "video/mp4")


@pytest.mark.wide
async def test_the_page_and_the_film_behind_it_are_asked_for_as_a_browser_does(
    trusting: Jobs, walled: Walled, media: Path, tmp_path: Path
) -> None:
    film(walled, media)
    page = walled.put("/watch", PAGE.format("/film.mp4").encode(), "text/html")
    outcome = await trusting.download(tmp_path / "job", page)
    assert outcome.file("video").read_bytes()[:8] == (media / "video.mp4").read_bytes()[:8]
    assert walled.asked("/watch") == [False, True]
    assert walled.asked("/film.mp4")
    assert all(walled.asked("/film.mp4"))


@pytest.mark.wide
async def test_each_segment_is_asked_for_as_a_browser_does(
    trusting: Jobs, walled: Walled, media: Path, tmp_path: Path
) -> None:
    folder = media / "hls/ts"
    for path in folder.iterdir():
        kind = "application/vnd.apple.mpegurl" if path.suffix == ".m3u8" else "video/mp2t"
        walled.put(f"/{path.name}", path.read_bytes(), kind)
    outcome = await trusting.download(tmp_path / "job", walled.url("/index.m3u8"))
    assert outcome.file("video").stat().st_size > 100_000
    segments = [seen for seen in walled.seen if seen.path.endswith(".ts")]
    assert len(segments) == len(list(folder.glob("*.ts")))
    assert all(seen.browser for seen in segments)


@pytest.mark.parametrize(
    ("status", "wall"),
    [
        (403, b"<html><head><TITLE>Just a moment...</TITLE></head></html>"),
        (503, b"<title lang=en>\n DDoS-Guard </title>"),
        (403, b"<html><title>Attention Required! | Cloudflare</title>"),
        (403, b"<TITLE>Access Denied</TITLE>"),
    ],
)
async def test_a_wall_is_known_by_its_title(
    trusting: Jobs, walled: Walled, media: Path, tmp_path: Path, status: int, wall: bytes
) -> None:
    walled.headers, walled.status, walled.wall = {}, status, wall
    outcome = await trusting.download(tmp_path / "job", film(walled, media))
    assert outcome.file("video").stat().st_size > 100_000


async def test_a_bare_403_of_a_page_is_asked_for_as_a_browser_does(
    trusting: Jobs, walled: Walled, media: Path, tmp_path: Path
) -> None:
    walled.headers, walled.wall = {}, b"Forbidden"
    film(walled, media)
    page = walled.put("/watch", PAGE.format("/film.mp4").encode(), "text/html")
    outcome = await trusting.download(tmp_path / "job", page)
    assert outcome.file("video").stat().st_size > 100_000
    assert walled.asked("/watch") == [False, True]
    assert all(walled.asked("/film.mp4"))


@pytest.mark.parametrize("title", ["The film 'Just a moment'", "Access denied to members of the free plan"])
async def test_a_bare_403_stays_one_if_a_browser_is_refused_too_and_is_asked_for_twice_only_once(
    trusting: Jobs, walled: Walled, media: Path, tmp_path: Path, title: str
) -> None:
    walled.headers, walled.wall, walled.for_all = {}, f"<title>{title}</title>".encode(), True
    outcome = await trusting.download(tmp_path / "job", film(walled, media))
    assert broken(outcome)[:2] == ("http_403", False)
    assert walled.asked("/film.mp4") == [False, True]


async def test_a_403_that_says_when_to_come_back_is_a_ban_and_not_asked_for_twice(
    trusting: Jobs, walled: Walled, media: Path, tmp_path: Path
) -> None:
    walled.headers, walled.wall = {"Retry-After": "9"}, b"Forbidden"
    outcome = await trusting.download(tmp_path / "job", film(walled, media))
    assert broken(outcome) == ("bot_check", True, 9)
    assert walled.asked("/film.mp4") == [False]


async def test_a_wall_that_only_a_browser_meets_leaves_a_bare_403_what_it_is(
    trusting: Jobs, walled: Walled, media: Path, tmp_path: Path
) -> None:
    walled.headers, walled.wall, walled.challenges_browsers = {}, b"Forbidden", True
    outcome = await trusting.download(tmp_path / "job", film(walled, media))
    assert broken(outcome)[:2] == ("http_403", False)


async def test_a_busy_page_without_a_wall_is_not_requested_twice(
    trusting: Jobs, walled: Walled, media: Path, tmp_path: Path
) -> None:
    walled.headers, walled.wall, walled.status = {"Retry-After": "1"}, b"<title>Busy</title>", 503
    outcome = await trusting.download(tmp_path / "job", film(walled, media))
    assert broken(outcome)[:2] == ("http_503", True)
    assert True not in walled.asked("/film.mp4")


async def test_a_wall_that_stands_before_a_browser_too_is_a_bot_check(
    trusting: Jobs, walled: Walled, media: Path, tmp_path: Path
) -> None:
    walled.for_all = True
    outcome = await trusting.download(tmp_path / "job", film(walled, media))
    assert broken(outcome)[:2] == ("bot_check", True)
    assert walled.asked("/film.mp4") == [False, True]


async def test_an_extractor_that_wants_a_browser_gets_one_at_once(
    walled: Walled, shelf: Shelf, media: Path, tmp_path: Path
) -> None:
    film(walled, media)
    result = {"id": "a", "title": "a", "url": walled.url("/film.mp4"), "ext": "mp4", "impersonate": True}
    outcome = await told(tmp_path / "job", shelf, result, {"SSL_CERT_FILE": str(walled.authority)})
    assert outcome.file("video").stat().st_size > 100_000
    assert walled.asked("/film.mp4") == [True]


@pytest.mark.long
async def test_only_authorities_that_the_operator_names_are_believed(
    walled: Walled, shelf: Shelf, tmp_path: Path
) -> None:
    result = {"id": "a", "title": "a", "url": walled.url("/film.mp4"), "ext": "mp4", "impersonate": True}
    assert broken(await told(tmp_path / "job", shelf, result))[:2] == ("tls_error", False)


@pytest.mark.long
async def test_authorities_in_a_folder_are_believed_too(
    walled: Walled, shelf: Shelf, media: Path, tmp_path: Path
) -> None:
    film(walled, media)
    folder = tmp_path / "authorities"
    folder.mkdir()
    (folder / HASHED).write_bytes(walled.authority.read_bytes())
    result = {"id": "a", "title": "a", "url": walled.url("/film.mp4"), "ext": "mp4", "impersonate": True}
    named = {"SSL_CERT_FILE": "/nonexistent", "SSL_CERT_DIR": str(folder)}
    outcome = await told(tmp_path / "job", shelf, result, named)
    assert outcome.file("video").stat().st_size > 100_000


@pytest.mark.long
async def test_a_handshake_that_is_cut_off_is_a_connection_that_failed(
    walled: Walled, shelf: Shelf, tmp_path: Path
) -> None:
    walled.hangs_up = True
    result = {"id": "a", "title": "a", "url": walled.url("/film.mp4"), "ext": "mp4", "impersonate": True}
    outcome = await told(tmp_path / "job", shelf, result, {"SSL_CERT_FILE": str(walled.authority)})
    assert broken(outcome)[:2] == ("connection_failed", True)


@pytest.mark.parametrize(
    ("host", "failure"), [("nowhere.invalid", "dns_error"), ("10.0.0.1", "blocked_address")]
)
async def test_the_fault_of_a_host_is_reported_as_without_a_browser(
    walled: Walled, shelf: Shelf, tmp_path: Path, host: str, failure: str
) -> None:
    result = {"id": "a", "title": "a", "url": f"https://{host}/film.mp4", "ext": "mp4", "impersonate": True}
    assert broken(await told(tmp_path / "job", shelf, result))[0] == failure


@pytest.mark.long
async def test_a_film_that_nobody_reads_is_not_fetched(walled: Walled) -> None:
    """libcurl would load all of it into memory. So a page is read up to a limit, and a film is paused while
    nobody reads it.
    """
    url = walled.put("/large", bytes(64 << 20), "video/mp4")
    watching = "answer = ask()\nbefore = now = held()\nwhile time.sleep(0.2) or now < (now := held()): pass\n"
    assert _look(walled, url, f"{watching}print(now - before)") < 8 << 20


@pytest.mark.wide
async def test_all_of_a_film_comes_however_slowly_it_is_read(walled: Walled) -> None:
    url = walled.put("/large", bytes(8 << 20), "video/mp4")
    reading = "while block := answer.read(1 << 16):\n  n += len(block); time.sleep(0.005)\nprint(n)"
    assert _look(walled, url, f"answer, n = ask(), 0\n{reading}") == 8 << 20


@pytest.mark.long
async def test_a_request_that_is_given_up_midway_closes_its_connection(walled: Walled) -> None:
    url = walled.put("/large", bytes(64 << 20), "video/mp4")
    begun = "answer = ask(); answer.read(10)\n"
    filled = "blocks = answer.fp._response.queue\nwhile not blocks.full(): time.sleep(0.01)\n"
    leaving = "del answer; ydl.close()\nfor one in threads(): one.join(20)\n"
    assert _look(walled, url, f"{begun}{filled}{leaving}print(len(threads()))") == 0


@pytest.mark.wide
def test_an_alternative_address_that_a_source_announces_is_not_used(walled: Walled) -> None:
    with socket.create_server(("127.0.0.1", 0)) as stream, socket.socket(type=socket.SOCK_DGRAM) as datagrams:
        datagrams.bind(stream.getsockname())
        port = stream.getsockname()[1]
        walled.asides = {"Alt-Svc": f'h3=":{port}"; ma=9999, h2=":{port}"; ma=9999'}
        url = walled.put("/page", b"", "text/html")
        assert _look(walled, url, "ask().read(); print(len(ask().read()))") == 0
        assert walled.asked("/page") == [True, True]
        assert select.select([stream, datagrams], [], [], 0)[0] == []


@pytest.mark.wide
def test_a_child_loads_no_libcurl_before_it_is_needed(walled: Walled) -> None:
    url = walled.put("/page", b"", "text/html")
    assert _look(walled, url, "print(int('curl_cffi' in sys.modules))") == 0


@pytest.mark.long
def test_where_it_may_not_be_kept_behind_the_proxy_nobody_is_asked_as_a_browser_does(walled: Walled) -> None:
    url = walled.put("/page", b"", "text/html")
    spoiled = "yt_dlp_parts.missing = lambda part: ['_create_instance']\n"
    refused = "try: ask()\nexcept RequestError as error: print(int('not available' in str(error)))"
    assert _look(walled, url, spoiled + refused) == 1
    assert walled.seen == []


def _look(walled: Walled, url: str, then: str) -> int:
    """Run `then` in an interpreter of its own, whose `ask` requests `url` as a browser does; return the
    number that it prints.
    """
    program = f"{LOOK}{then}\nsys.stdout.flush(); os._exit(0)  # as children end"
    command = [sys.executable, "-I", "-c", program, json.dumps([str(ROOT), url])]
    environment = ENVIRONMENT | {"SSL_CERT_FILE": str(walled.authority)}
    ran = run(command, env=environment, capture_output=True, text=True, timeout=50, check=False)
    assert ran.returncode == 0, ran.stderr
    return int(ran.stdout)


LOOK = """
import json, os, sys, threading, time
root, url = json.loads(sys.argv[1])
sys.path.append(root)
from server.child import preload
preload.load("server.child.job")
from yt_dlp.networking.common import Request
from yt_dlp.networking.exceptions import RequestError
from server.child.network import guard
from server.child.process import yt_dlp_parts
from server.child.network import browser
from server.child.extract.youtube_dl import Engine
from server.child.extract.failures import Trail

def held():
    return int(open("/proc/self/statm").read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
def threads():
    return [one for one in threading.enumerate() if one.name.startswith("browser") and one.is_alive()]

guard.install(["127.0.0.1"])
ydl = Engine({"quiet": True, "compat_opts": {"no-certifi"}}, Trail())
ydl.get_info_extractor("Generic")
def ask():
    return ydl.urlopen(Request(url, extensions={browser.WANTED: browser.ANY}))
"""
