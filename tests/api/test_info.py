"""`POST /api/info` and its thumbnails: queues, deadline, and that they end when the client leaves."""

import asyncio
import base64
import errno
import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import psutil  # type: ignore[import-untyped]
import pytest

from server.api import keys
from server.settings import DownloadSettings
from server.tasks import inspector
from server.tasks.children import Child, ForkServer
from server.tasks.inspector import AT_ONCE, WAITING
from tests.inside import Inside, inside, post
from tests.site import Site

ALL = AT_ONCE + WAITING
NEVER = "/1mb.mp4?wait=3600"


@pytest.fixture
async def service(tmp_path: Path) -> AsyncIterator[Inside]:
    async with inside(tmp_path) as service:
        yield service


def asking(url: str) -> bytes:
    body = json.dumps({"url": url}).encode()
    return post("/api/info", f"Content-Length: {len(body)}", body=body)


async def ask(service: Inside, url: str, **page: Any) -> tuple[int, dict[str, Any]]:
    body = {"url": url, **page}
    async with service.client.post("/api/info", json=body) as answer:
        return answer.status, await answer.json(content_type=None)


def children(service: Inside) -> list[psutil.Process]:
    ready = service.app[keys.INSPECTOR]._fork_server.ready
    found: list[psutil.Process] = psutil.Process(ready.pid).children() if ready else []
    return found


async def test_a_link_is_looked_at_and_nothing_is_kept(service: Inside, site: Site) -> None:
    status, found = await ask(service, site.url("/1mb.mp4"))
    assert (status, found["formats"][0]["ext"]) == (200, "mp4")
    assert list(service.app[keys.INSPECTOR]._workplace.scratch.iterdir()) == []


async def test_what_the_source_refuses_is_said(service: Inside, site: Site) -> None:
    status, problem = await ask(service, site.url("/1mb.mp4?status=404"))
    assert (status, problem["code"], problem["error_code"]) == (502, "source_refused", "http_404")


@pytest.mark.wide
async def test_who_hangs_up_takes_the_work_along_and_leaves_the_turn_to_others(
    service: Inside, site: Site
) -> None:
    async with AsyncExitStack() as clients:
        for _ in range(ALL):
            sock = await clients.enter_async_context(service.connected())
            await asyncio.get_running_loop().sock_sendall(sock, asking(site.url(NEVER)))
        turns = service.app[keys.INSPECTOR]._inspections
        while len(children(service)) < AT_ONCE or len(turns.deadlines) < ALL:
            await asyncio.sleep(0.02)
        assert (await ask(service, site.url("/1mb.mp4")))[0] == 429, "there is no turn left"
    while children(service) or service.app[keys.INSPECTOR]._inspections.deadlines:
        await asyncio.sleep(0.02)
    assert (await ask(service, site.url("/1mb.mp4")))[0] == 200
    assert list(service.app[keys.INSPECTOR]._workplace.scratch.iterdir()) == []


async def test_the_deadline_includes_the_wait_for_a_turn(
    service: Inside, site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    await service.app[keys.INSPECTOR]._fork_server.warm()
    async with AsyncExitStack() as clients:
        for _ in range(AT_ONCE):
            sock = await clients.enter_async_context(service.connected())
            await asyncio.get_running_loop().sock_sendall(sock, asking(site.url(NEVER)))
        while len(children(service)) < AT_ONCE:
            await asyncio.sleep(0.02)
        monkeypatch.setattr(inspector, "DEADLINE", 0.1)
        answers = await asyncio.gather(*(ask(service, site.url(NEVER)) for _ in range(WAITING)))
        assert {(status, problem["code"]) for status, problem in answers} == {(429, "too_many_requests")}
        assert len(children(service)) == AT_ONCE, "they have their turns still"
    while service.app[keys.INSPECTOR]._inspections.deadlines:
        await asyncio.sleep(0.02)
    status, problem = await ask(service, site.url(NEVER))
    assert (status, problem["error_code"]) == (502, "timeout"), "it had its turn"


async def test_the_deadline_includes_a_fork_server_that_does_not_get_warm(
    service: Inside, site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inspector, "DEADLINE", 0.1)
    monkeypatch.setattr(
        service.app[keys.INSPECTOR]._fork_server._switch.current.server, "_warm", asyncio.Event()
    )
    status, problem = await ask(service, site.url("/1mb.mp4"))
    assert (status, problem["code"]) == (429, "too_many_requests"), "the source was not even asked"


async def test_a_stop_answers_at_once_and_ends_the_work(service: Inside, site: Site) -> None:
    asked = [asyncio.create_task(ask(service, site.url(NEVER))) for _ in range(AT_ONCE + 1)]
    while len(children(service)) < AT_ONCE:
        await asyncio.sleep(0.02)
    await service.app.shutdown()
    answers = await asyncio.gather(*asked)
    assert {(status, problem["code"]) for status, problem in answers} == {(503, "shutting_down")}
    assert children(service) == []
    assert (await ask(service, site.url("/1mb.mp4")))[0] == 503


async def test_a_full_disk_is_no_fault_of_ours(
    service: Inside, site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def no_room(*_: Any) -> Child:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(ForkServer, "start", no_room)
    status, problem = await ask(service, site.url("/1mb.mp4"))
    assert (status, problem["code"]) == (507, "disk_full")
    assert list(service.app[keys.INSPECTOR]._workplace.scratch.iterdir()) == []


@pytest.mark.wide
async def test_a_list_is_told_page_by_page_and_what_was_chosen_is_downloaded(
    service: Inside, site: Site
) -> None:
    url, places = site.url("/feed?entry=/a.mp4&entry=/1mb.mp4&entry=/b.mp4"), list[dict[str, Any]]()
    page: dict[str, Any] = {"limit": 2}
    while page:
        status, found = await ask(service, url, **page)
        assert status == 200
        places += found["entries"]
        page = {"limit": 2, "cursor": found["next_cursor"]} if "next_cursor" in found else {}
    assert [entry["index"] for entry in places] == [1, 2, 3]
    wanted = next(entry for entry in places if entry["url"].endswith("/1mb.mp4"))
    items = str(wanted["index"])
    asked = {"url": url, "auto_start": True, "outputs": ["video"], "playlist": True, "playlist_items": items}
    done = await service.reached(await service.submit(**asked), "completed")
    assert done["entries"] == {"total": 1, "completed": 1, "failed": 0}
    assert not site.seen("/a.mp4")


async def test_the_last_page_ends_where_the_operator_says(tmp_path: Path, site: Site) -> None:
    downloads = DownloadSettings(min_free_disk=0, allowed_private_hosts=("127.0.0.1",), max_playlist=2)
    async with inside(tmp_path, downloads=downloads) as service:
        status, found = await ask(service, site.url("/feed?count=4"))
    assert (status, len(found["entries"]), found["truncated"]) == (200, 2, True)
    assert "next_cursor" not in found
    assert "more" not in found


@pytest.mark.parametrize("wrong", [{"limit": 0}, {"limit": 501}, {"cursor": "0"}, {"cursor": 3}, {"page": 2}])
async def test_a_page_that_cannot_be_is_refused_by_name(service: Inside, wrong: dict[str, Any]) -> None:
    status, problem = await ask(service, "http://127.0.0.1:9/", **wrong)
    assert (status, problem["errors"][0]["field"]) == (422, next(iter(wrong)))


async def thumbnails(service: Inside, *urls: str) -> tuple[int, dict[str, Any]]:
    async with service.client.post("/api/info/thumbnails", json={"urls": urls}) as answer:
        return answer.status, await answer.json(content_type=None)


@pytest.mark.wide
async def test_pictures_of_entries_come_small_and_one_that_fails_harms_no_other(
    service: Inside, site: Site
) -> None:
    good = [site.url(f"/thumbnail.{kind}") for kind in ("jpg", "png", "webp")]
    bad = [
        site.url("/missing.jpg"),
        site.url("/1mb.mp4?status=403"),
        site.url("/page"),
        "http://10.0.0.1/a.jpg",
    ]
    status, found = await thumbnails(service, good[0], *bad, *good[1:])
    assert (status, list(found["thumbnails"])) == (200, good)
    for link in found["thumbnails"].values():
        kind, _, content = link.partition(",")
        assert kind == "data:image/jpeg;base64"
        assert width_of(base64.b64decode(content)) <= 192
    assert list(service.app[keys.INSPECTOR]._workplace.scratch.iterdir()) == []


@pytest.mark.wide
async def test_pictures_that_take_too_long_take_no_turn_from_inspections(service: Inside, site: Site) -> None:
    many = inspector.THUMBNAILS_AT_ONCE + inspector.THUMBNAILS_WAITING
    asked = [asyncio.create_task(thumbnails(service, site.url(NEVER))) for _ in range(many)]
    while len(service.app[keys.INSPECTOR]._thumbnails.deadlines) < many:
        await asyncio.sleep(0.02)
    assert (await thumbnails(service, site.url("/thumbnail.jpg")))[0] == 429
    assert (await ask(service, site.url("/1mb.mp4")))[0] == 200
    for each in asked:
        each.cancel()
    await asyncio.wait(asked)
    while children(service) or service.app[keys.INSPECTOR]._thumbnails.deadlines:
        await asyncio.sleep(0.02)
    assert (await thumbnails(service, site.url("/thumbnail.jpg")))[0] == 200


@pytest.mark.parametrize(
    "urls", [[], ["http://a.test/1.jpg"] * 21, ["file:///etc/passwd"], "http://a.test/", None]
)
async def test_links_of_pictures_that_cannot_be_are_refused_by_name(service: Inside, urls: Any) -> None:
    async with service.client.post("/api/info/thumbnails", json={"urls": urls}) as answer:
        problem = await answer.json(content_type=None)
    assert (answer.status, problem["errors"][0]["field"].split(".")[0]) == (422, "urls")


def width_of(jpeg: bytes) -> int:
    """Return the width in pixels that the frame header says (ITU T.81, B.2.2)."""
    at = jpeg.index(b"\xff\xc0")
    return int.from_bytes(jpeg[at + 7 : at + 9], "big")
