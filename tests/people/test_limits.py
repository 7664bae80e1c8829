"""Limits of people: which tasks are refused or wait, and when a limit is free again, on every database."""

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import fields
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from server.api.keys import TASKS
from server.core.errors import OverLimit
from server.core.events import Completed, Requeued, apply
from server.core.film import StoredFile
from server.core.ports import Store, Submission
from server.core.task import OVER_LIMIT, Task
from server.files.public_names import short_of
from server.people import people_rows as rows
from server.people import usage
from server.people.limits import Limits
from server.people.people_routes import OwnLimits
from server.people.people_rows import PeopleRows
from server.people.people_schemas import PersonLimits
from server.people.usage import HOUR, Usage, hooks
from server.settings import AccessSettings
from server.storage import postgresql
from server.storage.postgresql.changes import Reading
from server.storage.postgresql.connection import connected
from server.storage.sqlite import open_store
from server.storage.statements import Statements
from tests.examples import new_task, started
from tests.people.test_people_tokens import BODY, Client, add, directory, opened
from tests.rooms import AnyStore

_OTHER_INDEXES = """
    SELECT indexname FROM pg_indexes WHERE schemaname = current_schema() AND tablename = 'tasks'
        AND indexname NOT LIKE 'tasks_owner%' AND indexname NOT IN (SELECT conname FROM pg_constraint)"""
NOW = datetime(2026, 1, 31, 8, 30, tzinfo=UTC)
FILE = {"url": "http://127.0.0.9:9/v.mp4"}


def test_a_limit_is_set_for_all_or_for_one_and_told() -> None:
    names = {one.name for one in fields(Limits)}
    for_all = {name for name in AccessSettings.model_fields if name[:4] == "max_"} | {"retention_hours"}
    assert for_all ^ names == set(), "`AccessSettings` in server/settings.py, or server/people/limits.py"
    for name in names:
        common = AccessSettings.model_validate({name: 7})
        found = [getattr(Limits.of(common, own), name) for own in ({}, {name: 5.0}, {name: 0.0})]
        assert found == [7, 5, None], f"`{name}` in `Limits.of` of server/people/limits.py"
    assert OwnLimits.model_fields.keys() ^ names == set(), "`OwnLimits` in server/people/people_routes.py"
    assert PersonLimits.model_fields.keys() ^ names == set(), "server/people/people_schemas.py"


@pytest.fixture(params=["sqlite", "postgresql"])
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[AnyStore]:
    """A store in which every person but bob may have two waiting tasks."""
    access = AccessSettings(max_waiting=2)
    opening: Any
    if request.param == "sqlite":
        path = tmp_path / "clipwire.db"
        opening = open_store(path, max_queued=100, find_short=short_of, hooks=[hooks(access)])
    else:
        url = request.getfixturevalue("clean_database")
        opening = postgresql.open_store(url, max_queued=100, find_short=short_of, hooks=[hooks(access)])
    async with opening as store:
        people = PeopleRows(store.transactions)
        for name in ("anna", "bob"):
            await people.change(lambda tables, name=name: rows.add_person(tables, name, "user", 0.0))  # type: ignore[misc]
        await people.change(lambda tables: rows.set_limits(tables, "bob", {"max_waiting": 0}))
        yield store


def task_of(owner: str | None) -> Task:
    task = new_task()
    return Task(task.request, task.status.model_copy(update={"owner": owner} if owner else {}))


async def add_of(store: Store, *owners: str | None) -> list[str]:
    """Add a task of each of these people, all at once; return what happened to each task."""
    outcomes = await store.add([Submission(task_of(owner)) for owner in owners])
    return [
        "added" if isinstance(one, Task) else "{limit}: {used} of {most}".format(**one.extra)
        for one in outcomes
    ]


async def finish(store: Store, owner: str, size: int) -> Task:
    """Add a task and complete it with one file."""
    [task] = await store.add([Submission(task_of(owner))])
    assert isinstance(task, Task)
    running = started(task.status)
    assert await store.save(running)
    film = StoredFile(
        name=f"video_x_{task.status.task_id[:8]}.mp4", path="v.mp4", size=size, type="video/mp4"
    )
    after = apply(running, Completed(files={"video": film}), NOW)
    assert await store.save(after)
    return Task(task.request, after)


def usage_of(store: AnyStore, now: float, **access: Any) -> Usage:
    """Return what the person anna uses at this moment; she has the limits of `access`."""
    from server.people.person import Person

    people = {"anna": Person("anna", "user", 0.0)}
    return Usage(store.transactions, AccessSettings(**access), lambda: people, lambda: now)


async def test_no_more_tasks_wait_than_may(store: AnyStore) -> None:
    assert await add_of(store, "anna", None, "anna", "anna", "bob") == [
        *("added", "added", "added", "max_waiting: 2 of 2", "added")
    ]
    assert await add_of(store, *["bob"] * 5, None) == ["added"] * 6, "they have no such limit"
    assert await add_of(store, "anna") == ["max_waiting: 2 of 2"]
    usage = usage_of(store, 0.0)
    assert (await usage.of("anna")).waiting == 2


async def test_of_many_requests_at_once_no_two_take_the_last_place(store: AnyStore) -> None:
    outcomes = [
        one for many in await asyncio.gather(*(add_of(store, "anna") for _ in range(20))) for one in many
    ]
    assert outcomes.count("added") == 2


async def test_a_task_that_begins_leaves_its_place_to_another_one(store: AnyStore) -> None:
    [task, _] = await store.add([Submission(task_of("anna")), Submission(task_of("anna"))])
    assert isinstance(task, Task)
    assert await store.save(started(task.status))
    assert await add_of(store, "anna", "anna") == ["added", "max_waiting: 2 of 2"]
    use = await usage_of(store, 0.0).of("anna")
    assert (use.running, use.waiting) == (1, 2)


async def test_the_bytes_of_a_day_are_free_again_after_a_day(store: AnyStore) -> None:
    ended = store.clock.now().timestamp()
    first_hour = ended // HOUR * HOUR
    await finish(store, "anna", 700)
    await finish(store, "bob", 10_000)
    usage = usage_of(store, ended, max_bytes_per_day=1000)
    assert await usage.refusal("anna") is None
    await finish(store, "anna", 400)
    refusal = await usage.refusal("anna")
    assert isinstance(refusal, OverLimit)
    left = refusal.extra.pop("retry_after")
    assert refusal.extra == {"limit": "max_bytes_per_day", "most": 1000, "used": 1100}
    # The hour may have changed between the ends of the two tasks.
    assert left in (
        pytest.approx(first_hour + 24 * HOUR - ended, abs=2),
        pytest.approx(first_hour + 25 * HOUR - ended, abs=2),
    )
    held = await usage.hold(task_of("anna"))
    assert held == Requeued(because=OVER_LIMIT, after=HOUR)
    assert await usage.hold(task_of(None)) is None
    later = usage_of(store, ended + 26 * HOUR, max_bytes_per_day=1000)
    assert await later.refusal("anna") is None
    assert await later.hold(task_of("anna")) is None


async def test_stored_bytes_are_those_of_files_that_are_there(store: AnyStore) -> None:
    first = await finish(store, "anna", 700)
    await finish(store, "anna", 400)
    usage = usage_of(store, 0.0, max_stored_bytes=1000)
    refusal = await usage.refusal("anna")
    assert isinstance(refusal, OverLimit)
    assert refusal.extra == {"limit": "max_stored_bytes", "most": 1000, "used": 1100}
    await store.mark_removed(first.status.task_id)
    assert await usage.refusal("anna") is None, "at once"
    assert (await usage.of("anna")).stored_bytes == 400


async def test_only_the_tasks_of_one_person_expire_by_their_limit(store: AnyStore) -> None:
    hers, his = await finish(store, "anna", 1), await finish(store, "bob", 1)
    removed = list[str]()

    class TasksOfTest:
        async def carry_out_removal(self, task_id: str, gone: list[str]) -> None:
            gone.append(task_id)

        async def forget(self, task_ids: list[str]) -> None:
            removed.extend(task_ids)

    tasks: Any = TasksOfTest()
    usage = usage_of(store, 0.0, retention_hours=1.0)
    await usage.remove_expired(store, tasks, NOW + timedelta(minutes=59))
    assert removed == []
    await usage.remove_expired(store, tasks, NOW + timedelta(minutes=61))
    assert removed == [hers.status.task_id] != [his.status.task_id]


async def test_use_is_found_by_indexes_alone(store: AnyStore, request: pytest.FixtureRequest) -> None:
    """The statements scan no table, however long the queue is."""

    async def plans(tables: Statements) -> str:
        explain = "EXPLAIN QUERY PLAN" if tables.dialect.name == "sqlite" else "EXPLAIN"
        found = [
            await tables.fetch(f"{explain} {usage._written(tables, usage._UNFINISHED)}", ("anna",)),
            await tables.fetch(f"{explain} {usage._written(tables, usage._EXPIRED)}", ("anna", 1.0)),
        ]
        return json.dumps(found)

    if isinstance(store, postgresql.PostgresStore):
        url = request.getfixturevalue("clean_database")
        # The transaction is rolled back, since other tests need the indexes.
        async with connected(url) as db, db.transaction(force_rollback=True):
            # For an empty table PostgreSQL may choose any index, so the others are dropped.
            for (index,) in await (await db.execute(_OTHER_INDEXES)).fetchall():
                await db.execute(f"DROP INDEX {index}".encode())
            await db.execute("SET LOCAL enable_seqscan = off")
            found = await plans(Reading(db))
    else:
        found = await store.transactions.read(plans)
    # With few rows, the planner may choose either of two indexes.
    assert found.count("tasks_owner") == 2, found
    assert "Seq Scan" not in found
    assert "SCAN" not in found


async def limited(client: Client, root: dict[str, str], **limits: Any) -> None:
    answer = await client.patch("/api/people/anna", json={"limits": limits}, headers=root)
    assert answer.status == 200, await answer.text()


async def test_a_limit_is_refused_by_name_and_told_with_what_is_used(tmp_path: Path) -> None:
    async with opened(tmp_path) as client:
        root, anna = await add(client, "root", "admin"), await add(client, "anna")
        await limited(client, root, max_waiting=2)
        assert (await client.post("/api/process", json=BODY, headers=anna)).status == 202
        batch = await client.post("/api/process/batch", json={"requests": [BODY, BODY]}, headers=anna)
        results = (await batch.json())["results"]
        assert [one["status"] for one in results] == [202, 429]
        assert results[1]["problem"]["code"] == "over_limit"
        refused = await client.post("/api/process", json=BODY, headers=anna)
        problem = await refused.json()
        assert (refused.status, problem["limit"], problem["most"], problem["used"]) == (
            429,
            "max_waiting",
            2,
            2,
        )
        assert (await client.post("/api/process", json=BODY, headers=root)).status == 202
        me = await (await client.get("/api/me", headers=anna)).json()
        assert me["limits"] == {"max_waiting": 2}
        answer = await client.get("/api/people/anna", headers=root)
        assert '"limits":{"max_waiting":2},"own_limits":{"max_waiting":2}' in await answer.text()
        assert me["used"] == {"running": 0, "waiting": 2, "bytes_per_day": 0, "stored_bytes": 0}
        await limited(client, root, max_waiting=None)
        assert (await client.post("/api/process", json=BODY, headers=anna)).status == 202
        assert directory(client).people["anna"].limits == {}


async def test_a_retry_counts_as_waiting_and_is_never_refused(tmp_path: Path) -> None:
    """A person's own task may always be retried; it is the next new task that is refused."""
    async with opened(tmp_path) as client:
        root, anna = await add(client, "root", "admin"), await add(client, "anna")
        await client.post("/api/queue/pause", headers=root)
        await limited(client, root, max_waiting=1)
        made = [await (await client.post("/api/process", json=BODY, headers=anna)).json()]
        cancelled = await client.post(f"/api/tasks/{made[0]['task_id']}/cancel", headers=anna)
        assert cancelled.status == 200
        assert (await client.post("/api/process", json=BODY, headers=anna)).status == 202
        retried = await client.post(f"/api/tasks/{made[0]['task_id']}/retry", headers=anna)
        assert (retried.status, (await retried.json())["stage"]) == (200, "queued")
        me = await (await client.get("/api/me", headers=anna)).json()
        assert me["used"]["waiting"] == 2
        refused = await client.post("/api/process?lang=en", json=BODY, headers=anna)
        assert (refused.status, (await refused.json())["title"]) == (429, "The person's limit is used up")


@pytest.mark.parametrize("unfit", ["2", "2 GiB", True, 2.0, -1])
async def test_a_limit_is_a_number_and_nothing_that_could_be_read_as_one(
    tmp_path: Path, unfit: object
) -> None:
    async with opened(tmp_path) as client:
        root, _ = await add(client, "root", "admin"), await add(client, "anna")
        body = {"limits": {"max_stored_bytes": unfit}}
        answer = await client.patch("/api/people/anna?lang=en", json=body, headers=root)
        [error] = (await answer.json(content_type=None))["errors"]
        assert (answer.status, error["field"]) == (422, "limits.max_stored_bytes")
        assert error["message"] != "is not valid"


async def test_what_waits_is_held_while_the_bytes_of_the_day_are_used_up(tmp_path: Path) -> None:
    async with opened(tmp_path) as client:
        root, anna = await add(client, "root", "admin"), await add(client, "anna")
        made = await (await client.post("/api/process", json=BODY, headers=anna)).json()
        await limited(client, root, max_bytes_per_day=1000)

        async def use_up(tables: Statements) -> None:
            hour = int(client.app[TASKS]._clock.now().timestamp() // HOUR)
            await tables.run("INSERT INTO downloaded VALUES ('anna', ?, 1000)", (hour,))

        await directory(client)._rows._transactions.write(use_up)
        refused = await client.post("/api/process", json=BODY, headers=anna)
        problem = await refused.json()
        assert (refused.status, problem["limit"]) == (429, "max_bytes_per_day")
        assert 0 < problem["retry_after"] <= 24 * HOUR
        assert refused.headers["Retry-After"] == str(problem["retry_after"])
        await client.post(f"/api/tasks/{made['task_id']}/resume", headers=anna)
        while True:
            status = await (await client.get(f"/api/status/{made['task_id']}", headers=anna)).json()
            if status.get("waiting"):
                break
            await asyncio.sleep(0.01)
        assert (status["stage"], status["waiting"]) == ("queued", "over_limit")


async def test_a_person_runs_no_more_than_their_share(tmp_path: Path) -> None:
    async with opened(tmp_path) as client:
        root, anna = await add(client, "root", "admin"), await add(client, "anna")
        await limited(client, root, max_running=1)
        shares = client.app[TASKS]._dispatcher._shares  # type: ignore[attr-defined]
        assert shares.most == {"anna": 1}
        assert (await (await client.get("/api/me", headers=anna)).json())["limits"] == {"max_running": 1}
        await limited(client, root, max_running=0)
        assert shares.most == {}
