"""The audit log: which events it has, who may read it, how long they are kept, and that no flood fills it."""

import asyncio
import json
import logging
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from server.api.session import DIRECTORY
from server.app import ROUTES
from server.commands.logs import JsonFormatter, TextFormatter
from server.core.errors import DatabaseAway, InvalidQuery
from server.people import audit
from server.people.audit import AUDIT, AUDITED, MAX_REFUSED, MAX_REFUSED_OF_SOURCE, Audit
from server.people.audit_rows import RETENTION_SECONDS, AuditEvent, AuditRows
from tests.people.test_people_rows import Opened, open_any
from tests.people.test_people_tokens import BODY, OURS, SHARED, Client, add, opened

__all__ = ["open_any"]
PASSWORD = "correct horse battery"
# These routes give nobody access and delete nothing, or the task itself names who has asked for it.
NOT_AUDITED = {
    "/api/process", "/api/process/batch", "/api/info", "/api/info/thumbnails",
    "/api/tasks/{task_id}", "/api/tasks/{task_id}/cancel",
    "/api/tasks/{task_id}/pause", "/api/tasks/{task_id}/resume", "/api/tasks/{task_id}/start",
    "/api/tasks/{task_id}/retry", "/api/tasks/{task_id}/finish", "/api/tasks/{task_id}/remedies/{name}",
    "/api/tasks/{task_id}/place", "/api/subscriptions", "/api/subscriptions/{subscription_id}",
    "/api/subscriptions/{subscription_id}/check", "/api/subscriptions.opml", "/api/media",
    "/api/library/preview", "/api/library/actions", "/api/webhooks/{webhook_id}/retry",
}  # fmt: skip


def test_every_route_that_changes_something_is_audited_or_said_not_to_be() -> None:
    known = {(method.upper(), route.path) for route in ROUTES for method in route.operations}
    assert known >= AUDITED.keys()
    changes = {(method, path) for method, path in known if method not in ("GET", "HEAD")}
    assert {path for method, path in changes - AUDITED.keys()} == NOT_AUDITED
    assert {path for method, path in changes - AUDITED.keys() if method == "DELETE"} == set()


async def events(client: Client, admin: dict[str, str]) -> list[tuple[str | None, str, str | None]]:
    """Return the events, the oldest first: who did what to what."""
    answer = await client.get("/api/audit", headers=admin)
    assert answer.status == 200
    found: list[dict[str, Any]] = (await answer.json())["events"]
    return [(one.get("who"), one["what"], one.get("on")) for one in reversed(found)]


async def test_who_did_what_is_told_to_admins(tmp_path: Path) -> None:
    async with opened(tmp_path) as client:
        root = await add(client, "root", "admin")
        made = await client.post("/api/people", json={"name": "anna"}, headers=root)
        anna = {"Authorization": f"Bearer {(await made.json())['token']}"}
        await client.patch("/api/people/anna", json={"password": PASSWORD, "role": "user"}, headers=root)
        assert (await client.patch("/api/people/root", json={"role": "user"}, headers=anna)).status == 403
        log_in = {"name": "anna", "password": PASSWORD}
        assert (await client.post("/api/session", json=log_in)).status == 204
        assert (await client.delete("/api/session", headers=OURS)).status == 204
        assert (await client.post("/api/me/tokens", json={"label": "phone"}, headers=anna)).status == 201
        assert (await client.delete("/api/me/tokens/phone", headers=anna)).status == 204
        made = await client.post("/api/process/batch", json={"requests": [BODY] * 3}, headers=anna)
        ids = [one["task"]["task_id"] for one in (await made.json())["results"]]
        assert (await client.delete(f"/api/tasks/{ids[0]}", headers=anna)).status == 204
        assert (await client.delete(f"/api/tasks/{ids[0]}", headers=anna)).status == 404
        wanted = {"action": "delete", "ids": [*ids[1:], "nobody"]}
        assert (await client.post("/api/tasks/actions", json=wanted, headers=root)).status == 200
        await client.post("/api/tasks/actions", json={"action": "cancel", "ids": ["nobody"]}, headers=root)
        await client.delete("/api/people/anna?tasks=keep", headers=root)
        assert await events(client, root) == [
            ("root", "person_added", "anna user"),
            ("root", "role_changed", "anna user"),
            ("root", "password_changed", "anna"),
            ("anna", "person_changed_refused", "root"),
            ("anna", "log_in", None),
            ("anna", "log_out", None),
            ("anna", "token_added", "anna phone"),
            ("anna", "token_revoked", "anna phone"),
            ("anna", "task_deleted", ids[0]),
            ("root", "task_deleted", ids[1]),
            ("root", "task_deleted", ids[2]),
            ("root", "person_removed", "anna: keep"),
        ]


async def test_an_event_has_its_request_its_address_and_no_secret(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    async with opened(tmp_path) as client:
        root, named = await add(client, "root", "admin"), {"X-Request-Id": "of-the-test"}
        made = await client.post("/api/people", json={"name": "anna"}, headers=root | named)
        token = (await made.json())["token"]
        assert (await client.post("/api/session", json={"token": token}, headers=named)).status == 204
        cookies = {one.value for one in client.session.cookie_jar}
        answer = await client.get("/api/audit", headers=root)
        text = await answer.text()
        [log_in, _] = (await answer.json())["events"]
        assert log_in["at"].endswith("Z")
        del log_in["at"]
        assert log_in == {
            "who": "anna",
            "what": "log_in",
            "from": "127.0.0.1",
            "request_id": "of-the-test",
        }
        assert "audit: anna: log_in, from 127.0.0.1" in caplog.messages
        for secret in (token, token.removeprefix("clipwire_"), *cookies):
            assert secret not in text
            assert secret not in caplog.text


async def test_refused_log_ins_are_told_and_a_flood_is_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with opened(tmp_path, tokens=(SecretStr(SHARED),)) as client:
        shared = {"Authorization": f"Bearer {SHARED}"}
        await add(client, "anna")
        here, now = client.app[AUDIT], time.time()
        monkeypatch.setattr(here, "_clock", lambda: now)  # all refusals are within one minute
        for _ in range(MAX_REFUSED_OF_SOURCE + 5):
            await client.get("/api/tasks", headers={"Authorization": "Bearer wrong"})
        await client.post("/api/session", json={"name": "anna", "password": "not that one"})
        for number in range(3 * MAX_REFUSED):
            here.refused(f"10.0.0.{number % 250}")
        here._end_minute(here._refused_log_ins)
        while not (found := await events(client, shared)) or not found[-1][2]:
            await asyncio.sleep(0.01)
        assert {what for _, what, _ in found} == {"log_in_refused"}
        answer = await client.get("/api/audit?limit=200", headers=shared)
        stored = (await answer.json())["events"]
        assert len(stored) == MAX_REFUSED + 1
        assert sum(one.get("from") == "127.0.0.1" for one in stored) == MAX_REFUSED_OF_SOURCE
        assert stored[0]["on"] == f"{MAX_REFUSED_OF_SOURCE + 6 + 3 * MAX_REFUSED - MAX_REFUSED} more"


async def test_of_many_refused_changes_the_first_are_told_and_the_others_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with opened(tmp_path) as client:
        root, anna = await add(client, "root", "admin"), await add(client, "anna")
        here, now = client.app[AUDIT], time.time()
        monkeypatch.setattr(here, "_clock", lambda: now)  # all refusals are within one minute
        for _ in range(MAX_REFUSED_OF_SOURCE + 5):
            assert (await client.delete("/api/people/root?tasks=delete", headers=anna)).status == 403
        assert (await client.patch("/api/people/root", json={"role": "user"}, headers=root)).status == 409
        here._end_minute(here._refused_changes)
        while not (found := await events(client, root)) or not str(found[-1][2]).endswith("more"):
            await asyncio.sleep(0.01)
        assert found == [
            *[("anna", "person_removed_refused", "root")] * MAX_REFUSED_OF_SOURCE,
            ("root", "person_changed_refused", "root"),
            ("anna", "person_removed_refused", "5 more"),
        ]


async def test_where_nobody_was_added_nothing_is_recorded(tmp_path: Path) -> None:
    async with opened(tmp_path, tokens=(SecretStr(SHARED),)) as client:
        shared = {"Authorization": f"Bearer {SHARED}"}
        assert (await client.post("/api/session", json={"token": SHARED})).status == 204
        await client.get("/api/tasks", headers={"Authorization": "Bearer wrong"})
        made = await (await client.post("/api/process", json=BODY, headers=shared)).json()
        assert (await client.delete(f"/api/tasks/{made['task_id']}", headers=shared)).status == 204
        assert await events(client, shared) == []
        await client.post("/api/people", json={"name": "anna"}, headers=shared)
        assert await events(client, shared) == [(None, "person_added", "anna user")]


async def test_users_read_no_audit_log(tmp_path: Path) -> None:
    async with opened(tmp_path) as client:
        await add(client, "root", "admin")
        answer = await client.get("/api/audit", headers=await add(client, "anna"))
        assert (answer.status, (await answer.json())["code"]) == (403, "admin_only")


async def test_pages_follow_each_other_and_what_is_old_is_forgotten(open_any: Opened) -> None:
    now = 1_800_000_000.0
    async with open_any() as store:
        rows = AuditRows(store.transactions)
        await rows.add([AuditEvent(now - RETENTION_SECONDS - 1, "anna", "too old")])
        await rows.add([AuditEvent(now - 10 + number, "anna", str(number)) for number in range(5)])
        page, more = await rows.page(None, 2, now)
        following, last = await rows.page(more, 3, now)
        assert [one.what for one in page + following] == ["4", "3", "2", "1", "0"]
        assert last is None
        with pytest.raises(InvalidQuery):
            await rows.page("nonsense", 3, now)
        await rows.add([AuditEvent(now, None, "one more")])
        everything, _ = await rows.page(None, 100, now - 365 * 86_400)
        assert "too old" not in [one.what for one in everything]


class AwayRows(AuditRows):
    """Rows in a database that is away until `is_there` is set."""

    def __init__(self) -> None:
        self.is_there = asyncio.Event()
        self.stored = list[AuditEvent]()

    async def add(self, events: Any) -> None:
        if not self.is_there.is_set():
            raise DatabaseAway
        self.stored += events


@asynccontextmanager
async def running(rows: AuditRows) -> AsyncIterator[Audit]:
    here = Audit(rows, lambda: True)
    work = asyncio.create_task(here.run())
    try:
        yield here
    finally:
        work.cancel()
        await asyncio.wait([work])


async def test_what_cannot_be_stored_is_stored_once_the_database_is_back(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(audit, "RETRY_SECONDS", 0.001)
    rows = AwayRows()
    async with running(rows) as here:
        await here.record([AuditEvent(1.0, "anna", "first")])
        here.refused("10.0.0.1")
        rows.is_there.set()
        while len(rows.stored) < 2:
            await asyncio.sleep(0.001)
    assert [one.what for one in rows.stored] == ["first", "log_in_refused"]


async def test_what_waits_at_the_end_of_the_server_is_stored() -> None:
    rows = AwayRows()
    rows.is_there.set()
    async with running(rows) as here:
        await asyncio.sleep(0)  # lets the audit start
        here.refused("10.0.0.1", "anna")
    assert [(one.what, one.subject) for one in rows.stored] == [("log_in_refused", "anna")]


async def test_the_command_line_is_in_it(tmp_path: Path) -> None:
    from tests.people.test_people_command import Place

    place = Place(tmp_path / "data")
    root = await place.token("add", "root", "--role", "admin")
    await place.token("token", "add", "root", "phone")
    async with opened(tmp_path) as client:
        assert client.app[DIRECTORY].is_needed
        assert await events(client, root) == [
            (None, "person_added", "root admin"),
            (None, "token_added", "root phone"),
        ]
        [_, first] = (await (await client.get("/api/audit", headers=root)).json())["events"]
        assert first["from"] == "command line"


@contextmanager
def as_logged(formatter: logging.Formatter) -> Iterator[list[str]]:
    """Collect the lines that the server's log of tasks would have."""
    lines = list[str]()

    class Keep(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            lines.append(self.format(record))

    handler, of_tasks = Keep(), logging.getLogger("server.tasks")
    handler.setFormatter(formatter)
    of_tasks.addHandler(handler)
    try:
        yield lines
    finally:
        of_tasks.removeHandler(handler)


async def test_each_line_about_a_task_names_its_person(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "server.tasks")
    async with opened(tmp_path) as client:
        with as_logged(TextFormatter()) as texts, as_logged(JsonFormatter()) as objects:
            made = await (await client.post("/api/process", json=BODY)).json()
            await client.post(f"/api/tasks/{made['task_id']}/cancel")
            root, anna = await add(client, "root", "admin"), await add(client, "anna")
            named = {"X-Request-Id": "hers"}
            made = await (await client.post("/api/process", json=BODY, headers=anna | named)).json()
            await client.post(f"/api/tasks/{made['task_id']}/cancel", headers=root | {"X-Request-Id": "his"})
        nobodys, hers = texts
        assert ", of " not in nobodys
        assert "person" not in json.loads(objects[0])
        assert hers.endswith(" is cancelled (request his, of anna)")
        assert json.loads(objects[1])["person"] == "anna"
