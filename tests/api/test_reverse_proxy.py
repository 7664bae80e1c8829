"""The nginx configuration in docs/configuration.md, which a small proxy of the test follows."""

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from aiohttp import ClientSession, CookieJar, web
from pydantic import SecretStr

from server.api.bodies import MAX_BODY
from server.api.process import MAX_BATCH
from server.app import create_app
from server.core.cookie_format import MAX_SIZE
from server.settings import DownloadSettings, ServerSettings, Settings, StorageSettings
from tests.between import connected, pass_on, standing

DOCUMENT = (Path(__file__).parent.parent.parent / "docs" / "configuration.md").read_text(encoding="utf-8")
[SNIPPET] = re.findall(r"```nginx\n(.*?)```", DOCUMENT, re.DOTALL)
SET_HEADERS = re.findall(r"proxy_set_header (\S+) (\S+);", SNIPPET)
PUBLIC = "clips.example.org:8443"
OURS = {"Host": PUBLIC, "Origin": f"http://{PUBLIC}", "Sec-Fetch-Site": "same-origin"}
BODY = {"url": "http://127.0.0.9:9/v.mp4", "auto_start": False}


class StandIn:
    """A proxy that sets headers as `SNIPPET` says, and passes bytes on, one request a connection."""

    def __init__(self, port: int) -> None:
        self._port = port

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        line, *fields = (await reader.readuntil(b"\r\n\r\n")).decode().rstrip().split("\r\n")
        headers = {name.lower(): value for name, _, value in (field.partition(": ") for field in fields)}
        # Nginx passes neither of these on by itself.
        headers |= {"connection": "", "upgrade": ""} | self._set(headers)
        headers["connection"] = headers["connection"] or "close"
        async with connected(self._port) as (to_us, from_us):
            head = [line, *(f"{name}: {value}" for name, value in headers.items() if value)]
            from_us.write("\r\n".join((*head, "", "")).encode())
            await asyncio.gather(pass_on(reader, from_us), pass_on(to_us, writer))

    def _set(self, headers: dict[str, str]) -> dict[str, str]:
        upgrade, name = headers.get("upgrade", ""), headers["host"]
        forwarded = [headers[each] for each in ("x-forwarded-for",) if each in headers]
        variables = {
            "$http_host": name,
            "$host": name.partition(":")[0],
            "$scheme": "http",
            "$http_upgrade": upgrade,
            "$connection_upgrade": "upgrade" if upgrade else "",
            "$proxy_add_x_forwarded_for": ", ".join([*forwarded, "127.0.0.7"]),
        }
        return {name.lower(): variables[value] for name, value in SET_HEADERS}


@asynccontextmanager
async def opened(folder: Path) -> AsyncIterator[int]:
    settings = Settings(
        server=ServerSettings(
            base_path="/clipwire",
            tokens=(SecretStr("token"),),
            allowed_hosts=("clips.example.org",),
            trusted_proxies=("127.0.0.0/8",),
        ),
        storage=StorageSettings(data_dir=folder / "data"),
        downloads=DownloadSettings(min_free_disk=0),
    )
    runner = web.AppRunner(create_app(settings), access_log=None)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield runner.addresses[0][1]
    finally:
        await runner.cleanup()


@pytest.fixture
async def client(tmp_path: Path) -> AsyncIterator[ClientSession]:
    """A client of the proxy, with the cookies of a browser."""
    async with asyncio.timeout(30), opened(tmp_path) as port, standing(StandIn(port).serve) as proxy:
        base = f"http://127.0.0.1:{proxy}"
        async with ClientSession(base, cookie_jar=CookieJar(unsafe=True)) as client:
            yield client


async def test_the_page_works_behind_the_documented_proxy(client: ClientSession) -> None:
    async with client.get("/clipwire/", headers=OURS) as page:
        assert page.content_type == "text/html"
    async with client.post("/clipwire/api/session", json={"token": "token"}, headers=OURS) as answer:
        assert answer.status == 204
        assert "; Path=/clipwire;" in answer.headers["Set-Cookie"]
    async with client.post("/clipwire/api/process", json=BODY, headers=OURS) as answer:
        assert answer.status == 202, "a change of the page's, from a port of its own"
        link = answer.headers["Location"].replace("/api/status/", "/ws/")
    async with client.ws_connect(link, headers=OURS) as ws:
        assert (await ws.receive_json())["stage"] == "paused"


async def test_what_a_client_claims_of_itself_is_not_passed_on(client: ClientSession) -> None:
    claims = {"Host": "evil.example", "X-Forwarded-Host": "clips.example.org"}
    async with client.get("/clipwire/api/session", headers=claims) as answer:
        assert answer.status == 403
    foreign = OURS | {"Origin": "http://evil.example"}
    async with client.post("/clipwire/api/session", json={"token": "token"}, headers=foreign) as answer:
        assert answer.status == 403


def test_the_proxy_takes_every_body_that_the_service_takes() -> None:
    [most] = re.findall(r"client_max_body_size (\d+)m;", SNIPPET)
    assert int(most) << 20 >= max(MAX_BODY, MAX_BATCH, MAX_SIZE)
