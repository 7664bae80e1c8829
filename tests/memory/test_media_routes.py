"""Asking whether something was fetched, and taking archives of yt-dlp."""

from collections.abc import Awaitable, Callable
from io import BytesIO
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient

from server.app import create_app
from server.memory.media_routes import MAX_ARCHIVE
from server.settings import DownloadSettings, Settings, StorageSettings
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


async def test_a_download_is_remembered_after_its_deletion(service: Service, site: Site) -> None:
    # The service that tests share remembers what came from another site at the same port.
    link = site.url(f"/video.mp4?signature={uuid4()}")
    async with service.client.get("/api/media", params={"url": link}) as response:
        assert (response.status, (await response.json(content_type=None))["code"]) == (404, "media_not_found")
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
