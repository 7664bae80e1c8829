"""The addresses of podcast feeds: who may read them, which names they may have, and what links in them
contain.
"""

import html
import json
import logging
import re
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import feedparser  # type: ignore[import-untyped]
import listparser
import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient
from pydantic import SecretStr
from yarl import URL

from server.app import create_app
from server.core.events import Completed, Started, apply
from server.core.film import About, ChapterMark, StoredFile
from server.core.redaction import without_path_secret
from server.feeds.feed_routes import MAX_CACHED_BYTES, Built, FeedCache
from server.files.public_names import new_short, short_of
from server.settings import DownloadSettings, FeedsSettings, LimitSettings, ServerSettings, Settings
from server.settings import StorageSettings as Storage
from server.storage import sqlite
from server.subscriptions.subscription import FoundEntry, Pace
from tests.examples import utc_now
from tests.subscriptions import test_subscription_rows as rows

Client = TestClient[web.Request, web.Application]
Connect = Callable[[web.Application], Awaitable[Client]]
LINK = "http://127.0.0.9:9/feed"
TOKEN = "right-token-123"
BEARER = {"Authorization": f"Bearer {TOKEN}"}


@pytest.fixture
def opened(aiohttp_client: Connect, tmp_path: Path) -> Callable[..., Awaitable[Client]]:
    async def opened(**sections: Any) -> Client:
        settings = Settings(
            storage=Storage(data_dir=tmp_path / "data"),
            downloads=DownloadSettings(min_free_disk=0),
            **sections,
        )
        return await aiohttp_client(create_app(settings))

    return opened


Opened = Callable[..., Awaitable[Client]]


async def subscribed(client: Client, name: str = "pods", url: str = LINK, **headers: str) -> dict[str, Any]:
    body = {"url": url, "enabled": False, "feed": {"name": name}}
    answer = await client.post("/api/subscriptions", json=body, headers=headers)
    assert answer.status == 201, await answer.text()
    payload: dict[str, Any] = await answer.json()
    return payload


def path_of(url: str) -> str:
    return re.sub("^https?://[^/]+", "", url)


async def refused(client: Client, path: str, **headers: str) -> tuple[int, str]:
    answer = await client.get(path, headers=headers)
    return answer.status, (await answer.json(content_type=None))["code"]


async def test_who_has_the_address_needs_no_token(opened: Opened) -> None:
    client = await opened(server=ServerSettings(tokens=(SecretStr(TOKEN),)))
    made = await subscribed(client, **BEARER)
    path = path_of(made["feed"]["url"])
    answer = await client.get(path)
    assert answer.status == 200
    assert answer.headers["Content-Type"] == "application/rss+xml; charset=utf-8"
    assert answer.headers["Cache-Control"] == "private, no-cache"
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert answer.headers["Content-Security-Policy"] == "sandbox; default-src 'none'"
    head = await client.head(path)
    assert (head.status, head.headers["Content-Length"]) == (200, answer.headers["Content-Length"])
    assert await head.read() == b""
    secret = path.split("/")[2]
    for other in ("/api/tasks", "/api/subscriptions", "/api/feeds", f"/api/tasks?token={secret}"):
        assert await refused(client, other) == (401, "token_required")
    assert await refused(client, "/api/tasks", Authorization=f"Bearer {secret}") == (401, "token_required")


async def test_a_wrong_secret_is_like_a_wrong_name(opened: Opened) -> None:
    client = await opened()
    nothing = (404, "feed_not_found")
    for path in ("/feeds/x/pods.xml", "/feeds/x.opml", "/feeds//pods.xml"):
        assert await refused(client, path) in (nothing, (404, "not_found")), "there is no secret yet"
    path = path_of((await subscribed(client))["feed"]["url"])
    secret = path.split("/")[2]
    assert (await client.get(path)).status == 200
    wrong = (secret[:-1], secret + "a", secret.swapcase(), "%00", "%ff", "猫", "..", "x" * 5000)
    for one in wrong:
        for rest in ("/pods.xml", ".opml", "/pods/cover-none.jpg", "/pods/pictures/a.jpg", "/pods/files/a"):
            answer = await client.get(f"/feeds/{one}{rest}")
            assert answer.status == 404, (one, rest)
            text = await answer.text()
            assert secret not in text
    for other in ("other", "pod", "podsx"):
        assert await refused(client, f"/feeds/{secret}/{other}.xml") == nothing
        assert await refused(client, f"/feeds/{secret}/{other}/cover-none.jpg") == nothing
    for odd in ("files/a", "files/video_a_aaaaaaaaaaaaa.mp4", "files/%00", "pictures/a.jpg"):
        assert await refused(client, f"/feeds/{secret}/pods/{odd}") == (404, "file_not_found"), odd
    assert (await client.post(path)).status == 405


async def test_other_doors_hold(opened: Opened) -> None:
    client = await opened(limits=LimitSettings(requests_per_minute=3))
    path = path_of((await subscribed(client))["feed"]["url"])
    assert await refused(client, path, Host="evil.example") == (403, "host_forbidden")
    assert [(await client.get(path)).status for _ in range(4)] == [200, 200, 429, 429]


async def test_category_and_explicit_can_be_changed_without_another_address(opened: Opened) -> None:
    client = await opened()
    made = await subscribed(client)
    one, path = f"/api/subscriptions/{made['subscription_id']}", path_of(made["feed"]["url"])
    wanted = {"category": "True Crime", "explicit": True}
    for wrong, field in (({"category": "Crime"}, "category"), ({"explicit": 1}, "explicit")):
        answer = await client.patch(one, json={"feed": wrong})
        assert [error["field"] for error in (await answer.json())["errors"]] == [f"feed.{field}"]
    before = (await client.get(path)).headers["ETag"]
    answer = await client.patch(one, json={"feed": wanted})
    assert (await answer.json())["feed"] == made["feed"] | wanted
    read = await client.get(path, headers={"If-None-Match": before})
    assert read.status == 200
    text = await read.text()
    assert 'category text="True Crime"' in text
    assert "explicit>true<" in text
    answer = await client.patch(one, json={"feed": {"category": None, "explicit": None}})
    assert (await answer.json())["feed"] == made["feed"]


@pytest.mark.parametrize(
    "name", ["", "A", "a b", "a/b", "../a", "a.xml", "-a", "_a", "猫", "a" * 65, "a\n", "a%", 1, None]
)
async def test_a_name_is_safe_in_an_address(opened: Opened, name: Any) -> None:
    client = await opened()
    answer = await client.post("/api/subscriptions", json={"url": LINK, "feed": {"name": name}})
    problem = await answer.json(content_type=None)
    assert (answer.status, [error["field"] for error in problem["errors"]]) == (422, ["feed.name"])
    for feed, field in (({}, "feed.name"), ({"name": "a", "x": 1}, "feed.x"), ("a", "feed")):
        answer = await client.post("/api/subscriptions", json={"url": LINK, "feed": feed})
        problem = await answer.json(content_type=None)
        assert [error["field"] for error in problem["errors"]] == [field]


async def test_a_name_is_taken_once_and_can_be_changed(opened: Opened) -> None:
    client = await opened()
    made = await subscribed(client)
    body = {"url": f"{LINK}/2", "enabled": False, "feed": {"name": "pods"}}
    answer = await client.post("/api/subscriptions", json=body)
    problem = await answer.json(content_type=None)
    assert (answer.status, problem["code"]) == (409, "feed_name_taken")
    assert problem["subscription_id"] == made["subscription_id"]
    other = await subscribed(client, "b", f"{LINK}/2")
    one = f"/api/subscriptions/{other['subscription_id']}"
    answer = await client.patch(one, json={"feed": {"name": "pods"}})
    assert (answer.status, (await answer.json(content_type=None))["code"]) == (409, "feed_name_taken")
    answer = await client.patch(one, json={"feed": {"name": "c"}})
    assert (await answer.json())["feed"]["url"] == other["feed"]["url"].replace("/b.xml", "/c.xml")
    assert (await client.get(path_of(other["feed"]["url"]))).status == 404
    answer = await client.patch(one, json={"feed": None})
    assert "feed" not in await answer.json()
    plain = await client.post("/api/subscriptions", json={"url": f"{LINK}/3", "enabled": False})
    assert "feed" not in await plain.json()
    assert (await client.get(path_of(made["feed"]["url"]))).status == 200
    assert (await client.delete(f"/api/subscriptions/{made['subscription_id']}")).status == 204
    assert (await client.get(path_of(made["feed"]["url"]))).status == 404


async def test_the_secret_can_be_renewed_and_opens_the_list_of_all(opened: Opened) -> None:
    client = await opened()
    assert await (await client.get("/api/feeds")).json() == {}
    assert await (await client.post("/api/feeds/renew")).json() == {}
    made = await subscribed(client)
    await subscribed(client, "a", f"{LINK}/2")
    before = (await (await client.get("/api/feeds")).json())["opml"]
    answer = await client.get(path_of(before))
    assert answer.headers["Content-Type"] == "text/x-opml; charset=utf-8"
    found = listparser.parse(await answer.read())
    assert not found.bozo
    assert [feed.url for feed in found.feeds] == [
        made["feed"]["url"].replace("/pods.xml", "/a.xml"),
        made["feed"]["url"],
    ]
    tag = answer.headers["ETag"]
    assert (await client.get(path_of(before), headers={"If-None-Match": tag})).status == 304
    after = (await (await client.post("/api/feeds/renew")).json())["opml"]
    assert after != before
    assert (await client.get(path_of(before))).status == 404
    assert (await client.get(path_of(made["feed"]["url"]))).status == 404
    assert (await client.get(path_of(after))).status == 200
    again = await (await client.get(f"/api/subscriptions/{made['subscription_id']}")).json()
    assert again["feed"]["url"] == after.replace(".opml", "/pods.xml")
    assert again["revision"] == made["revision"]


def links_in(body: bytes) -> set[str]:
    return {found[1].decode() for found in re.finditer(rb"(https?://[^/\"<]+(?:/[a-z]+)?)/feeds/", body)}


async def test_links_are_as_the_client_reaches_the_server(opened: Opened) -> None:
    server = ServerSettings(base_path="/clip", allowed_hosts=("pods.test",), trusted_proxies=("127.0.0.1",))
    client = await opened(server=server)
    made = await subscribed(client, **{"Host": "pods.test", "X-Forwarded-Proto": "https"})
    assert made["feed"]["url"].startswith("https://pods.test/clip/feeds/")
    path = path_of(made["feed"]["url"])
    tags = set()
    for headers, root in (
        ({"Host": "pods.test"}, "http://pods.test/clip"),
        ({"Host": "pods.test", "X-Forwarded-Proto": "https"}, "https://pods.test/clip"),
        ({"Host": "localhost:1"}, "http://localhost:1/clip"),
        ({"X-Forwarded-Host": "pods.test"}, "http://pods.test/clip"),
    ):
        for way in (path, path.removeprefix("/clip")):
            answer = await client.get(way, headers=headers)
            assert links_in(await answer.read()) == {root}
            assert answer.headers["Vary"] == "Host, X-Forwarded-Host, X-Forwarded-Proto"
            tags.add((answer.headers["ETag"], root))
    assert len(tags) == len({tag for tag, _ in tags}) == 3, "what one host was given is nothing for another"
    [(tag, _)] = [one for one in tags if one[1] == "http://localhost:1/clip"]
    kept = {"If-None-Match": tag}
    assert (await client.get(path, headers=kept | {"Host": "localhost:1"})).status == 304
    assert (await client.get(path, headers=kept | {"Host": "pods.test"})).status == 200


async def test_a_public_address_is_for_all_of_them(opened: Opened) -> None:
    feeds = FeedsSettings.model_validate({"public_url": "https://pods.test/a/"})
    client = await opened(feeds=feeds)
    made = await subscribed(client)
    assert made["feed"]["url"].startswith("https://pods.test/a/feeds/")
    path = path_of(made["feed"]["url"]).removeprefix("/a")
    answers = [await client.get(path, headers={"Host": host}) for host in ("localhost", "127.0.0.1:9")]
    assert len({answer.headers["ETag"] for answer in answers}) == 1
    assert all(answer.headers.getall("Vary") == ["Origin, Sec-Fetch-Site"] for answer in answers)
    assert links_in(await answers[0].read()) == {"https://pods.test/a"}


async def test_a_feed_has_a_date_once_it_can_be_trusted(
    opened: Opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = await opened()
    path = path_of((await subscribed(client))["feed"]["url"])
    answer = await client.get(path)
    assert "Last-Modified" not in answer.headers, "it may change again within this second"
    monkeypatch.setattr("server.feeds.feed_routes.DATED_AFTER", 0.0)
    answer = await client.get(path)
    since = answer.headers["Last-Modified"]
    assert (await client.get(path, headers={"If-Modified-Since": since})).status == 304
    assert (
        await client.get(path, headers={"If-None-Match": '"x"', "If-Modified-Since": since})
    ).status == 200
    body = await answer.read()
    channel = ET.fromstring(body).find("channel")
    assert channel is not None
    assert channel.findtext("title") == "pods"
    assert channel.findall("item") == []


async def test_no_line_of_the_log_has_the_secret(
    opened: Opened, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = await opened(server=ServerSettings(base_path="/clip"))
    path = path_of((await subscribed(client))["feed"]["url"])
    secret = path.split("/")[3]
    caplog.set_level(logging.DEBUG, "server")
    quoted = "".join(f"%{ord(letter):02x}" for letter in secret)
    ways = (path, path.removeprefix("/clip"), path.replace("feeds", "%66eeds"), path.replace(secret, quoted))
    for way in ways:
        for method in ("GET", "HEAD", "POST"):
            await client.request(method, URL(way, encoded=True))
        for more in (f"{way}/more", f"{way}?lang=", f"{way.removesuffix('.xml')}/files/none.mp4"):
            await client.get(URL(more, encoded=True))
    for odd in (f"/clip/feeds%2f{secret}%2fpods.xml", f"/clip//feeds/{secret}/a", f"/clip/feeds/{secret}"):
        await client.get(URL(odd, encoded=True))

    def broken(*_: object) -> None:
        raise RuntimeError

    monkeypatch.setattr(FeedCache, "find", broken)
    assert (await client.get(path)).status == 500
    lines = [record.getMessage() for record in caplog.records if record.name.startswith("server")]
    assert len([line for line in lines if "/feeds/..." in line]) >= 28
    assert any(line.startswith("error ") and "in GET /clip/feeds/.../pods.xml" in line for line in lines)
    assert [line for line in lines if secret in line or quoted in line.lower()] == []


@pytest.mark.parametrize(
    ("target", "shown"),
    [
        ("/api/tasks?q=%41", "/api/tasks?q=%41"),
        ("/feeds/abc/pods.xml?lang=zh", "/feeds/.../pods.xml?lang=zh"),
        ("/a/feeds/abc.opml", "/a/feeds/..."),
        ("/%66eeds/a%2fb/c", "/feeds/.../b/c"),
        ("/feeds/%0aabc%0a/x", "/feeds/.../x"),
        ("/feeds/", "/feeds/"),
        ("http://a.test/feeds/abc/x", "http%3A//a.test/feeds/.../x"),
    ],
)
def test_the_secret_is_left_out_of_a_target(target: str, shown: str) -> None:
    assert without_path_secret(target) == shown


async def fill(data: Path, noticed: list[FoundEntry], about: About | None = None) -> None:
    """Make a database with a subscription whose entries were all fetched."""
    data.mkdir(mode=0o700)
    async with sqlite.open_store(data / "clipwire.db", max_queued=100, find_short=short_of) as store:
        await rows.subscribed(store, feed={"name": "pods"}, backlog="all", request={"outputs": ["video"]})
        pace = Pace(interval=3600, min_interval=300, pause=0, max_new=100)
        for task in (await rows.checked(store, noticed, pace=pace)).tasks:
            started = apply(task.status, Started(), utc_now())
            assert await store.save(started)
            name = f"video_film_{new_short()}.mp4"
            file = StoredFile(name=name, path=f"1/{name}", size=7, type="video/mp4")
            info = rows.info_of(task).model_copy(update={"title": f"Film {task.status.url[-1]}"})
            end = Completed(files={"video": file}, video_info=info, about=about)
            assert await store.save(apply(started, end, utc_now()))


async def episodes(client: Client) -> list[Any]:
    [made] = (await (await client.get("/api/subscriptions")).json())["subscriptions"]
    told = feedparser.parse(await (await client.get(path_of(made["feed"]["url"]))).read())
    assert not told.bozo
    return list(told.entries)


async def test_an_episode_has_what_its_source_says_of_it(opened: Opened, tmp_path: Path) -> None:
    marks = (ChapterMark(start=0.0, end=1.5, title="One\n<1>"), ChapterMark(start=1.5))
    about = About(description="5 < 6\nand <i>more</i>", chapters=marks)
    await fill(tmp_path / "data", rows.entries(1), about)
    client = await opened()
    [entry] = await episodes(client)
    assert (entry.title, entry.id) == ("Film 1", "site 1")
    assert html.unescape(entry.description.replace("<br />", "\n")) == about.description
    path = path_of(entry.podcast_chapters["url"])
    answer = await client.get(path)
    assert answer.headers["Content-Type"].startswith("application/json+chapters")
    assert json.loads(await answer.read()) == {
        "version": "1.2.0",
        "chapters": [{"startTime": 0.0, "endTime": 1.5, "title": "One <1>"}, {"startTime": 1.5}],
    }
    assert (await client.get(path, headers={"If-None-Match": answer.headers["ETag"]})).status == 304
    assert (await refused(client, path.replace("/chapters/", "/chapters/x")))[1] == "file_not_found"
    assert (await refused(client, path.replace("/feeds/", "/feeds/x")))[1] == "feed_not_found"
    # The file is missing, which the feed does not check.
    assert (await refused(client, path_of(entry.enclosures[0].href)))[1] == "file_not_found"


@pytest.mark.wide
async def test_a_player_on_a_page_of_another_site_reads_what_its_address_opens_and_nothing_else(
    opened: Opened, tmp_path: Path
) -> None:
    marks = (ChapterMark(start=0.0, title="One"),)
    await fill(tmp_path / "data", rows.entries(1), About(chapters=marks))
    ours, friend = {"Origin": "https://player.example"}, {"Origin": "https://friend.example"}
    client = await opened(server=ServerSettings(allowed_origins=(friend["Origin"],)))
    [made] = (await (await client.get("/api/subscriptions")).json())["subscriptions"]
    [task] = (await (await client.get("/api/tasks")).json())["tasks"]
    [entry] = await episodes(client)
    link = path_of(entry.enclosures[0].href)
    file = tmp_path / "data" / "files" / task["task_id"] / "1" / link.rpartition("/")[2]
    file.parent.mkdir(parents=True)
    file.write_bytes(b"7 bytes")
    path = path_of(made["feed"]["url"])
    cover = re.sub("[.]xml$", "/cover-none.jpg", path)
    chapters, all_feeds = path_of(entry.podcast_chapters["url"]), f"/feeds/{path.split('/')[2]}.opml"
    for each in (path, link, chapters, cover, all_feeds):
        for method in ("GET", "HEAD"):
            for origin, policy in (
                (ours, "cross-origin"),
                (friend, "cross-origin"),
                ({"Sec-Fetch-Site": "cross-site"}, "cross-origin"),
                ({"Sec-Fetch-Site": "same-site"}, "cross-origin"),
                ({"Sec-Fetch-Site": "same-origin"}, "same-origin"),
                ({}, "same-origin"),
            ):
                answer = await client.request(method, each, headers=origin)
                assert (each, answer.status) == (each, 200)
                assert answer.headers.getall("Access-Control-Allow-Origin") == ["*"]
                assert answer.headers["Cross-Origin-Resource-Policy"] == policy
                assert {"Origin", "Sec-Fetch-Site"} <= set(
                    ", ".join(answer.headers.getall("Vary")).split(", ")
                )
                assert "Access-Control-Allow-Credentials" not in answer.headers
        again = await client.get(each, headers=ours | {"If-None-Match": answer.headers["ETag"]})
        assert (again.status, again.headers["Access-Control-Allow-Origin"]) == (304, "*")
    part = await client.get(link, headers=ours | {"Range": "bytes=2-4"})
    assert (part.status, await part.read()) == (206, b"byt")
    assert {"Accept-Ranges", "Content-Range"} <= set(
        part.headers["Access-Control-Expose-Headers"].split(", ")
    )
    beyond = await client.get(link, headers=ours | {"Range": "bytes=7-"})
    assert (beyond.status, beyond.headers["Access-Control-Allow-Origin"]) == (416, "*")
    # --- a client without the secret learns nothing ---
    for closed in (
        path.replace("/feeds/", "/feeds/x"),
        f"/api/download/{file.name}",
        "/api/feeds",
        "/api/subscriptions",
        "/api/tasks",
    ):
        answer = await client.get(closed, headers=ours)
        assert "Access-Control-Allow-Origin" not in answer.headers, closed
        assert answer.headers["Cross-Origin-Resource-Policy"] == "same-origin"
    for method in ("POST", "PUT", "DELETE"):
        answer = await client.request(method, path, headers=ours)
        assert (answer.status, answer.headers.get("Access-Control-Allow-Origin")) == (403, None)


async def test_the_newest_come_first_and_none_after_it_was_fetched(opened: Opened, tmp_path: Path) -> None:
    noticed = [
        rows.entries(number, published_at=day)[0]
        for number, day in (
            (5, "2026-02-01"),
            (4, "9999-12-31T23:59:59Z"),
            (3, "2026-02-01T10:00:00Z"),
            (2, None),
            (1, "0001-01-01"),
        )
    ]
    await fill(tmp_path / "data", noticed)
    client = await opened(feeds=FeedsSettings(max_items=4))
    found = await episodes(client)
    titles = [entry.title for entry in found]
    assert (sorted(titles[:2]), titles[2:]) == (["Film 2", "Film 4"], ["Film 3", "Film 5"])
    assert all(entry.published_parsed[0] < 9999 for entry in found)
    assert found[2].published_parsed[:5] == (2026, 2, 1, 10, 0)


def test_the_cache_has_bounds() -> None:
    cache = FeedCache()
    for n in range(20):
        built = Built(str(n), bytes(MAX_CACHED_BYTES // 8), "", utc_now(), None)
        cache.keep(("s", str(n)), built)
        cache.keep(("s", str(n)), built)
    assert [n for n in range(20) if cache.find(("s", str(n)), str(n))] == list(range(12, 20))
    assert cache.find(("s", "19"), "18") is None
    cache.keep(("s", "20"), Built("20", bytes(MAX_CACHED_BYTES + 1), "", utc_now(), None))
    assert cache.find(("s", "20"), "20") is None
    assert cache.find(("s", "19"), "19") is None
