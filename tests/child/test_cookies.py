"""Cookies in a child are sent to their own hosts only, also by ffmpeg."""

from collections.abc import AsyncIterator
from io import StringIO
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import quote

import pytest
from yt_dlp.cookies import YoutubeDLCookieJar

from server.child.extract.cookie_jar import send_changed_cookies
from server.child.media import guarded_ffmpeg
from server.child.network.proxy import Proxy
from server.child.process.log import Log
from server.core import cookie_format as cookies
from tests.jobs import Jobs, Outcome, broken
from tests.site import Site, open_site, sha256
from tests.site import probe as film

SECRET = "s3cr3t-of-a-session"
FILE = f"# Netscape HTTP Cookie File\n#HttpOnly_127.0.0.1\tFALSE\t/\tFALSE\t0\tsession\t{SECRET}\n"
VIDEO: dict[str, Any] = {"outputs": ["video"]}


@pytest.fixture
async def other(media: Path) -> AsyncIterator[Site]:
    async with open_site(media, 0, "127.0.0.2") as site:
        yield site


def renewals(outcome: Outcome) -> list[str]:
    return [event["cookies"] for event in outcome.events if event["kind"] == "renewed"]


async def test_cookies_open_a_page_that_wants_a_log_in(
    jobs: Jobs, site: Site, media: Path, tmp_path: Path
) -> None:
    url = site.url(f"/video.mp4?login={SECRET}")
    assert broken(await jobs.download(tmp_path / "a", url, **VIDEO))[0] == "http_403"
    outcome = await jobs.download(tmp_path / "b", url, text=FILE, **VIDEO)
    assert sha256(outcome.file("video")) == sha256(media / "video.mp4")
    assert renewals(outcome) == []


async def test_cookies_reach_ffmpeg_when_it_records(jobs: Jobs, site: Site, tmp_path: Path) -> None:
    url = site.url(f"/hls/broadcast/index.m3u8?end=6&login={SECRET}")
    outcome = await jobs.download(tmp_path / "t", url, text=FILE, live="record", **VIDEO)
    assert (await film(outcome.file("video"))).duration > 2


async def test_ffmpeg_sends_cookies_to_no_other_host(
    jobs: Jobs, site: Site, other: Site, tmp_path: Path
) -> None:
    away = quote(other.url("/hls/long/", "127.0.0.2"), safe="")
    url = site.url(f"/hls/broadcast/index.m3u8?end=6&segments={away}")
    allowed = ("127.0.0.1", "127.0.0.2")
    outcome = await jobs.download(
        tmp_path / "t", url, text=FILE, live="record", allowed_private_hosts=allowed, **VIDEO
    )
    assert outcome.file("video").is_file()
    assert other.requests
    assert not any("Cookie" in request.headers for request in other.requests)
    assert any("Cookie" in request.headers for request in site.requests)


def test_ffmpeg_gets_the_cookies_of_an_https_address_and_the_proxy_their_domains() -> None:
    own, shared = "www.x.test\tFALSE\t/\tTRUE\t0\ta\t1\n", ".x.test\tTRUE\t/\tTRUE\t0\tb\t2\n"
    other = "y.test\tFALSE\t/\tTRUE\t0\tc\t3\n"
    jar = YoutubeDLCookieJar(StringIO(f"# Netscape HTTP Cookie File\n{own}{shared}{other}"))
    jar.load()
    with Proxy(lambda _: None) as server:
        words = guarded_ffmpeg.source(
            {"url": "https://www.x.test/a.m3u8", "protocol": "m3u8"}, server, [], jar
        )
        lines = words[words.index("-cookies") + 1].splitlines()
        assert sorted(lines) == ["a=1; path=/; domain=www.x.test;", "b=2; path=/; domain=x.test;"]
        assert server.cookie_domains == {"www.x.test", ".x.test"}


async def test_cookies_are_neither_in_the_directory_nor_in_the_log(
    jobs: Jobs, site: Site, tmp_path: Path
) -> None:
    url = site.url(f"/hls/broadcast/index.m3u8?end=6&login={SECRET}")
    outcome = await jobs.download(tmp_path / "t", url, text=FILE, live="record", **VIDEO)
    await jobs.download(tmp_path / "t", site.url("/video.mp4?status=403"), text=FILE, **VIDEO)
    assert SECRET not in outcome.log.replace(f"login={SECRET}", "")
    files = [path for path in (tmp_path / "t").rglob("*") if path.is_file()]
    assert files
    assert not any(SECRET.encode() in path.read_bytes() for path in files)


async def test_a_cookie_that_the_site_renews_is_reported_to_the_server(
    jobs: Jobs, site: Site, tmp_path: Path
) -> None:
    outcome = await jobs.download(tmp_path / "t", site.url("/video.mp4?renew=next"), text=FILE, **VIDEO)
    *_, back = renewals(outcome)  # the site renews the cookie with each answer, for one more hour
    [cookie] = cookies.parse(cookies.merge_changes(FILE, FILE, back, now=0))
    assert (cookie.value, cookie.http_only) == ("next", True)
    assert outcome.kinds.index("renewed") < outcome.kinds.index("download_started"), "a kill loses nothing"


async def test_an_info_job_has_cookies_too(jobs: Jobs, site: Site, tmp_path: Path) -> None:
    url = site.url(f"/video.mp4?login={SECRET}&renew=next")
    async with jobs.look(tmp_path / "t", url, FILE) as job:
        outcome = await job.run()
    assert outcome.kinds == ["renewed", "extracted"]


def test_more_cookies_than_can_be_stored_are_not_reported(tmp_path: Path) -> None:
    said: list[str] = []
    link: Any = SimpleNamespace(send=lambda kind, cookies: said.append(cookies))
    with (tmp_path / "log").open("w+") as file:
        log = Log(file.fileno())
        engine: Any = SimpleNamespace(cookiejar=jar("a" * 100), on_extracted=None)
        with send_changed_cookies(engine, link, log):
            engine.cookiejar = jar("b" * cookies.MAX_SIZE)
            engine.on_extracted()
            assert said == []
            engine.cookiejar = jar("c" * 100)
        assert "more cookies than can be stored" in (tmp_path / "log").read_text()
    assert len(said) == 1


def jar(value: str) -> YoutubeDLCookieJar:
    found = YoutubeDLCookieJar(StringIO(FILE.replace(SECRET, value)))
    found.load()
    return found
