"""The routes that say whether a video was fetched, and that import archives of yt-dlp."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any
from uuid import uuid4

import psutil  # type: ignore[import-untyped]
import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient

from server.api import spool
from server.api.connections import CONNECTIONS
from server.app import create_app
from server.core.owner_scope import OwnerScope
from server.memory.media_routes import (
    KEYS_PER_TRANSACTION,
    MAX_ARCHIVE,
    MAX_LINE_BYTES,
    MEDIA,
    READ_BYTES,
    TURNS,
    Archive,
)
from server.settings import DownloadSettings, Settings, StorageSettings
from tests.inside import Inside, inside
from tests.service import Service
from tests.site import Site

Client = TestClient[web.Request, web.Application]
Connect = Callable[[web.Application], Awaitable[Client]]
PLAIN = {"Content-Type": "text/plain"}


@pytest.fixture
async def client(aiohttp_client: Connect, tmp_path: Path) -> Client:
    storage = StorageSettings(data_dir=tmp_path / "data")
    return await aiohttp_client(
        create_app(Settings(storage=storage, downloads=DownloadSettings(min_free_disk=0)))
    )


async def taken(client: Client, archive: bytes) -> dict[str, Any]:
    response = await client.post("/api/media", data=archive, headers=PLAIN)
    assert response.status == 200, await response.text()
    answer: dict[str, Any] = await response.json()
    return answer


async def test_an_archive_is_taken_line_by_line(client: Client) -> None:
    archive = b"youtube dQw4w9WgXcQ\r\n\nvimeo 1\nvimeo 1\nnonsense\ngeneric video\nvimeo \xff\n"
    assert await taken(client, archive) == {"taken": 2, "known": 0, "unreadable": [5, 6, 7]}
    assert await taken(client, b"vimeo 1\nvimeo 2") == {"taken": 1, "known": 1, "unreadable": []}
    assert await taken(client, b"\xef\xbb\xbfvimeo 1") == {"taken": 0, "known": 1, "unreadable": []}
    assert await taken(client, b"") == {"taken": 0, "known": 0, "unreadable": []}
    response = await client.get("/api/media", params={"url": "https://youtu.be/dQw4w9WgXcQ"})
    found = await response.json()
    assert (response.status, found["key"], found["subscriptions"]) == (200, "youtube dQw4w9WgXcQ", [])
    assert "task_id" not in found


async def test_an_archive_without_sense_is_no_flood(client: Client) -> None:
    answer = await taken(client, b"x\n" * 10_000)
    assert (len(answer["unreadable"]), answer["more"]) == (100, True)
    response = await client.post("/api/media", data=BytesIO(b"a" * (MAX_ARCHIVE + 1)), headers=PLAIN)
    assert (response.status, (await response.json(content_type=None))["code"]) == (413, "body_too_large")


async def test_an_archive_is_a_plain_text(client: Client) -> None:
    response = await client.post("/api/media", json={"url": "http://a.test/"})
    answer = await response.json(content_type=None)
    assert (response.status, answer["code"]) == (415, "not_text_type")
    assert "text/plain" in answer["detail"] or "text/plain" in answer["title"]


@pytest.mark.parametrize(
    "url", ["", "nonsense", "ftp://a.test/", "http://", "http://a.test/\x00", "http://a/" + "x" * 5000]
)
async def test_what_is_no_link_is_refused(client: Client, url: str) -> None:
    response = await client.get("/api/media", params={"url": url})
    assert (response.status, (await response.json(content_type=None))["code"]) == (422, "invalid_query")


async def test_without_a_link_nothing_is_asked(client: Client) -> None:
    assert (await client.get("/api/media")).status == 422


@pytest.mark.wide
async def test_a_download_is_remembered_after_its_deletion(service: Service, site: Site) -> None:
    # The shared service may remember a film of another test's site, which had the same port.
    link = site.url(f"/video.mp4?signature={uuid4()}")
    async with service.client.get("/api/media", params={"url": link}) as response:
        assert (response.status, (await response.json(content_type=None))["code"]) == (404, "media_not_found")
    async with service.client.get("/api/media", params={"url": link, "quiet": "1"}) as response:
        assert (response.status, await response.read()) == (204, b"")
    task_id = (await service.submit(link, outputs=["audio"]))["task_id"]
    payload = await service.wait(task_id, "completed")
    assert (payload["video_info"]["id"], payload["video_info"]["extractor_key"]) == ("video", "Generic")
    async with service.client.get("/api/media", params={"url": f"{link}#t=2"}) as response:
        assert (await response.json())["task_id"] == task_id
    async with service.client.delete(f"/api/tasks/{task_id}") as response:
        assert response.status == 204
    async with service.client.get("/api/media", params={"url": link}) as response:
        found = await response.json()
    assert response.status == 200
    assert "task_id" not in found
    assert found["key"].startswith("url https://127.0.0.1:")


# --- large archives, and many imports at once ---


@pytest.fixture
async def served(tmp_path: Path, nothing_begins: None) -> AsyncIterator[Inside]:
    async with inside(tmp_path) as served:
        yield served


async def imported(served: Inside, archive: bytes) -> tuple[int, dict[str, Any]]:
    async with served.client.post("/api/media", data=BytesIO(archive), headers=PLAIN) as answer:
        return answer.status, await answer.json(content_type=None)


@pytest.mark.wide
@pytest.mark.parametrize("unit", [b"\n", b"x\n", b"\xff\n", b"a b\n", b"a " + b"b" * 200_000 + b"\n", b"y"])
def test_an_archive_is_read_in_small_pieces(unit: bytes) -> None:
    text = unit * (8 * READ_BYTES // len(unit))
    file = BytesIO(text)
    archive, before, count = Archive(file), 0, 0
    while (keys := archive.next_keys()) is not None:
        assert len(keys) <= KEYS_PER_TRANSACTION
        assert file.tell() - before <= READ_BYTES + MAX_LINE_BYTES
        before, count = file.tell(), count + len(keys)
    assert file.tell() == len(text)
    is_wrong = unit not in (b"\n", b"a b\n")
    wrong = text.count(b"\n") + (not text.endswith(b"\n")) if is_wrong else 0
    assert archive.unreadable == [*range(1, min(wrong, 100) + 1)]
    assert archive.has_more_unreadable == (wrong > 100)
    assert bool(count) == (unit == b"a b\n")


async def test_of_many_archives_one_is_imported_at_a_time_and_others_write_in_between(
    served: Inside, monkeypatch: pytest.MonkeyPatch
) -> None:
    media, order, take = served.app[MEDIA], list[str](), served.app[MEDIA].take

    async def noted(keys: Sequence[str], now: float, scope: OwnerScope) -> int:
        assert len(keys) <= KEYS_PER_TRANSACTION
        order.append(keys[0].split()[0])
        return await take(keys, now, scope)

    monkeypatch.setattr(media, "take", noted)
    archives = [b"".join(b"site%d %d\n" % (site, line) for line in range(1200)) for site in range(5)]
    answers = await asyncio.gather(*(imported(served, archive) for archive in archives))
    assert answers == [(200, {"taken": 1200, "known": 0, "unreadable": []})] * 5
    assert len(order) == 15
    assert [place for place in range(1, 15) if order[place] != order[place - 1]] == [3, 6, 9, 12]


async def test_who_sends_slowly_or_has_left_holds_nobodys_turn(served: Inside) -> None:
    head = (
        b"POST /api/media HTTP/1.1\r\nHost: localhost\r\nContent-Type: text/plain\r\n"
        b"Content-Length: %d\r\n\r\n" % MAX_ARCHIVE
    )
    loop = asyncio.get_running_loop()
    async with served.connected() as slow, served.connected() as gone:
        await loop.sock_sendall(slow, head + b"vimeo 1\n" * 20_000)
        await loop.sock_sendall(gone, head.replace(b"%d" % MAX_ARCHIVE, b"8") + b"vimeo 1\n")
        while len(served.app[CONNECTIONS].answering) < 2:
            await asyncio.sleep(0)
        gone.close()
        assert await imported(served, b"vimeo 2\n") == (200, {"taken": 1, "known": 0, "unreadable": []})


async def test_who_waits_too_long_for_the_others_comes_again(
    served: Inside, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(spool, "WAIT_FOR_TURN", 0.0)
    async with (
        served.app[TURNS].turn(),
        served.client.post("/api/media", data=b"vimeo 1\n", headers=PLAIN) as answer,
    ):
        assert (answer.status, answer.headers["Retry-After"]) == (503, "10")
        assert (await answer.json(content_type=None))["code"] == "server_busy"


@pytest.mark.long
@pytest.mark.parametrize("unit", [b"x\n", b"youtube %07d\n"])
async def test_eight_of_the_largest_archives_at_once_take_little_memory(tmp_path: Path, unit: bytes) -> None:
    text = unit * (MAX_ARCHIVE // len(unit))
    if b"%" in unit:
        text = b"".join(unit % number for number in range(MAX_ARCHIVE // 16))
    as_operators_run_it = {"PYTHONDEVMODE": "", "PYTHONASYNCIODEBUG": ""}
    async with Service(tmp_path / "service", **as_operators_run_it) as service:
        process = psutil.Process(service.pid)

        async def post() -> int:
            async with service.client.post("/api/media", data=BytesIO(text), headers=PLAIN) as answer:
                await answer.read()
                return answer.status

        before = most = process.memory_info().rss
        importing = asyncio.gather(*(post() for _ in range(8)))
        while not importing.done():
            async with service.client.get("/readyz") as answer:
                assert answer.status == 200
            most = max(most, process.memory_info().rss)
        statuses = await importing
        assert set(statuses) <= {200, 503}
        assert 200 in statuses
        assert most - before < 64 << 20, (before, most)
