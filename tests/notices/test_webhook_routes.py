"""Webhooks: a real receiver is told of the ends of tasks, and verifies the messages with the library of
Standard Webhooks.
"""

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer
from pydantic import SecretStr
from standardwebhooks import Webhook

from server.app import create_app
from server.notices import deliverer, webhook_sender
from server.settings import DownloadSettings, Settings, StorageSettings, WebhookSettings

Client = TestClient[web.Request, web.Application]
Open = Callable[..., Awaitable[Client]]
SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
URL = "http://127.0.0.9:9/video.mp4"


class Receiver:
    """Keeps the requests that come, and answers with `status`, but not before `hangs` is set."""

    def __init__(self) -> None:
        self.got: asyncio.Queue[tuple[dict[str, str], bytes]] = asyncio.Queue()
        self.paths: list[str] = []
        self.status = 204
        self.headers: dict[str, str] = {}
        self.hangs: asyncio.Event | None = None
        app = web.Application()
        app.router.add_post("/{tail:.*}", self._take)
        self.server = TestServer(app)

    async def _take(self, request: web.Request) -> web.Response:
        self.paths.append(request.path)
        self.got.put_nowait((dict(request.headers), await request.read()))
        if self.hangs:
            await self.hangs.wait()
        return web.Response(status=self.status, headers=self.headers)

    async def next(self) -> tuple[dict[str, str], bytes]:
        return await self.got.get()

    @property
    def url(self) -> str:
        return str(self.server.make_url("/told?key=s3cret"))


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    receiver = Receiver()
    async with receiver.server:
        yield receiver


@pytest.fixture
def open_client(aiohttp_client: Callable[[web.Application], Awaitable[Client]], tmp_path: Path) -> Open:
    async def opened(presets: dict[str, Any] | None = None, **webhooks: Any) -> Client:
        known = {"secret": SecretStr(SECRET), "allowed_private_hosts": ("127.0.0.1",)}
        settings = Settings(
            storage=StorageSettings(data_dir=tmp_path / "data"),
            downloads=DownloadSettings(min_free_disk=0),
            webhooks=WebhookSettings(**known | webhooks),
            presets=presets or {},
        )
        return await aiohttp_client(create_app(settings))

    return opened


@pytest.fixture
async def client(open_client: Open) -> Client:
    return await open_client()


async def cancelled(client: Client, **fields: Any) -> dict[str, Any]:
    """Make a task and cancel it; this counts as an end like any other."""
    body = {"url": URL, "auto_start": False, **fields}
    made = await (await client.post("/api/process", json=body)).json()
    answer = await client.post(f"/api/tasks/{made['task_id']}/cancel")
    payload: dict[str, Any] = await answer.json()
    assert answer.status == 200, payload
    return payload


async def deliveries(client: Client, until: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
    """Wait until the only delivery satisfies `until`; return it."""
    while True:
        page = await (await client.get("/api/webhooks")).json()
        if page["webhooks"] and until(page["webhooks"][0]):
            delivery: dict[str, Any] = page["webhooks"][0]
            return delivery
        await asyncio.sleep(0.02)


async def nothing_is_due(client: Client) -> None:
    while (await (await client.get("/api/webhooks")).json())["webhooks"]:
        await asyncio.sleep(0.02)


async def test_the_final_payload_comes_signed_and_with_the_bytes_of_the_status(
    client: Client, receiver: Receiver
) -> None:
    payload = await cancelled(client, webhook=receiver.url)
    headers, body = await receiver.next()
    Webhook(SECRET).verify(body, headers)
    assert body == await (await client.get(f"/api/status/{payload['task_id']}")).read()
    assert headers["Content-Type"] == "application/json"
    assert headers["Content-Language"] == "zh"
    await nothing_is_due(client)


async def test_a_receiver_that_is_not_well_is_tried_again_under_the_same_id(
    client: Client, receiver: Receiver, monkeypatch: pytest.MonkeyPatch, open_client: Open
) -> None:
    monkeypatch.setattr(deliverer, "PLAN", (0.0, 0.0, 3600.0))
    other = await open_client_again(client, open_client)
    receiver.status = 500
    await cancelled(other, webhook=receiver.url)
    tries = [await receiver.next() for _ in range(3)]
    assert len({headers["webhook-id"] for headers, _ in tries}) == 1
    assert len({body for _, body in tries}) == 1
    delivery = await deliveries(other, lambda each: each["attempts"] == 3)
    assert (delivery["state"], delivery["last_error"]) == ("due", "http_500")
    receiver.status = 200
    again = await (await other.post(f"/api/webhooks/{delivery['id']}/retry")).json()
    assert again["id"] == delivery["id"]
    await receiver.next()
    await nothing_is_due(other)


async def open_client_again(client: Client, open_client: Open) -> Client:
    """Close the server, and open another one on the same data."""
    await client.close()
    return await open_client()


def test_the_plan_has_eight_tries_within_a_day_and_a_half() -> None:
    assert deliverer.PLAN == (5, 300, 1800, 7200, 18_000, 36_000, 50_400)
    assert webhook_sender.TRY_WITHIN == 15


async def test_what_could_not_be_told_is_told_by_the_next_server(
    client: Client, receiver: Receiver, open_client: Open
) -> None:
    receiver.status = 503
    payload = await cancelled(client, webhook=receiver.url)
    await receiver.next()
    delivery = await deliveries(client, lambda each: each["attempts"] >= 1)
    receiver.status = 204
    other = await open_client_again(client, open_client)
    await other.post(f"/api/webhooks/{delivery['id']}/retry")
    headers, body = await receiver.next()
    assert headers["webhook-id"] == delivery["id"]
    assert json.loads(body)["task_id"] == payload["task_id"]


async def test_a_receiver_that_hangs_is_left_after_the_time_of_a_try_and_holds_up_nobody(
    client: Client, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(webhook_sender, "TRY_WITHIN", 2.0)  # long enough for the request to arrive
    receiver.hangs = asyncio.Event()
    await cancelled(client, webhook=receiver.url)
    await receiver.next()
    delivery = await deliveries(client, lambda each: each["attempts"] >= 1)
    assert delivery["last_error"] == "timeout"
    receiver.hangs.set()


async def test_what_is_being_sent_is_sent_no_second_time_however_often_that_is_asked_for(
    client: Client, receiver: Receiver
) -> None:
    receiver.hangs, receiver.status = asyncio.Event(), 500
    await cancelled(client, webhook=receiver.url)
    await receiver.next()
    delivery = await deliveries(client, lambda _: True)
    for _ in range(12):
        answer = await client.post(f"/api/webhooks/{delivery['id']}/retry")
        assert (answer.status, await answer.json()) == (200, delivery)
    receiver.hangs.set()
    failed = await deliveries(client, lambda each: each["attempts"] >= 1)
    assert (failed["state"], failed["attempts"], receiver.got.qsize()) == ("due", 1, 0)
    await client.post(f"/api/webhooks/{delivery['id']}/retry")
    await receiver.next()


async def test_a_redirect_is_not_followed(client: Client, receiver: Receiver) -> None:
    receiver.status, receiver.headers = 302, {"Location": "/elsewhere"}
    await cancelled(client, webhook=receiver.url)
    await receiver.next()
    delivery = await deliveries(client, lambda each: each["attempts"] >= 1)
    assert delivery["last_error"] == "http_302"
    assert "/elsewhere" not in receiver.paths


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "2130706433", "0x7f.1", "[::ffff:127.0.0.1]"])
async def test_a_private_address_is_refused_however_it_is_spelled(
    open_client: Open, receiver: Receiver, host: str
) -> None:
    client = await open_client(allowed_private_hosts=())
    await cancelled(client, webhook=f"http://{host}:{receiver.server.port}/")
    delivery = await deliveries(client, lambda each: each["attempts"] >= 1)
    assert delivery["last_error"] == ("invalid_url" if host.isdecimal() else "blocked_address")
    assert receiver.got.empty()


async def test_a_host_is_allowed_by_its_name_at_its_port_only(open_client: Open, receiver: Receiver) -> None:
    client = await open_client(allowed_private_hosts=(f"localhost:{receiver.server.port}",))
    await cancelled(client, webhook=f"http://localhost:{receiver.server.port}/")
    await receiver.next()
    await nothing_is_due(client)
    await cancelled(client, webhook=f"http://127.0.0.1:{receiver.server.port}/")
    delivery = await deliveries(client, lambda each: each["attempts"] >= 1)
    assert delivery["last_error"] == "blocked_address"


async def test_the_default_webhook_is_told_of_every_end_beside_the_tasks_own(
    open_client: Open, receiver: Receiver
) -> None:
    client = await open_client(default=receiver.url)
    await cancelled(client)
    await receiver.next()
    await cancelled(client, webhook=receiver.url)
    ids = {(await receiver.next())[0]["webhook-id"] for _ in range(2)}
    assert len(ids) == 2


async def test_without_a_secret_a_webhook_is_refused_by_name(open_client: Open) -> None:
    client = await open_client(secret=None)
    answer = await client.post("/api/process", json={"url": URL, "webhook": "https://a.test/"})
    assert answer.status == 422
    assert [error["field"] for error in (await answer.json())["errors"]] == ["webhook"]


@pytest.mark.parametrize("webhook", ["ftp://a.test/", "", "no", 7, "http://"])
async def test_what_is_no_address_is_refused(client: Client, webhook: object) -> None:
    answer = await client.post("/api/process", json={"url": URL, "webhook": webhook})
    assert answer.status == 422
    assert [error["field"] for error in (await answer.json())["errors"]] == ["webhook"]


async def test_the_password_of_an_address_is_used_and_shown_to_nobody(
    client: Client, receiver: Receiver, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "server")
    receiver.status = 401
    address = receiver.url.replace("http://", "http://user:hunter2@")
    await cancelled(client, webhook=address)
    headers, _ = await receiver.next()
    assert headers["Authorization"].startswith("Basic ")
    delivery = await deliveries(client, lambda each: each["attempts"] >= 1)
    assert delivery["url"] == receiver.url
    assert "hunter2" not in caplog.text
    assert SECRET.removeprefix("whsec_") not in caplog.text
    assert "s3cret" not in caplog.text


async def test_of_the_addresses_of_the_configuration_clients_and_logs_see_the_host_alone(
    open_client: Open, receiver: Receiver, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    receiver.status = 500
    host = f"http://127.0.0.1:{receiver.server.port}"
    presets = {"home": {"webhook": f"{host}/api/webhook/s3cret"}}
    client = await open_client(
        default=f"http://user:hunter2@127.0.0.1:{receiver.server.port}/api/webhook/s3cret?s3cret#s3cret",
        presets=presets,
    )
    await cancelled(client, preset="home")
    for _ in range(2):
        await receiver.next()
    assert "/api/webhook/s3cret" in receiver.paths
    await deliveries(client, lambda each: each["attempts"] >= 1)
    page = await (await client.get("/api/webhooks")).json()
    assert [each["url"] for each in page["webhooks"]] == [host, host]
    told = await (await client.get("/api/presets")).json()
    assert told == {"presets": {"home": {"webhook": host}}}
    for path in ("/metrics", "/readyz", "/api/openapi.json"):
        assert "s3cret" not in await (await client.get(path)).text()
    # The receiver runs in this process as well, and logs its requests.
    written = [record.getMessage() for record in caplog.records if record.name.startswith("server")]
    assert "s3cret" not in "".join(written)
    assert "hunter2" not in "".join(written)


async def test_an_unknown_delivery_is_404(client: Client) -> None:
    answer = await client.post("/api/webhooks/nope/retry")
    assert (answer.status, (await answer.json())["code"]) == (404, "delivery_not_found")
