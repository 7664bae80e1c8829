"""The thumbnail of a task: the status names it, the server publishes it, and sends it as it sends files."""

from collections.abc import Awaitable, Callable
from http import HTTPStatus
from pathlib import Path
from urllib.parse import quote

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient

from server.api.downloads import SANDBOX_POLICY
from server.app import create_app
from server.settings import DownloadSettings, ServerSettings, Settings, StorageSettings
from tests.service import Payload
from tests.site import Site

Client = TestClient[web.Request, web.Application]
Connect = Callable[[web.Application], Awaitable[Client]]


@pytest.fixture
async def client(aiohttp_client: Connect, tmp_path: Path) -> Client:
    settings = Settings(
        server=ServerSettings(base_path="/clip"),
        storage=StorageSettings(data_dir=tmp_path / "data"),
        downloads=DownloadSettings(allowed_private_hosts=("127.0.0.1",), min_free_disk=0),
    )
    return await aiohttp_client(create_app(settings))


async def submitted(client: Client, site: Site, media: str, **body: object) -> Payload:
    url = site.url(f"/page?src={quote(site.url(media))}")
    answer = await client.post("/api/process", json={"url": url, "outputs": ["video"], **body})
    payload: Payload = await answer.json()
    return payload


async def following(client: Client, task_id: str, until: Callable[[Payload], bool]) -> list[Payload]:
    """Follow a task until `until` is true of a status; return all statuses."""
    seen: list[Payload] = []
    async with client.ws_connect(f"/ws/{task_id}") as ws:
        while not seen or not until(seen[-1]):
            seen.append(await ws.receive_json())
    return seen


async def test_the_thumbnail_is_sent_while_the_download_runs_and_stays(
    client: Client, site: Site, tmp_path: Path
) -> None:
    task = await submitted(client, site, "/1mb.mp4?stall=500000", auto_start=False)
    path = f"/clip/api/tasks/{task['task_id']}/thumbnail"
    assert "thumbnail" not in task
    async with client.get(path) as answer:
        assert (answer.status, (await answer.json(content_type=None))["code"]) == (404, "thumbnail_not_found")

    await client.post(f"/api/tasks/{task['task_id']}/resume")
    seen = await following(client, task["task_id"], lambda payload: "thumbnail" in payload)
    assert seen[-1]["thumbnail"] == path
    assert seen[-1]["stage"] in ("info", "download"), "it is told while the download runs"
    await site.stalled()
    preview = tmp_path / "data" / "work" / task["task_id"] / "preview.jpg"
    secret = tmp_path / "secret"
    secret.write_bytes(preview.read_bytes())
    preview.unlink()
    preview.symlink_to(secret)
    async with client.get(path) as answer:
        picture, etag = await answer.read(), answer.headers["ETag"]
        assert (answer.status, answer.content_type) == (HTTPStatus.OK, "image/jpeg")
        assert picture == secret.read_bytes()
        assert answer.headers["Content-Security-Policy"] == SANDBOX_POLICY
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert answer.headers["Content-Disposition"].startswith("inline")
    async with client.get(path, headers={"If-None-Match": etag}) as answer:
        assert (answer.status, await answer.read()) == (HTTPStatus.NOT_MODIFIED, b"")
        assert "Last-Modified" not in answer.headers
    async with client.head(path) as answer:
        assert (answer.status, answer.content_length) == (HTTPStatus.OK, len(picture))
    async with client.get(path, headers={"Range": "bytes=0-2", "If-Range": etag}) as answer:
        assert (answer.status, await answer.read()) == (HTTPStatus.PARTIAL_CONTENT, picture[:3])

    await client.post(f"/api/tasks/{task['task_id']}/cancel")
    site.release()
    async with client.get(path) as answer:
        assert (answer.status, answer.headers["ETag"]) == (HTTPStatus.OK, etag)
    await client.delete(f"/api/tasks/{task['task_id']}")
    assert (await client.get(path)).status == HTTPStatus.NOT_FOUND
    assert not (tmp_path / "data" / "files" / task["task_id"]).exists()


async def test_the_thumbnail_stays_when_the_files_come(client: Client, site: Site, tmp_path: Path) -> None:
    task = await submitted(client, site, "/video.mp4")
    done = (await following(client, task["task_id"], lambda payload: payload["progress"] == 100))[-1]
    async with client.get(done["thumbnail"]) as answer:
        large = await answer.read()
        assert (answer.status, large[:3]) == (HTTPStatus.OK, b"\xff\xd8\xff")
        etag = answer.headers["ETag"]
    for width, is_small in ((96, True), (192, True), (320, False), (480, False)):
        async with client.get(f"{done['thumbnail']}?w={width}") as answer:
            picture = await answer.read()
            assert (answer.status, picture[:3]) == (HTTPStatus.OK, b"\xff\xd8\xff")
            assert (picture != large, answer.headers["ETag"] != etag) == (is_small, is_small)
            assert len(picture) <= len(large)
    smallest = min(
        (tmp_path / "data" / "files").rglob("thumbnail-*.jpg"), key=lambda path: path.stat().st_size
    )
    smallest.unlink()  # a server of an earlier release makes no picture of this size
    async with client.get(f"{done['thumbnail']}?w=96") as answer:
        assert (answer.status, await answer.read()) == (HTTPStatus.OK, large)
    async with client.get(f"{done['thumbnail']}?w=100") as answer:
        assert (answer.status, (await answer.json(content_type=None))["code"]) == (422, "invalid_query")


async def test_a_thumbnail_that_cannot_be_published_is_not_shown_and_does_no_harm(
    client: Client, site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("server.files.publishing.MAX_PREVIEW", 100)
    task = await submitted(client, site, "/video.mp4")
    seen = await following(client, task["task_id"], lambda payload: payload["progress"] == 100)
    assert not any("thumbnail" in payload for payload in seen)
    async with client.get(f"/api/tasks/{task['task_id']}/thumbnail") as answer:
        assert answer.status == HTTPStatus.NOT_FOUND
