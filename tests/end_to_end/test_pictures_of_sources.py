"""The picture and the text of a subscription's source, with the whole service: fetched once, then served from
here.
"""

import asyncio
import re
from collections.abc import AsyncIterator
from pathlib import Path

import feedparser  # type: ignore[import-untyped]
import pytest

from tests.end_to_end.test_subscriptions import (
    QUICK,
    checked,
    films,
    known,
    subscribe,
    unsubscribe_all,
    until,
)
from tests.service import Payload, Service, Services, Told
from tests.site import Site
from tests.site.followed import Followed
from tests.tools import FFMPEG


@pytest.fixture
async def service(services: Services) -> AsyncIterator[Service]:
    async with services.lend(**QUICK) as service:
        yield service
        await unsubscribe_all(service)


def about(link: str) -> str:
    image = f'<itunes:image href="{link}"/>' if link else ""
    return f"{image}<description>&lt;p&gt;All about films</description><itunes:author>Radio A</itunes:author>"


async def read(service: Service, link: str, **headers: str) -> tuple[int, str | None, bytes]:
    async with service.client.get(link, headers=headers) as answer:
        return answer.status, answer.headers.get("ETag"), await answer.read()


async def size_of(path: Path, content: bytes) -> str:
    path.write_bytes(content)
    process = await asyncio.create_subprocess_exec(
        FFMPEG, "-hide_banner", "-i", str(path), stderr=asyncio.subprocess.PIPE
    )
    _, said = await process.communicate()
    found = re.search(r"Video: mjpeg .*, (\d+x\d+)[ ,]", said.decode())
    assert found, said
    return found[1]


async def idle(service: Service, made: Payload) -> Payload:
    return await until(service, made["subscription_id"], lambda one: one["stage"] == "idle")


async def test_a_podcast_is_known_by_its_own_picture_text_and_author_over_restarts(
    service: Service, site: Site, tmp_path: Path
) -> None:
    site.followed["pods"] = Followed(films(1), about=about("/thumbnail.png"), conditional=True)
    made = await subscribe(service, site.url("/followed/pods.rss"), feed={"name": "pods"})
    mine = await idle(service, made)
    assert (mine["description"], mine["author"]) == ("All about films", "Radio A")
    status, tag, picture = await read(service, mine["picture"])
    assert (status, await size_of(tmp_path / "picture", picture)) == (200, "320x180")
    assert (await read(service, mine["picture"], **{"If-None-Match": tag or ""}))[0] == 304
    _, small_tag, small = await read(service, f"{mine['picture']}?w=96")
    assert (await size_of(tmp_path / "small", small), small_tag == tag) == ("240x136", False)
    assert (await read(service, f"{mine['picture']}?w=0"))[0] == 422
    told = feedparser.parse((await read(service, mine["feed"]["url"]))[2])
    assert (told.feed.description, told.feed.author) == ("All about films", "Radio A")
    status, _, cover = await read(service, told.feed.image.href)
    assert (status, await size_of(tmp_path / "cover", cover)) == (200, "1400x1400")
    assert not told.feed.image.href.endswith("/cover-none.jpg")
    await checked(service, made["subscription_id"])
    await checked(service, made["subscription_id"])
    assert len(site.seen("/thumbnail.png")) == 1, "what has not changed is not fetched again"
    await service.kill()
    await service.start()
    await service.ready(60)
    assert (await read(service, mine["picture"]))[2] == picture


@pytest.mark.wide
async def test_a_new_address_gives_a_new_picture_and_a_lost_picture_leaves_the_old_one(
    service: Service, site: Site
) -> None:
    site.followed["p"] = followed = Followed(films(1), about=about("/thumbnail.png"))
    made = await subscribe(service, site.url("/followed/p.rss"))
    mine = await idle(service, made)
    first = (await read(service, mine["picture"]))[1:]
    for lost in ("/garbage.mp4", "/missing.jpg", "http://127.0.0.2:1/private.jpg", "file:///etc/passwd", ""):
        followed.about = about(lost)
        after = await checked(service, made["subscription_id"])
        assert "error_code" not in after, lost
        assert (await read(service, after["picture"]))[1:] == first, lost
    before = len(site.seen("/garbage.mp4"))
    followed.about = about("/garbage.mp4?signature=2")
    await checked(service, made["subscription_id"])
    followed.films[:0] = films(2)
    await checked(service, made["subscription_id"])
    assert len(site.seen("/garbage.mp4")) <= before + 1, "it is not tried again within a day"
    followed.about = about("/thumbnail.webp")
    after = await checked(service, made["subscription_id"])
    assert (await read(service, after["picture"]))[1] != first[0]


async def test_a_feed_without_a_picture_has_none(service: Service, site: Site) -> None:
    site.followed["bare"] = Followed(films(1))
    made = await subscribe(service, site.url("/followed/bare.atom"))
    mine = await idle(service, made)
    assert not {"picture", "description", "author"} & mine.keys()
    link = f"/api/subscriptions/{made['subscription_id']}/picture"
    status, _, body = await read(service, link)
    assert (status, b"picture_not_found" in body) == (404, True)


@pytest.mark.wide
async def test_a_channel_is_known_by_its_avatar(site: Site, tmp_path: Path) -> None:
    avatar = {"url": site.url("/thumbnail.jpg"), "id": "avatar_uncropped"}
    banner = {"url": site.url("/thumbnail.png"), "id": "banner_uncropped"}
    told = {"channel": "Some Channel", "channel_id": "UC1", "id": "UC1", "description": "Films"}
    site.followed["c"] = Followed(films(1), told=told | {"thumbnails": [avatar, banner]})
    async with Told(tmp_path / "service", **QUICK) as service:
        made = await subscribe(service, site.url("/told/followed-c"))
        await idle(service, made)
        mine = await known(service, made["subscription_id"])
        assert (mine["author"], mine["description"]) == ("Some Channel", "Films")
        assert (await read(service, mine["picture"]))[2].startswith(b"\xff\xd8\xff")
        assert [len(site.seen(f"/thumbnail.{form}")) for form in ("jpg", "png")] == [1, 1]
