"""Podcast feeds with the whole service: from a subscription's source to an app that fetches the episodes."""

import asyncio
import html
import json
import re
import shutil
from calendar import timegm
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import feedparser  # type: ignore[import-untyped]
import pytest

from tests.end_to_end.test_subscriptions import QUICK, films, items, subscribe, unsubscribe_all, until
from tests.service import Payload, Service, Services, Told
from tests.shelf import Shelf
from tests.site import Site
from tests.site.followed import Film, Followed
from tests.tools import FFMPEG

VTT = b"WEBVTT\n\n00:00.500 --> 00:01.500\nHello\n"
FILM = {"outputs": ["video"], "video_format": "any"}
BOTH = {"outputs": ["video", "audio"], "video_format": "any", "audio_format": "m4a"}
APPLE = ("audio/x-m4a", "audio/mpeg", "audio/mp4", "video/mp4", "video/x-m4v", "video/quicktime")


@pytest.fixture
async def service(services: Services) -> AsyncIterator[Service]:
    async with services.lend(**QUICK) as service:
        yield service
        await unsubscribe_all(service)


async def followed(
    service: Service, site: Site, name: str, *which: Film, request: Payload = BOTH, **more: Any
) -> Payload:
    """Subscribe to a feed of these films; return the subscription once all films are fetched."""
    site.followed[name] = Followed([*which], title="Pods & <Co>")
    feed = {"name": name}
    made = await subscribe(
        service, site.url(f"/followed/{name}.rss"), backlog="all", feed=feed, request=request, **more
    )
    return await until(service, made["subscription_id"], lambda one: one["items"] == {"fetched": len(which)})


async def read(service: Service, url: str, **headers: str) -> tuple[int, dict[str, str], bytes]:
    async with service.client.get(url, headers=headers) as answer:
        return answer.status, dict(answer.headers), await answer.read()


async def parsed(service: Service, url: str) -> Any:
    status, _, body = await read(service, url)
    assert status == 200
    told = feedparser.parse(body)
    assert not told.bozo
    return told


def enclosures(entry: Any) -> list[Any]:
    return [link for link in entry.links if link.rel == "enclosure"]


async def ran(*command: str) -> str:
    process = await asyncio.create_subprocess_exec(
        *command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    out, _ = await process.communicate()
    return out.decode(errors="replace")


async def test_an_app_reads_the_feed_and_fetches_its_files_in_parts(
    service: Service, site: Site, tmp_path: Path
) -> None:
    made = await followed(service, site, "pods", *films(2, 1))
    url = made["feed"]["url"]
    assert re.fullmatch(re.escape(service.url) + r"/feeds/[\w-]{43}/pods\.xml", url)
    told = await parsed(service, url)
    assert (told.feed.title, told.feed.language) == ("Pods & <Co>", "zh")
    assert told.feed.podcast_medium == "podcast"
    assert [entry.title for entry in told.entries] == ["Film 2", "Film 1"]
    assert [timegm(entry.published_parsed) for entry in told.entries] == [
        1_700_000_000 + 2 * 3600,
        1_700_000_000 + 3600,
    ]
    assert all(re.fullmatch("[0-9a-f]{40}", entry.id) for entry in told.entries), "no links"
    tasks = {
        entry.id: item["task_id"]
        for entry, item in zip(told.entries, await items(service, made["subscription_id"]), strict=True)
    }
    for entry in told.entries:
        [sound] = enclosures(entry)
        assert sound.type in APPLE
        async with service.client.head(sound.href) as head:
            assert (head.status, head.headers["Content-Length"]) == (200, sound.length)
            assert (head.headers["Content-Type"], head.headers["Accept-Ranges"]) == (sound.type, "bytes")
        status, headers, whole = await read(service, sound.href)
        assert (status, str(len(whole))) == (200, sound.length)
        task = await service.status(tasks[entry.id])
        assert whole == (await read(service, task["files"]["audio"]))[2]
        status, part_of, part = await read(service, sound.href, Range="bytes=0-1")
        assert (status, part, part_of["Content-Range"]) == (206, whole[:2], f"bytes 0-1/{len(whole)}")
        again = {"If-None-Match": headers["Etag"]}
        assert (await read(service, sound.href, **again))[0] == 304
        again = {"If-Modified-Since": headers["Last-Modified"]}
        assert (await read(service, sound.href, **again))[0] == 304
        film = entry.podcast_source["uri"]
        async with service.client.head(film) as head:
            form = entry.podcast_alternateenclosure
            assert (head.headers["Content-Type"], head.headers["Content-Length"]) == (
                form["type"],
                form["length"],
            )
        if curl := shutil.which("curl"):
            for span, target in (("0-9999", "a"), ("10000-", "b")):
                out = await ran(curl, "-sS", "--fail", "-r", span, "-o", str(tmp_path / target), sound.href)
                assert out == ""
            assert (tmp_path / "a").read_bytes() + (tmp_path / "b").read_bytes() == whole
    status, headers, _ = await read(service, url)
    assert (await read(service, url, **{"If-None-Match": headers["Etag"]}))[0] == 304


@pytest.mark.long
async def test_a_cover_is_square_and_large_enough(service: Service, site: Site, tmp_path: Path) -> None:
    made = await followed(service, site, "plain", *films(1))
    told = await parsed(service, made["feed"]["url"])
    assert told.feed.image.href.endswith("/plain/cover-none.jpg")
    pictured = Film("p", "Pictured", f"/page?src={quote(site.url('/video.mp4'))}", at=1_700_000_000.0)
    made = await followed(service, site, "pictured", pictured, request=FILM)
    other = await parsed(service, made["feed"]["url"])
    assert other.feed.podcast_medium == "video"
    assert not other.feed.image.href.endswith("/cover-none.jpg")
    for number, one in enumerate((told, other)):
        status, headers, picture = await read(service, one.feed.image.href)
        assert (status, headers["Content-Type"]) == (200, "image/jpeg")
        (tmp_path / f"{number}.jpg").write_bytes(picture)
        said = await ran(FFMPEG, "-hide_banner", "-i", str(tmp_path / f"{number}.jpg"))
        assert re.search(r"Video: mjpeg .*, 1400x1400[ ,]", said), said
        assert (await read(service, one.feed.image.href, **{"If-None-Match": headers["Etag"]}))[0] == 304
    [thumbnail] = other.entries[0].media_thumbnail
    status, headers, small = await read(service, thumbnail["url"])
    assert (status, headers["Content-Type"], small[:3]) == (200, "image/jpeg", b"\xff\xd8\xff")


async def test_a_feed_neither_lists_nor_sends_deleted_episodes(service: Service, site: Site) -> None:
    made = await followed(service, site, "going", *films(3, 2, 1), request=FILM)
    mine, url = made["subscription_id"], made["feed"]["url"]
    told = await parsed(service, url)
    links = {entry.title: enclosures(entry)[0].href for entry in told.entries}
    found = {item["title"]: item for item in await items(service, mine)}
    single = await service.submit(site.url("/video.mp4?times=99"), outputs=["video"])
    name = (await service.wait(single["task_id"]))["files"]["video"].rpartition("/")[2]
    foreign = links["Film 1"].rpartition("/")[0] + f"/{name}"
    assert (await read(service, foreign))[0] == 404, "the secret opens files of feeds, and no others"
    acting = f"/api/subscriptions/{mine}/items/actions"
    body = {"action": "delete", "keys": [found["Film 1"]["key"]]}
    async with service.client.post(acting, json=body) as answer:
        assert answer.status == 200
    async with service.client.delete(f"/api/tasks/{found['Film 2']['task_id']}") as answer:
        assert answer.status == 204
    told = await parsed(service, url)
    assert [entry.title for entry in told.entries] == ["Film 3"]
    assert {title: (await read(service, link))[0] for title, link in links.items()} == {
        "Film 1": 404,
        "Film 2": 404,
        "Film 3": 200,
    }
    async with service.client.post(f"/api/tasks/{found['Film 3']['task_id']}/retry") as answer:
        assert answer.status == 200
    await service.wait(found["Film 3"]["task_id"])
    [entry] = (await parsed(service, url)).entries
    assert entry.id == next(one.id for one in told.entries), "the same episode"
    assert (await read(service, enclosures(entry)[0].href))[0] == 200


async def test_an_episode_has_chapters_subtitles_and_a_description(
    tmp_path: Path, site: Site, shelf: Shelf, media: Path
) -> None:
    film = {
        "id": "one",
        "title": "One & <two>",
        "description": "5 < 6\nthe second line",
        "channel": "Somebody",
        "webpage_url": "https://a.test/watch?v=one",
        "chapters": [
            {"start_time": 0, "end_time": 1.5, "title": "First"},
            {"start_time": 1.5, "end_time": 4, "title": "Second <b>"},
        ],
        "thumbnails": [{"url": shelf.put("thumbnail.jpg", (media / "thumbnail.jpg").read_bytes())}],
        "subtitles": {"en": [{"url": shelf.put("en.vtt", VTT), "ext": "vtt"}]},
        "formats": [{"format_id": "0", "url": shelf.put("video.mp4", (media / "video.mp4").read_bytes())}],
    }
    page = shelf.put("told/one", json.dumps(film).encode(), "application/json")
    link = "/told/followed-rich"
    site.followed["rich"] = Followed([Film("one", "One", "/", told={"url": page})], title="Rich")
    request = FILM | {
        "outputs": ["video", "thumbnail", "subtitles"],
        "subtitles": {"languages": ["en"], "format": "vtt"},
    }
    async with Told(tmp_path / "service", **QUICK) as service:
        feed = {"name": "rich"}
        made = await subscribe(service, site.url(link), backlog="all", feed=feed, request=request)
        await until(service, made["subscription_id"], lambda one: one["items"] == {"fetched": 1})
        told = await parsed(service, made["feed"]["url"])
        [entry] = told.entries
        assert (entry.title, entry.id, entry.author) == ("One & <two>", "told one", "Somebody")
        assert html.unescape(entry.description.replace("<br />", "\n")) == film["description"]
        assert (entry.link, entry.itunes_duration) == ("https://a.test/watch?v=one", "4")
        _, headers, body = await read(service, entry.podcast_chapters["url"])
        assert headers["Content-Type"].startswith("application/json+chapters")
        marks = [(one["startTime"], one["endTime"], one["title"]) for one in json.loads(body)["chapters"]]
        assert marks[0] == (0.0, 1.5, "First")
        assert (marks[1][0], marks[1][2]) == (1.5, "Second <b>")
        assert marks[1][1] == pytest.approx(4, abs=0.1)
        text = entry.podcast_transcript
        assert (text["type"], text["language"]) == ("text/vtt", "en")
        assert b"WEBVTT" in (await read(service, text["url"]))[2]
        status, headers, cover = await read(service, told.feed.image.href)
        assert (status, headers["Content-Type"], cover[:3]) == (200, "image/jpeg", b"\xff\xd8\xff")
        await service.kill()
        await service.start()
        again = await parsed(service, made["feed"]["url"])
        assert again.entries == told.entries, "nothing of it was in memory alone"


async def test_a_kill_changes_no_address_and_no_byte_of_a_feed(services: Services, site: Site) -> None:
    async with services.lend(**QUICK) as service:
        made = await followed(service, site, "killed", *films(2, 1), request=FILM)
        before = await read(service, made["feed"]["url"])
        site.followed["killed"].films[:0] = films(3)
        async with service.client.post(f"/api/subscriptions/{made['subscription_id']}/check") as answer:
            assert answer.status == 202
        await service.kill()
        site.followed["killed"].films[:1] = []
        await service.start()
        await service.ready(60)
        mine = await until(service, made["subscription_id"], lambda one: set(one["items"]) == {"fetched"})
        assert mine["feed"] == made["feed"]
        after = await read(service, made["feed"]["url"])
        if mine["items"] == {"fetched": 2}:  # the kill came before the check had found the third film
            assert (after[0], after[1]["Etag"], after[2]) == (200, before[1]["Etag"], before[2])
        [first, *_] = feedparser.parse(after[2]).entries
        assert (await read(service, enclosures(first)[0].href))[0] == 200
        await unsubscribe_all(service)
        assert (await read(service, made["feed"]["url"]))[0] == 404
