"""A webhook by TLS reaches only a receiver whose certificate is of an authority that the system trusts."""

from pathlib import Path

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from server.api.payload import Encoder
from server.notices.deliveries import Addressee, Delivery
from server.notices.webhook_sender import WebhookSender
from tests.corpus.tls import make_authority
from tests.examples import finished, new_task


@pytest.mark.parametrize(("trusted", "outcome"), [(True, None), (False, "certificate")])
async def test_the_authorities_of_the_system_decide(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, trusted: bool, outcome: str | None
) -> None:
    ours, others = make_authority(tmp_path / "ours"), make_authority(tmp_path / "others")
    monkeypatch.setenv("SSL_CERT_FILE", str((ours if trusted else others).certificate))
    monkeypatch.setenv("SSL_CERT_DIR", str(tmp_path / "none"))
    got: list[bytes] = []

    async def take(request: web.Request) -> web.Response:
        got.append(await request.read())
        return web.Response()

    app = web.Application()
    app.add_routes([web.post("/", take)])
    status = finished(new_task().status)
    server = TestServer(app)
    await server.start_server(ssl=ours.server)
    try:
        sender = WebhookSender(Encoder(), "en", "whsec_" + "a" * 32, None, ("127.0.0.1",))
        url = f"https://127.0.0.1:{server.port}/"
        delivery = Delivery("msg_1", 1, status.task_id, Addressee("webhook", url), status, 0, 0, None, None)
        assert await sender.send(delivery) == outcome
    finally:
        await server.close()
    assert len(got) == (1 if trusted else 0)
