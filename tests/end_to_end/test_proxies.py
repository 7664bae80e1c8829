"""The service behind a real nginx and a real Caddy, which are configured as docs/configuration.md says."""

import asyncio
import io
import json
import os
import re
import socket
import sqlite3
import ssl
import tomllib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import trustme
from aiohttp.abc import AbstractResolver, ResolveResult

from server.api.process import MAX_BATCH
from server.api.session import MAX_WRONG
from server.core.action_requests import MOST_AT_ONCE
from tests.ports import free_port
from tests.service import ROOT, Service
from tests.site import Site
from tests.tools import CADDY, NGINX, without

DOCUMENT = (ROOT / "docs/configuration.md").read_text(encoding="utf-8")
NAME, PREFIX, TOKEN = "clips.example.org", "/clipwire", "right-token-0123456789"
BEARER = {"Authorization": f"Bearer {TOKEN}"}
LARGE = 2 << 30  # bytes
PATIENCE = 60


def block(language: str, beginning: str = "") -> str:
    [found] = re.findall(rf"```{language}\n({re.escape(beginning)}.*?)```", DOCUMENT, re.DOTALL)
    return str(found)


class Prefixed(Service):
    """A service with a prefix in its address, whose client asks it without the prefix."""

    def connect(self) -> None:
        self.url = self.url.removesuffix(PREFIX)
        super().connect()


class Nobody(AbstractResolver):
    """A resolver that knows the public name only."""

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        assert host == NAME
        return [
            ResolveResult(hostname=host, host="127.0.0.1", port=port, family=socket.AF_INET, proto=0, flags=0)
        ]

    async def close(self) -> None:
        pass


class Behind:
    """A service behind a proxy. `origin` is the public address with its port; `ask` is an outside client with
    the cookies of a browser.
    """

    def __init__(
        self, origin: str, service: Service, ask: aiohttp.ClientSession, trust: ssl.SSLContext, folder: Path
    ) -> None:
        self.origin = origin
        self.trust = trust
        self.service = service
        self.ask = ask
        self.folder = folder

    def url(self, path: str) -> str:
        return f"{self.origin}{PREFIX}{path}"

    async def submit(self, url: str, **wishes: Any) -> str:
        body = {"url": url, "outputs": ["video"], **wishes}
        async with self.ask.post(self.url("/api/process"), json=body, headers=BEARER) as answer:
            assert answer.status == 202, await answer.text()
            task_id: str = (await answer.json())["task_id"]
            return task_id

    async def listen(self, path: str) -> AsyncIterator[dict[str, Any]]:
        """Yield the messages of a WebSocket until its close. aiohttp's client cannot do this: it refuses
        Caddy's second `Server` header.
        """
        reader, writer = await asyncio.open_connection(
            "127.0.0.1", int(self.origin.rpartition(":")[2]), ssl=self.trust, server_hostname=NAME
        )
        head = (
            f"GET {PREFIX}{path} HTTP/1.1", f"Host: {self.origin.removeprefix('https://')}",
            "Upgrade: websocket", "Connection: Upgrade",
            "Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==",
            f"Authorization: Bearer {TOKEN}", "", "",
        )  # fmt: skip
        writer.write("\r\n".join(head).encode())
        assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 101 ")
        while True:
            kind, length = await reader.readexactly(2)
            if length == 126:
                length = int.from_bytes(await reader.readexactly(2))
            message = await reader.readexactly(length)
            if kind & 15 == 8:
                break
            if kind & 15 == 1:
                yield json.loads(message)
        writer.close()

    async def finished(self, url: str) -> dict[str, Any]:
        task_id = await self.submit(url)
        link = f"/api/status/{task_id}"
        while True:
            async with self.ask.get(self.url(link), headers=BEARER) as answer:
                task: dict[str, Any] = await answer.json()
            assert task["status"] != "error", task
            if task["status"] == "completed":
                return task
            await asyncio.sleep(0.05)


Start = Callable[[Path, int, int, Path], Awaitable[asyncio.subprocess.Process]]


async def nginx(folder: Path, port: int, upstream: int, certificate: Path) -> asyncio.subprocess.Process:
    program = NGINX or without("nginx", "apt-get install nginx")
    ours = block("nginx").replace("listen 443 ssl;", f"listen 127.0.0.1:{port} ssl;")
    ours = ours.replace(
        "# ssl_certificate ...", f"ssl_certificate {certificate}; ssl_certificate_key {certificate};"
    )
    ours = ours.replace("127.0.0.1:8080", f"127.0.0.1:{upstream}")
    assert all(str(each) in ours for each in (port, upstream, certificate))
    places = "".join(
        f"{name}_temp_path {folder}/{name};\n"
        for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    user = "user root;" if os.getuid() == 0 else ""
    (folder / "nginx.conf").write_text(
        f"{user} pid {folder}/pid; error_log stderr; events {{}} http {{ access_log off; {places} {ours} }}"
    )
    arguments = ("-p", str(folder), "-e", "stderr", "-c", str(folder / "nginx.conf"), "-g", "daemon off;")
    return await asyncio.create_subprocess_exec(program, *arguments, stderr=asyncio.subprocess.PIPE)


async def caddy(folder: Path, port: int, upstream: int, certificate: Path) -> asyncio.subprocess.Process:
    program = CADDY or without("Caddy", "apt-get install caddy")
    ours = block("caddyfile").replace(f"{NAME} {{", f"{NAME}:{port} {{\n tls {certificate} {certificate}")
    ours = ours.replace("127.0.0.1:8080", f"127.0.0.1:{upstream}")
    assert all(str(each) in ours for each in (port, upstream, certificate))
    (folder / "Caddyfile").write_text(f"{{\n admin off\n auto_https disable_redirects\n}}\n{ours}")
    arguments = ("run", "--config", str(folder / "Caddyfile"), "--adapter", "caddyfile")
    environment = os.environ | {
        "HOME": str(folder),
        "XDG_DATA_HOME": str(folder),
        "XDG_CONFIG_HOME": str(folder),
    }
    return await asyncio.create_subprocess_exec(
        program, *arguments, stderr=asyncio.subprocess.PIPE, env=environment
    )


@asynccontextmanager
async def opened(folder: Path, start: Start) -> AsyncIterator[Behind]:
    settings = {
        "CLIPWIRE_SERVER__BASE_PATH": PREFIX,
        "CLIPWIRE_SERVER__ALLOWED_HOSTS": json.dumps([NAME]),
        "CLIPWIRE_SERVER__TRUSTED_PROXIES": '["127.0.0.1"]',
        "CLIPWIRE_SERVER__TOKENS": json.dumps([TOKEN]),
    }
    authority = trustme.CA()
    certificate, port, place = folder / "certificate.pem", free_port(), folder / "proxy"
    authority.issue_cert(NAME).private_key_and_cert_chain_pem.write_to_path(certificate)
    place.mkdir()
    trust = ssl.create_default_context()
    authority.configure_trust(trust)
    async with Prefixed(folder / "service", **settings) as service:
        process = await start(place, port, int(service.url.rpartition(":")[2]), certificate)
        assert process.stderr
        said: list[bytes] = []

        async def listen(lines: asyncio.StreamReader) -> None:
            said.extend([line async for line in lines])

        listening = asyncio.create_task(listen(process.stderr))
        try:
            # The client's own address is not the proxy's.
            connector = aiohttp.TCPConnector(resolver=Nobody(), ssl=trust, local_addr=("127.0.0.7", 0))
            async with aiohttp.ClientSession(connector=connector) as ask:
                behind = Behind(f"https://{NAME}:{port}", service, ask, trust, place)
                async with asyncio.timeout(PATIENCE):
                    while not await is_there(behind):
                        assert process.returncode is None, (await process.wait(), said)
                        await asyncio.sleep(0.05)
                yield behind
        finally:
            if process.returncode is None:
                process.terminate()
            await process.wait()
            await listening


async def is_there(behind: Behind) -> bool:
    try:
        async with behind.ask.get(behind.url("/healthz")) as answer:
            return answer.status == 200
    except aiohttp.ClientConnectionError:
        return False


@pytest.fixture(
    params=[pytest.param(nginx, id="nginx"), pytest.param(caddy, id="caddy", marks=pytest.mark.long)]
)
async def behind(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Behind]:
    async with opened(tmp_path, request.param) as behind:
        yield behind


async def test_the_page_and_its_log_in_work_below_the_prefix_and_with_the_port(behind: Behind) -> None:
    async with behind.ask.get(behind.url("/")) as page:
        assert page.content_type == "text/html"
        named = re.findall(r'(?:src|href)="(static/[^"]+)"', await page.text())
    assert len(named) > 2
    for path in named:
        async with behind.ask.get(behind.url(f"/{path}")) as answer:
            assert answer.status == 200, path
    ours = {"Origin": behind.origin, "Sec-Fetch-Site": "same-origin"}
    session = behind.url("/api/session")
    async with behind.ask.post(session, json={"token": TOKEN}, headers=ours) as answer:
        assert answer.status == 204
        assert {"Path=/clipwire", "Secure"} <= set(answer.headers["Set-Cookie"].split("; "))
    body = {"url": "http://127.0.0.9:9/v.mp4", "auto_start": False}
    async with behind.ask.post(behind.url("/api/process"), json=body, headers=ours) as answer:
        assert answer.status == 202, "a change of the page's"
        assert answer.headers["Location"].startswith("/clipwire/api/status/")
    for foreign in ("https://evil.example", f"https://{NAME}", f"https://{NAME}:1"):
        headers = ours | {"Origin": foreign}
        async with behind.ask.post(behind.url("/api/process"), json=body, headers=headers) as answer:
            assert answer.status == 403, foreign


async def test_what_a_client_claims_of_itself_is_not_believed(behind: Behind) -> None:
    claims = {"Host": "evil.example", "X-Forwarded-Host": NAME}
    async with (
        behind.ask.get(behind.url("/api/session"), headers=claims) as answer,
    ):
        # Caddy has no site of that name, and answers itself.
        assert answer.status == 403 or (answer.status, await answer.text()) == (200, "")
    statuses = []
    for number in range(MAX_WRONG + 2):
        wrong = {"Authorization": "Bearer wrong", "X-Forwarded-For": f"192.0.2.{number}"}
        async with behind.ask.get(behind.url("/api/tasks"), headers=wrong) as answer:
            statuses.append(answer.status)
    assert statuses == [401] * MAX_WRONG + [429] * 2, "all came from one client"


async def test_sockets_events_and_long_polls_tell_each_change_at_once(behind: Behind, site: Site) -> None:
    async with asyncio.timeout(PATIENCE):
        task_id = await behind.submit(site.url("/1mb.mp4?stall=500000"))
        messages = behind.listen(f"/ws/{task_id}")
        events = await behind.ask.get(behind.url(f"/api/events/{task_id}"), headers=BEARER)
        assert events.status == 200
        await site.stalled()
        while (await anext(messages))["stage"] != "download":
            pass
        while '"stage":"download"' not in (await events.content.readline()).decode():
            pass
        status = behind.url(f"/api/status/{task_id}")
        async with behind.ask.get(status, headers=BEARER) as answer:
            known = {**BEARER, "If-None-Match": answer.headers["ETag"]}
        polled = asyncio.ensure_future(behind.ask.get(f"{status}?wait=50", headers=known))
        site.release()
        async with await polled as answer:
            assert answer.status == 200
        last = [message async for message in messages][-1]
        assert last["status"] == "completed"
        while '"status":"completed"' not in (await events.content.readline()).decode():
            pass
        await events.read()  # the stream of events ends
        events.close()


async def test_the_largest_body_that_the_service_takes_gets_through(behind: Behind) -> None:
    requests = [{"url": "x" * 8000}] * MOST_AT_ONCE
    body = json.dumps({"requests": requests}).encode()
    assert 0.9 * MAX_BATCH < len(body) <= MAX_BATCH
    headers = BEARER | {"Content-Type": "application/json"}
    url = behind.url("/api/process/batch")
    async with (
        behind.ask.post(url, data=io.BytesIO(body), headers=headers) as answer,
    ):
        assert (answer.status, answer.content_type) == (200, "application/json")


async def test_a_download_has_ranges_and_a_head(behind: Behind, site: Site) -> None:
    task = await behind.finished(site.url("/1mb.mp4"))
    link = behind.origin + task["files"]["video"]
    async with behind.ask.get(link, headers=BEARER) as answer:
        whole, etag = await answer.read(), answer.headers["ETag"]
    assert len(whole) == 1_000_000
    part = BEARER | {"Range": "bytes=999000-", "If-Range": etag}
    async with behind.ask.get(link, headers=part) as answer:
        assert (answer.status, await answer.read()) == (206, whole[999_000:])
        assert answer.headers["Content-Range"] == "bytes 999000-999999/1000000"
    async with behind.ask.head(link, headers=BEARER) as answer:
        assert (answer.status, answer.content_length, answer.headers["ETag"]) == (200, 1_000_000, etag)
    async with behind.ask.get(link, headers=BEARER | {"If-None-Match": etag}) as answer:
        assert answer.status == 304


@pytest.mark.long
async def test_a_file_of_two_gigabytes_comes_whole_and_from_its_middle(behind: Behind, site: Site) -> None:
    async with asyncio.timeout(8 * PATIENCE):
        task = await behind.finished(site.url("/1mb.mp4"))
        await enlarge(behind.service, task["task_id"])
        link = behind.origin + task["files"]["video"]
        async with behind.ask.get(link, headers=BEARER, timeout=aiohttp.ClientTimeout()) as answer:
            assert answer.content_length == LARGE
            read = 0
            async for some in answer.content.iter_chunked(1 << 20):
                read += len(some)
        assert read == LARGE
        part = BEARER | {"Range": f"bytes={LARGE - 10}-"}
        async with behind.ask.get(link, headers=part) as answer:
            assert (answer.status, await answer.read()) == (206, bytes(10))
        kept = sum(path.stat().st_size for path in behind.folder.rglob("*") if path.is_file())
        assert kept < 1 << 20, "the proxy has kept none of it"


async def enlarge(service: Service, task_id: str) -> None:
    """Enlarge the only file of a task to `LARGE` bytes, as a sparse file."""
    await service.stop()
    [file] = (service.data / "files" / task_id).rglob("*.mp4")
    os.truncate(file, LARGE)
    with sqlite3.connect(service.data / "clipwire.db") as database:
        [row] = database.execute("SELECT status FROM tasks WHERE task_id = ?", (task_id,))
        status = json.loads(row[0])
        status["files"]["video"]["size"] = LARGE
        database.execute("UPDATE tasks SET status = ? WHERE task_id = ?", (json.dumps(status), task_id))
    database.close()
    await service.start()


@pytest.mark.long
@pytest.mark.minutes(1)
async def test_the_longest_long_poll_is_not_cut(behind: Behind) -> None:
    async with asyncio.timeout(120):
        task_id = await behind.submit("http://127.0.0.9:9/v.mp4", auto_start=False)
        status = behind.url(f"/api/status/{task_id}")
        async with behind.ask.get(status, headers=BEARER) as answer:
            known = {**BEARER, "If-None-Match": answer.headers["ETag"]}
        async with behind.ask.get(f"{status}?wait=50", headers=known) as answer:
            assert answer.status == 304


def test_the_documented_configuration_of_traefik_names_only_parts_that_it_defines() -> None:
    """No Traefik runs here, so this checks what Traefik's documentation asks of a configuration."""
    http = tomllib.loads(block("toml", "[http."))["http"]
    [router] = http["routers"].values()
    assert router["service"] in http["services"]
    assert router["entryPoints"] == ["websecure"]
    assert router["rule"] == f"Host(`{NAME}`) && PathPrefix(`{PREFIX}`)"
    assert router["tls"] == {"certResolver": "letsencrypt"}
    balancer = http["services"][router["service"]]["loadBalancer"]
    assert balancer["servers"] == [{"url": "http://127.0.0.1:8080"}]
    assert balancer.get("passHostHeader", True)
