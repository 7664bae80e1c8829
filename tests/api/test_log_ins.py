"""Log-ins of the page: the cookie, which requests it admits, and which connections end with it."""

import asyncio
import re
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import psycopg
import pytest
from aiohttp import WSCloseCode, WSServerHandshakeError, web
from aiohttp.test_utils import TestClient, TestServer
from pydantic import SecretStr

from server.api import keys, push
from server.api.session import COOKIE, LOG_INS, MAX_WRONG
from server.app import create_app
from server.assembly import DatabaseUnusable
from server.core.errors import DiskFull
from server.core.ports import Session
from server.settings import DownloadSettings, ServerSettings, Settings, StorageSettings
from server.storage.sqlite import sessions
from tests.adding import accept
from tests.api.test_push import REQUEST, flood, slow_reader

Client = TestClient[web.Request, web.Application]
TOKEN = "right-token-123"
TOKENS = (SecretStr("other"), SecretStr(TOKEN))
BEARER = {"Authorization": f"Bearer {TOKEN}"}
OURS = {"Sec-Fetch-Site": "same-origin"}
BODY = {"url": "http://127.0.0.9:9/v.mp4", "auto_start": False}
CONTRACT = 2.0  # seconds within which all connections of a session have to end with it
WITHIN = 30  # seconds that are enough on a busy machine


@asynccontextmanager
async def opened(tmp_path: Path, **server: Any) -> AsyncIterator[Client]:
    """Return what opens a client; each call opens the same data again."""
    async with TestClient(TestServer(create_app(configured(tmp_path, **server)))) as client:
        yield client


def configured(tmp_path: Path, **server: Any) -> Settings:
    return Settings(
        server=ServerSettings(**server),
        storage=StorageSettings(data_dir=tmp_path / "data"),
        downloads=DownloadSettings(min_free_disk=0),
    )


@pytest.fixture
async def guarded(tmp_path: Path) -> AsyncIterator[Client]:
    async with asyncio.timeout(60), opened(tmp_path, tokens=TOKENS) as client:
        yield client


async def log_in(client: Client, path: str = "/api/session", **headers: str) -> dict[str, str]:
    """Log in; return the cookie header to send. The client itself stores no cookie."""
    response = await client.post(path, json={"token": TOKEN}, headers=headers)
    assert response.status == 204
    client.session.cookie_jar.clear()
    return {"Cookie": response.headers["Set-Cookie"].partition(";")[0]} | OURS


async def log_out(client: Client, session: dict[str, str]) -> None:
    assert (await client.delete("/api/session", headers=session)).status == 204


# --- the cookie ---


async def test_a_log_in_gives_a_cookie_that_scripts_and_other_sites_do_not_get(guarded: Client) -> None:
    assert (await guarded.post("/api/session", json={"token": "wrong"})).status == 401
    response = await guarded.post("/api/session", json={"token": TOKEN})
    assert response.status == 204
    cookie = response.headers["Set-Cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=Strict" in cookie
    assert TOKEN not in cookie
    assert (await guarded.get("/api/tasks")).status == 200  # the client sends its cookie


async def test_a_session_changes_things_only_from_our_own_page(guarded: Client) -> None:
    await guarded.post("/api/session", json={"token": TOKEN})
    assert (await guarded.post("/api/process", json=BODY)).status == 403
    ours = {"Sec-Fetch-Site": "same-origin"}
    assert (await guarded.post("/api/process", json=BODY, headers=ours)).status == 202
    origin = {"Origin": str(guarded.make_url("/")).rstrip("/")}
    assert (await guarded.post("/api/process", json=BODY, headers=origin)).status == 202
    await (await guarded.ws_connect("/ws", headers=origin)).close()


async def test_a_log_out_ends_the_session_on_the_server(guarded: Client) -> None:
    await guarded.post("/api/session", json={"token": TOKEN})
    session = {cookie.key: cookie.value for cookie in guarded.session.cookie_jar}
    ours = {"Sec-Fetch-Site": "same-origin"}
    assert (await guarded.delete("/api/session", headers=ours)).status == 204
    kept = {"Cookie": f"{COOKIE}={session[COOKIE]}"}
    assert (await guarded.get("/api/tasks", headers=kept)).status == 401


async def asked(client: Client, **headers: str) -> dict[str, bool]:
    """Return the answer of `GET /api/session`."""
    response = await client.get("/api/session", headers=headers)
    assert (response.status, response.headers["Cache-Control"]) == (200, "no-store")
    answer: dict[str, bool] = await response.json()
    return answer


async def test_the_page_can_ask_whether_it_has_to_log_in(guarded: Client) -> None:
    assert await asked(guarded) == {"login_required": True, "logged_in": False}
    assert await asked(guarded, Authorization="Bearer wrong") == {"login_required": True, "logged_in": False}
    assert await asked(guarded, Cookie=f"{COOKIE}=wrong") == {"login_required": True, "logged_in": False}
    await guarded.post("/api/session", json={"token": TOKEN})
    assert await asked(guarded) == {"login_required": True, "logged_in": True}
    await guarded.delete("/api/session", headers={"Sec-Fetch-Site": "same-origin"})
    assert await asked(guarded) == {"login_required": True, "logged_in": False}


async def test_a_session_ends_by_itself(guarded: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sessions, "SESSION_LASTS", 0.0)
    await guarded.post("/api/session", json={"token": TOKEN})
    assert (await guarded.get("/api/tasks")).status == 401


async def test_a_cookie_alone_does_not_log_out_and_is_told_what_it_lacks(guarded: Client) -> None:
    await guarded.post("/api/session", json={"token": TOKEN})
    async with guarded.delete("/api/session?lang=en") as answer:
        assert answer.status == 403
        assert "without Origin or Sec-Fetch-Site" in (await answer.json())["detail"]
    assert (await guarded.get("/api/tasks")).status == 200


async def test_who_has_no_cookie_has_nothing_to_log_out_of(guarded: Client) -> None:
    assert (await guarded.delete("/api/session")).status == 204
    assert (await guarded.delete("/api/session", headers={"Origin": "https://evil.example"})).status == 403


def test_the_documented_log_out_says_who_sends_it() -> None:
    documented = (Path(__file__).parent.parent.parent / "docs/api.md").read_text("utf-8")
    [example] = re.findall(r"^curl -X DELETE -b 'clipwire_session.*$", documented, re.MULTILINE)
    assert "-H 'Sec-Fetch-Site: same-origin'" in example


async def test_without_tokens_a_log_in_is_not_needed_and_does_no_harm(tmp_path: Path) -> None:
    async with opened(tmp_path) as client:
        for _ in range(MAX_WRONG + 2):
            answer = await client.post("/api/session", json={"token": "any"})
            assert (answer.status, answer.headers.get("Set-Cookie")) == (204, None)
        assert await asked(client) == {"login_required": False, "logged_in": False}


# --- under a prefix ---


@pytest.fixture
async def prefixed(tmp_path: Path) -> AsyncIterator[Client]:
    """A client of a service with a prefix, with or without a proxy on this machine."""
    settings: dict[str, Any] = {"base_path": "/clip", "trusted_proxies": ("127.0.0.1",), "tokens": TOKENS}
    async with asyncio.timeout(30), opened(tmp_path, **settings) as client:
        yield client


@pytest.mark.parametrize("page", ["/", "/clip/"])
async def test_a_log_in_works_wherever_the_page_was_opened(prefixed: Client, page: str) -> None:
    assert (await prefixed.get(page)).content_type == "text/html"
    assert (await prefixed.post(f"{page}api/session", json={"token": TOKEN})).status == 204
    for link in (f"{page}api/tasks", "/clip/api/tasks"):  # links to files always have the prefix
        assert (await prefixed.get(link)).status == 200
    assert (await prefixed.delete(f"{page}api/session", headers=OURS)).status == 204
    assert not list(prefixed.session.cookie_jar)


@pytest.mark.parametrize(
    ("path", "headers", "sent_to"),
    [
        ("/clip/api/session", {}, "/clip"),
        ("/clip/api/session", {"X-Forwarded-For": "7.7.7.7"}, "/clip"),
        ("/api/session", {"X-Forwarded-For": "7.7.7.7"}, "/clip"),
        ("/api/session", {"X-Forwarded-Proto": "https"}, "/clip"),
        ("/api/session", {}, "/"),
    ],
)
async def test_a_cookie_is_for_the_prefix_unless_the_browser_knows_of_none(
    prefixed: Client, path: str, headers: dict[str, str], sent_to: str
) -> None:
    """The browser's cookies are shared with other applications at the same address, unless their path is the
    prefix that a proxy has removed.
    """
    response = await prefixed.post(path, json={"token": TOKEN}, headers=headers)
    assert f"; Path={sent_to};" in response.headers["Set-Cookie"]


async def test_of_two_cookies_one_that_is_right_is_enough_and_a_log_out_ends_both(prefixed: Client) -> None:
    sessions = [(await log_in(prefixed, path))["Cookie"] for path in ("/api/session", "/clip/api/session")]
    stale = f"{COOKIE}=stale"
    for cookies in (
        f"{stale}; {sessions[0]}",
        f"a=b; {sessions[0]}; {stale}",
        f"{sessions[0]};{sessions[1]}",
    ):
        assert (await prefixed.get("/api/tasks", headers={"Cookie": cookies})).status == 200
    await log_out(prefixed, {"Cookie": "; ".join(sessions)} | OURS)
    for session in sessions:
        assert (await prefixed.get("/api/tasks", headers={"Cookie": session})).status == 401


# --- how long a session lasts ---


async def test_a_session_outlives_a_restart_and_ends_with_its_token(tmp_path: Path) -> None:
    async with opened(tmp_path, tokens=TOKENS) as client:
        session = await log_in(client)
    async with opened(tmp_path, tokens=TOKENS[::-1]) as client:
        assert (await client.get("/api/tasks", headers=session)).status == 200
    async with opened(tmp_path, tokens=TOKENS[:1]) as client:
        assert (await client.get("/api/tasks", headers=session)).status == 401
    async with opened(tmp_path, tokens=TOKENS) as client:
        assert (await client.get("/api/tasks", headers=session)).status == 401


async def test_a_node_that_answers_no_clients_needs_no_tokens_and_ends_no_session(
    tmp_path: Path, clean_database: str
) -> None:
    def known() -> list[tuple[str]]:
        with psycopg.connect(clean_database) as db:
            return db.execute("SELECT session_id FROM sessions").fetchall()

    with psycopg.connect(clean_database) as db:
        sql = b"INSERT INTO sessions (session_id, scope, ends_at) VALUES ('a', 'token', now() + '1 h')"
        db.execute(sql)
    worker = configured(tmp_path, roles=("worker",))
    storage = worker.storage.model_copy(update={"database": clean_database})
    async with TestServer(create_app(worker.model_copy(update={"storage": storage}))):
        assert known() == [("a",)]


async def test_a_start_that_cannot_end_sessions_says_why_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with opened(tmp_path, tokens=TOKENS) as client:
        await log_in(client)

    async def find_no_room(*_: object) -> None:
        raise DiskFull

    monkeypatch.setattr(sessions.SqliteSessions, "end_others", find_no_room)
    runner = web.AppRunner(create_app(configured(tmp_path, tokens=TOKENS[:1])))
    with pytest.raises(DatabaseUnusable, match="cannot be written"):
        await runner.setup()
    await runner.cleanup()


async def test_what_lies_on_disk_opens_no_door(tmp_path: Path) -> None:
    async with opened(tmp_path, tokens=TOKENS) as client:
        secret = (await log_in(client))["Cookie"].partition("=")[2]
    for path in (tmp_path / "data").rglob("*"):
        if path.is_file():
            content = path.read_bytes()
            assert secret.encode() not in content
            assert TOKEN.encode() not in content


async def test_a_burst_of_log_ins_is_bounded_and_the_newest_go_on(
    guarded: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sessions, "MAX_SESSIONS", 5)
    begun = await asyncio.gather(*(log_in(guarded) for _ in range(40)))
    answers = [(await guarded.get("/api/tasks", headers=session)).status for session in begun]
    assert answers.count(200) == 5
    newest = await log_in(guarded)
    assert (await guarded.get("/api/tasks", headers=newest)).status == 200


# --- what ends with a session ---


async def test_a_log_out_ends_its_sockets_and_nobody_elses(guarded: Client) -> None:
    task = await (await guarded.post("/api/process", json=BODY, headers=BEARER)).json()
    mine, other = await log_in(guarded), await log_in(guarded)
    paths = ("/ws", f"/ws/{task['task_id']}")
    ended = [await guarded.ws_connect(path, headers=mine) for path in paths]
    stay = [await guarded.ws_connect(path, headers=who) for path in paths for who in (other, BEARER)]
    async with asyncio.timeout(WITHIN):
        await log_out(guarded, mine)
        for ws in ended:
            async for _ in ws:
                pass
            assert ws.close_code == WSCloseCode.POLICY_VIOLATION
    await guarded.patch(f"/api/tasks/{task['task_id']}", json={"priority": 3}, headers=BEARER)
    for ws in stay:
        while (await ws.receive_json())["priority"] != 3:
            pass
        await ws.close()
    with pytest.raises(WSServerHandshakeError) as refused:
        await guarded.ws_connect("/ws", headers=mine)
    assert refused.value.status == 401


async def test_a_log_out_ends_a_long_poll_which_tells_nothing_more(guarded: Client) -> None:
    task = await (await guarded.post("/api/process", json=BODY, headers=BEARER)).json()
    link, session = f"/api/status/{task['task_id']}", await log_in(guarded)
    etag = {"If-None-Match": (await guarded.get(link, headers=session)).headers["ETag"]}
    held = asyncio.create_task(guarded.get(f"{link}?wait=50", headers=session | etag))
    while not guarded.app[keys.HUB].watched_ids():
        await asyncio.sleep(0)
    async with asyncio.timeout(WITHIN):
        await log_out(guarded, session)
        assert (await held).status == 401
    assert not guarded.app[LOG_INS]._lines


async def test_a_log_out_ends_a_long_poll_of_a_subscription(guarded: Client) -> None:
    wanted = {"url": BODY["url"], "enabled": False}
    made = await (await guarded.post("/api/subscriptions", json=wanted, headers=BEARER)).json()
    link, session = f"/api/subscriptions/{made['subscription_id']}", await log_in(guarded)
    etag = {"If-None-Match": (await guarded.get(link, headers=session)).headers["ETag"]}
    held = asyncio.create_task(guarded.get(f"{link}?wait=50", headers=session | etag))
    while not guarded.app[LOG_INS]._lines:
        await asyncio.sleep(0.001)
        assert not held.done()
    async with asyncio.timeout(WITHIN):
        await log_out(guarded, session)
        assert (await held).status == 401
    assert not guarded.app[LOG_INS]._lines


async def test_a_session_that_ends_by_itself_ends_its_sockets(
    guarded: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    session, get = await log_in(guarded), sessions.SqliteSessions.get

    async def nearly_over(store: sessions.SqliteSessions, session_id: str) -> Session | None:
        """Let a session have little time left: however long the socket takes to open, it opens within the
        session.
        """
        found = await get(store, session_id)
        return found and replace(found, ends_at=time.monotonic() + 0.2)

    monkeypatch.setattr(sessions.SqliteSessions, "get", nearly_over)
    async with asyncio.timeout(WITHIN), guarded.ws_connect("/ws", headers=session) as ws:
        async for _ in ws:
            pass
    assert ws.close_code == WSCloseCode.POLICY_VIOLATION


async def test_a_reader_who_takes_nothing_is_cut_off_at_a_log_out(guarded: Client) -> None:
    assert push.CLOSE_WITHIN < CONTRACT, "its answer to the close frame is waited for"
    status = await accept(guarded.app[keys.TASKS], REQUEST)
    session, server = await log_in(guarded), guarded.server.runner.server  # type: ignore[union-attr]
    assert server
    before = set(server.connections)
    with closing(await slow_reader(guarded, f"/ws/{status.task_id}", session)):
        [its] = set(server.connections) - before
        await flood(guarded, status, 5_000)  # until the socket of the client takes no more bytes
        async with asyncio.timeout(WITHIN):
            await log_out(guarded, session)
            while its in server.connections:
                await asyncio.sleep(0.01)


async def test_a_log_out_while_a_socket_opens_ends_it(
    guarded: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    tasks, session = guarded.app[keys.TASKS], await log_in(guarded)
    task, read = await accept(tasks, REQUEST), tasks.status

    async def read_and_log_out(task_id: str) -> Any:
        await log_out(guarded, session)
        return await read(task_id)

    monkeypatch.setattr(tasks, "status", read_and_log_out)
    async with guarded.ws_connect(f"/ws/{task.task_id}", headers=session) as ws:
        async for _ in ws:
            pass
    assert ws.close_code == WSCloseCode.POLICY_VIOLATION


async def test_a_log_out_that_the_disk_does_not_take_is_not_said_to_be_one(
    guarded: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = await log_in(guarded)
    with monkeypatch.context() as patch:
        patch.setattr(sessions, "_END", "DELETE FROM nowhere WHERE session_id = ?")
        assert (await guarded.delete("/api/session", headers=session)).status >= 500
    assert (await guarded.get("/api/tasks", headers=session)).status == 200
    await log_out(guarded, session)
    assert (await guarded.get("/api/tasks", headers=session)).status == 401
