"""Server-sent events: the payloads of the WebSockets, for clients that can use only HTTP."""

import asyncio
import json
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientResponse, web
from aiohttp.test_utils import TestClient

from server.api import event_streams, keys
from server.app import create_app
from server.core.process_request import ProcessRequest
from server.settings import DownloadSettings, ServerSettings, Settings, StorageSettings
from tests.adding import accept
from tests.tools import without

Client = TestClient[web.Request, web.Application]
Open = Callable[..., Awaitable[Client]]
REQUEST = ProcessRequest(url="http://127.0.0.9:9/video.mp4", auto_start=False)


@pytest.fixture
def open_client(aiohttp_client: Callable[[web.Application], Awaitable[Client]], tmp_path: Path) -> Open:
    """Return what opens a client; each call opens the same data again."""

    async def opened(**server: Any) -> Client:
        settings = Settings(
            server=ServerSettings(**server),
            storage=StorageSettings(data_dir=tmp_path / "data"),
            downloads=DownloadSettings(min_free_disk=0),
        )
        return await aiohttp_client(create_app(settings))

    return opened


@pytest.fixture
async def client(open_client: Open) -> Client:
    return await open_client()


class Stream:
    def __init__(self, response: ClientResponse) -> None:
        self.response = response
        self.last_id = ""

    async def block(self) -> dict[str, str]:
        """Return the fields of the next event; None for a comment, empty at the end."""
        lines: list[str] = []
        while (line := (await self.response.content.readline()).decode()) not in ("", "\n"):
            lines.append(line.rstrip("\n"))
        fields = dict(line.split(": ", 1) for line in lines if not line.startswith(":"))
        self.last_id = fields.get("id", self.last_id)
        if not fields and lines:
            return await self.block()
        return fields

    async def next(self) -> dict[str, Any]:
        """Return the data of the next event that has any."""
        fields = await self.block()
        if fields and "data" not in fields:
            return await self.next()
        data: dict[str, Any] = json.loads(fields["data"]) if fields else {}
        return data


@asynccontextmanager
async def streaming(
    client: Client, path: str, last: str | None = None, **headers: str
) -> AsyncIterator[Stream]:
    known = headers if last is None else headers | {"Last-Event-ID": last}
    async with client.get(path, headers=known) as response:
        assert (response.status, response.content_type) == (200, "text/event-stream")
        yield Stream(response)


async def submitted(client: Client) -> str:
    return (await accept(client.app[keys.TASKS], REQUEST)).task_id


async def test_a_stream_of_one_task_has_its_payloads_and_ends_after_the_last(client: Client) -> None:
    task_id = await submitted(client)
    async with streaming(client, f"/api/events/{task_id}") as stream:
        first = await stream.next()
        assert first == await (await client.get(f"/api/status/{task_id}")).json()
        assert stream.last_id == str(first["revision"])
        await client.app[keys.TASKS].cancel(task_id)
        assert (await stream.next())["stage"] == "cancelled"
        assert await stream.block() == {}, "it ends"
    again = await client.get(f"/api/events/{task_id}", headers={"Last-Event-ID": stream.last_id})
    assert again.status == 204, "an EventSource tries no more"


async def test_a_client_that_comes_back_gets_only_what_it_does_not_have(client: Client) -> None:
    task_id = await submitted(client)
    async with streaming(client, f"/api/events/{task_id}") as stream:
        await stream.next()
    async with streaming(client, f"/api/events/{task_id}", stream.last_id) as stream:
        await client.app[keys.TASKS].cancel(task_id)
        assert (await stream.next())["stage"] == "cancelled"


async def test_an_id_that_the_task_has_not_reached_is_not_its_end(client: Client) -> None:
    task_id = await submitted(client)
    last = await client.app[keys.TASKS].cancel(task_id)
    async with streaming(client, f"/api/events/{task_id}", str(last.revision + 1)) as stream:
        assert (await stream.next())["revision"] == last.revision
        assert await stream.block() == {}


async def test_a_removed_task_ends_its_stream_and_a_reconnect_is_not_wanted(client: Client) -> None:
    task_id = await submitted(client)
    async with streaming(client, f"/api/events/{task_id}") as stream:
        await stream.next()
        await client.app[keys.TASKS].delete(task_id)
        assert await stream.next() == {"task_id": task_id, "removed": True}
        assert await stream.block() == {}
    assert (
        await client.get(f"/api/events/{task_id}", headers={"Last-Event-ID": stream.last_id})
    ).status == 204
    assert (await client.get(f"/api/events/{task_id}")).status == 404


async def test_the_feed_has_what_the_socket_of_all_tasks_has(client: Client) -> None:
    async with streaming(client, "/api/events?lang=en") as stream, client.ws_connect("/ws?lang=en") as ws:
        await stream.block()
        task_id = await submitted(client)
        assert await stream.next() == await ws.receive_json()
        await client.app[keys.TASKS].delete(task_id)
        assert await stream.next() == await ws.receive_json() == {"task_id": task_id, "removed": True}


async def test_ids_grow_and_lead_on_from_where_a_client_was(client: Client) -> None:
    async with streaming(client, "/api/events") as stream:
        await stream.block()
        kept, gone, quiet = [await submitted(client) for _ in range(3)]
        ids = []
        for _ in range(3):
            await stream.next()
            ids.append(int(stream.last_id))
    assert ids == sorted(set(ids))
    await client.app[keys.TASKS].cancel(kept)
    await client.app[keys.TASKS].delete(gone)
    async with streaming(client, "/api/events", stream.last_id) as stream:
        assert [await stream.next() for _ in range(2)] == [
            await (await client.get(f"/api/status/{kept}")).json(),
            {"task_id": gone, "removed": True},
        ]
        await client.app[keys.TASKS].cancel(quiet)
        assert (await stream.next())["task_id"] == quiet, "nothing else has changed"


async def test_a_client_that_comes_back_after_a_restart_has_missed_nothing(
    client: Client, open_client: Open
) -> None:
    async with streaming(client, "/api/events") as stream:
        await stream.block()
        kept, gone = [await submitted(client) for _ in range(2)]
        await stream.next()
        await stream.next()
    await client.app[keys.TASKS].cancel(kept)
    await client.app[keys.TASKS].delete(gone)
    late = await submitted(client)
    await client.close()
    other = await open_client()
    async with streaming(other, "/api/events", stream.last_id) as stream:
        came = [await stream.next() for _ in range(3)]
        assert {each["task_id"]: each.get("stage", "removed") for each in came} == {
            kept: "cancelled", gone: "removed", late: "paused",
        }  # fmt: skip
        newest = stream.last_id
    async with streaming(other, "/api/events", newest) as stream:
        await other.app[keys.TASKS].cancel(late)
        assert (await stream.next())["stage"] == "cancelled"


@pytest.mark.parametrize("last", ["nonsense", "", "1", "-5", "9" * 15, "9" * 400])
async def test_an_id_that_is_unknown_or_too_old_is_answered_with_a_reset(client: Client, last: str) -> None:
    async with streaming(client, "/api/events", last) as stream:
        block = await stream.block()
        assert block["event"] == "reset"
        assert json.loads(block["data"]) == {"reset": True}
        assert int(block["id"]) > 1
        task_id = await submitted(client)
        assert (await stream.next())["task_id"] == task_id


async def test_ten_thousand_changes_are_kept(client: Client) -> None:
    hub = client.app[keys.HUB]
    hub.keep_history()
    began = hub.number
    for number in range(10_000):
        hub.publish(f"task {number}")
    known = hub.changes_since(began)
    assert known is not None
    assert len([*known]) == 10_000
    hub.publish("one more")
    assert hub.changes_since(began) is None, "the first is forgotten"


async def test_a_slow_client_gets_the_newest_of_each_task_and_ids_still_grow(client: Client) -> None:
    async with streaming(client, "/api/events") as stream:
        await stream.block()
        first, second = [await submitted(client) for _ in range(2)]
        await stream.next()
        await stream.next()
        status = await client.app[keys.TASKS].status(first)
        other = await client.app[keys.TASKS].status(second)
        hub = client.app[keys.HUB]
        hub.publish(status.model_copy(update={"revision": 10}))
        hub.publish(other.model_copy(update={"revision": 10}))
        # This update comes in the same write as the two before.
        hub.publish(status.model_copy(update={"revision": 11}))
        before = int(stream.last_id)
        assert [(await stream.next())["task_id"], (await stream.next())["revision"]] == [second, 11]
        assert int(stream.last_id) > before


def test_nothing_is_written_to_a_client_that_has_left(monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise asyncio would log a warning for each write until the disconnect is noticed."""

    class Left(asyncio.Transport):
        def is_closing(self) -> bool:
            return True

        def get_write_buffer_size(self) -> int:
            return 0

        def write(self, data: object) -> None:
            raise AssertionError(data)

    stream = object.__new__(event_streams.FeedStream)
    stream._state, stream._transport = "writing", Left()
    monkeypatch.setattr(event_streams.FeedStream, "_frames", lambda _: b"data: {}\n\n")
    stream.flush()


async def test_a_quiet_stream_has_a_comment_now_and_then(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert event_streams.COMMENT_EVERY <= 30
    monkeypatch.setattr(event_streams, "COMMENT_EVERY", 0.01)
    async with streaming(client, "/api/events") as stream:
        await stream.block()
        assert await stream.response.content.readline() == b":\n"


async def test_a_stream_ends_when_the_server_goes_away(client: Client) -> None:
    async with streaming(client, "/api/events") as stream:
        await stream.block()
        client.app[keys.HUB].close()
        assert await stream.block() == {}


@pytest.mark.parametrize("path", ["/api/events", "/api/events/{task_id}"])
@pytest.mark.parametrize(
    "headers", [{"Origin": "http://evil.test"}, {"Origin": "null"}, {"Sec-Fetch-Site": "cross-site"}]
)
async def test_other_sites_are_refused_as_by_a_socket(
    client: Client, path: str, headers: dict[str, str]
) -> None:
    path = path.format(task_id=await submitted(client))
    assert (await client.get(path, headers=headers)).status == 403


async def test_a_log_out_ends_the_streams_of_its_session(open_client: Open) -> None:
    client = await open_client(tokens=("sesame",))
    assert (await client.get("/api/events")).status == 401
    origin = {"Origin": str(client.make_url("/")).rstrip("/")}
    assert (await client.post("/api/session", json={"token": "sesame"}, headers=origin)).ok
    assert (await client.get("/api/events")).status == 403, "a cookie alone, from who knows where"
    async with streaming(client, "/api/events", **origin) as stream:
        await stream.block()
        assert (await client.delete("/api/session", headers=origin)).ok
        assert await stream.block() == {}


async def test_http_1_0_gets_the_same_without_chunks(client: Client) -> None:
    task_id = await submitted(client)
    reader, writer = await asyncio.open_connection("127.0.0.1", client.port)
    writer.write(f"GET /api/events/{task_id} HTTP/1.0\r\nHost: localhost\r\n\r\n".encode())
    head = await reader.readuntil(b"\r\n\r\n")
    assert b"chunked" not in head
    await reader.readuntil(b"\n\n")
    await client.app[keys.TASKS].cancel(task_id)
    rest = await reader.read()
    writer.close()
    assert rest.startswith(b"id: ")
    assert rest.endswith(b"}\n\n")


async def test_curl_follows_a_task_to_its_end(client: Client) -> None:
    curl = shutil.which("curl") or without("curl", "apt-get install curl")
    task_id = await submitted(client)
    url = str(client.make_url(f"/api/events/{task_id}?lang=en"))
    process = await asyncio.create_subprocess_exec(curl, "-sN", url, stdout=asyncio.subprocess.PIPE)
    assert process.stdout
    first = await process.stdout.readuntil(b"\n\n")
    await client.app[keys.TASKS].cancel(task_id)
    rest = await process.stdout.read()
    assert await process.wait() == 0
    assert b'"stage":"paused"' in first
    assert b'"message":"Cancelled"' in rest
