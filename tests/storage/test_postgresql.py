"""The store on PostgreSQL: many nodes share it, and it may go away."""

import asyncio
import json
import signal
import time
from collections.abc import AsyncIterator, Collection, Sequence
from contextlib import AbstractAsyncContextManager, suppress
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

import psycopg
import pytest
from psycopg import AsyncConnection

from server.core.errors import DatabaseAway, DatabaseBusy, QueueFull, TaskNotFound
from server.core.events import Paused, Resumed, Retried, Started, Unfolded, apply
from server.core.list_entries import ListEntry
from server.core.ports import Filter, Idempotency, Submission, TaskOfKey
from server.core.task import Stage, Task
from server.core.unusable import DatabaseUnusable
from server.files.public_names import short_of
from server.storage.group_commit import Change
from server.storage.postgresql import PostgresStore, link, open_store, pages, store, writer
from server.storage.postgresql.announcing import Changed, Gone, LoggedOut, News, pack, unpack
from server.storage.postgresql.changes import Admits
from server.storage.postgresql.connection import CONNECT_WITHIN, connected, translate_errors
from server.storage.postgresql.database_clock import DatabaseClock
from server.storage.postgresql.link import Link
from tests.adding import add
from tests.cluster.breaking import once, proxied
from tests.cluster.postgres import PostgreSQL, own_postgres, read_only
from tests.examples import finished, new_task, started, utc_now
from tests.storage.test_store import test_pages_show_each_task_once_and_in_order as pages_are_whole
from tests.storage.test_store import test_search_finds_what_a_plain_comparison_finds as search_is_whole
from tests.storage.test_store import test_text_and_stages_narrow_down_together as search_narrows_down


def open_at(url: str, max_queued: int = 1000, **more: Any) -> AbstractAsyncContextManager[PostgresStore]:
    return open_store(url, max_queued=max_queued, find_short=short_of, **more)


@pytest.fixture
async def there(clean_database: str) -> AsyncIterator[PostgresStore]:
    async with open_at(clean_database) as there:
        yield there


def read(url: str, sql: str) -> list[tuple[Any, ...]]:
    with psycopg.connect(url, autocommit=True) as db:
        return db.execute(sql.encode()).fetchall()


# --- rows of the next release ---


async def test_fields_that_the_next_release_added_are_passed_over_and_kept(
    clean_database: str, there: PostgresStore
) -> None:
    task = await add(there, new_task())
    rewrite(clean_database, "request", {"omens": "http://a/"})
    rewrite(clean_database, "status", {"omens": ["dark"]})
    found = await there.get(task.status.task_id)
    assert found.request == task.request
    assert await there.save(started(found.status))
    [(request, status)] = read(clean_database, "SELECT request::jsonb, status::jsonb FROM tasks")
    assert request["omens"] == "http://a/"
    assert (status["omens"], status["stage"]) == (["dark"], "info")


async def test_a_stage_and_a_wish_of_the_next_release_are_shown_and_nothing_is_begun(
    clean_database: str, there: PostgresStore
) -> None:
    task = await add(there, new_task())
    rewrite(clean_database, "request", {"quality": "4320"})
    rewrite(clean_database, "status", {"stage": "verifying"}, "stage = 'verifying'")
    found = await there.get(task.status.task_id)
    assert (found.request, found.status.stage) == (None, Stage.PAUSED)
    assert (await there.page(Filter(), None, 10)).tasks == [found.status]
    assert await there.stages([task.status.task_id]) == {task.status.task_id: Stage.PAUSED}
    assert read(clean_database, "SELECT stage, request::jsonb ->> 'quality' FROM tasks") == [
        ("verifying", "4320")
    ]


def rewrite(url: str, column: str, more: dict[str, Any], also: str = "removed = false") -> None:
    with psycopg.connect(url) as db:
        sql = f"UPDATE tasks SET {column} = ({column}::jsonb || %s::jsonb)::text, {also}"
        db.execute(sql.encode(), (json.dumps(more),))


async def test_a_damaged_row_is_left_out_of_those_that_are_asked_for(
    clean_database: str, there: PostgresStore
) -> None:
    damaged = await add(there, new_task())
    rewrite(clean_database, "status", {"created_at": "once"})
    sound = await add(there, new_task())
    found = await there.statuses([damaged.status.task_id, sound.status.task_id])
    assert found == [sound.status]


# --- many nodes ---


async def test_three_nodes_never_take_more_than_fit_and_number_them_in_order(clean_database: str) -> None:
    async def submit(one: PostgresStore) -> list[Task | BaseException]:
        return await asyncio.gather(*(add(one, new_task()) for _ in range(60)), return_exceptions=True)

    a, b, c = (open_at(clean_database, 100) for _ in range(3))
    async with a as one, b as two, c as three, asyncio.timeout(20):
        found = await asyncio.gather(*map(submit, (one, two, three)))
    answers = [answer for answers in found for answer in answers]
    accepted = [answer.status.number for answer in answers if isinstance(answer, Task)]
    assert len(accepted) == len(set(accepted)) == 100
    assert sum(isinstance(answer, QueueFull) for answer in answers) == 80


async def test_it_holds_whatever_the_database_is_set_to(clean_database: str) -> None:
    """With another isolation level, a transaction that waited for its turn would not see what the others
    wrote.
    """
    words = quote("-c default_transaction_isolation=repeatable\\ read -c idle_session_timeout=2s")
    odd = f"{clean_database}?client_encoding=latin1&options={words}"
    async with open_at(odd, 100) as store:
        await asyncio.sleep(2.5)
        task = await add(store, new_task(url="https://media.test/视频"))
        assert (await store.get(task.status.task_id)).status == task.status
        await store.mark_removed(task.status.task_id)
        await store.forget(task.status.task_id)
    await test_three_nodes_never_take_more_than_fit_and_number_them_in_order(odd)


async def test_the_database_ends_a_transaction_that_takes_too_long(
    clean_database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A node that hangs within a pipeline: the database does not count it as idle."""
    monkeypatch.setattr(link, "ANSWER_WITHIN", 0.6)
    async with asyncio.timeout(20), Link(clean_database, within=0.6) as one, one.borrow() as db:
        if db.info.server_version < 170_000:
            pytest.skip("PostgreSQL 17 brought transaction_timeout")
        await db.execute("BEGIN")
        with pytest.raises(DatabaseBusy), translate_errors():
            await db.execute("SELECT pg_sleep(10)")


async def test_what_one_node_did_every_other_reads(clean_database: str) -> None:
    async with open_at(clean_database) as a, open_at(clean_database) as b:
        for _ in range(20):
            status = (await add(a, new_task())).status
            assert (await b.get(status.task_id)).status == status
            assert await b.save(after := started(status))
            assert (await a.get(status.task_id)).status == after
            assert not await a.save(after)
            await a.mark_removed(status.task_id)
            with pytest.raises(TaskNotFound):
                await b.get(status.task_id)


async def test_what_another_node_has_added_and_retried_takes_places_here(clean_database: str) -> None:
    async with open_at(clean_database, max_queued=4) as a, open_at(clean_database, max_queued=4) as b:
        ended = []
        for _ in range(2):
            task = await add(a, new_task())
            ended.append(finished(started(task.status)).model_copy(update={"revision": 2}))
        for status in ended:
            assert await a.save(status)
        await add(b, new_task())  # makes this node count what is there
        for status in ended:
            assert await a.save(apply(status, Retried(), utc_now()))
        await add(b, new_task())
        for node in (a, b):
            with pytest.raises(QueueFull):
                await add(node, new_task())


async def test_a_task_is_admitted_in_the_transaction_that_queues_it(clean_database: str) -> None:
    admitted: list[Collection[str]] = []

    class Doorman:
        async def jobs_for(self, db: AsyncConnection, tasks: Sequence[Task]) -> list[int | None]:
            return [7 if task.status.host == "at-once.test" else None for task in tasks]

        async def follow(self, db: AsyncConnection, hosts: Collection[str], changed: Collection[str]) -> None:
            admitted.append(hosts)
            if "broken.test" in hosts:
                raise RuntimeError("no")

    async with open_at(clean_database, admits=Doorman()) as there:
        await add(there, new_task("https://at-once.test/"))
        task = await add(there, new_task("https://a.test/1"))
        await add(there, new_task("https://b.test/1", auto_start=False))
        paused = apply(task.status, Paused(), utc_now())
        assert await there.save(paused)
        assert await there.save(apply(paused, Resumed(), utc_now()))
        with pytest.raises(RuntimeError):
            await add(there, lost := new_task("https://broken.test/"))
        with pytest.raises(TaskNotFound):
            await there.get(lost.status.task_id)
    assert admitted == [["a.test"], ["a.test"], ["broken.test"]]


async def test_a_task_that_gets_another_link_leaves_its_host_and_comes_to_the_other(
    clean_database: str,
) -> None:
    """An entry that turned out to be a list does this. Both hosts may have free places now."""
    admitted: list[Collection[str]] = []

    class Doorman:
        async def jobs_for(self, db: AsyncConnection, tasks: Sequence[Task]) -> list[int | None]:
            return [None for _ in tasks]

        async def follow(self, db: AsyncConnection, hosts: Collection[str], changed: Collection[str]) -> None:
            admitted.append(hosts)

    async with open_at(clean_database, admits=Doorman()) as there:
        task = await add(there, new_task("https://a.test/1"))
        playlist = await add(there, new_task("https://a.test/list", playlist=True))
        reading = apply(playlist.status, Started(), utc_now())
        assert await there.save_together([reading]) == []
        found = ListEntry(index=1, url="https://b.test/1")
        entry = apply(task.status, Started(), utc_now())
        assert await there.save(entry)
        admitted.clear()
        unfolded = apply(entry, Unfolded(entries=(found,), truncated=False, most=9), utc_now())
        assert await there.save_together([unfolded]) == []
        assert (await there.get(entry.task_id)).status.host == "b.test"
    assert admitted == [["a.test", "b.test"]]
    with psycopg.connect(clean_database) as db:
        rows = db.execute("SELECT host FROM tasks ORDER BY number").fetchall()
    assert [host for (host,) in rows] == ["b.test", "a.test"]


async def test_those_who_were_answered_together_are_answered_together_again(
    clean_database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer, "PATIENCE", 10)
    groups: list[int] = []

    async def follow(db: AsyncConnection, changes: Sequence[Change[Any]]) -> list[News]:
        groups.append(len(changes))
        for change in changes:
            change.outcome = None
        return []

    async def come_again(after: float) -> None:
        await writing.submit(Change())
        await asyncio.sleep(after)
        await writing.submit(Change())

    async with Link(clean_database) as link, writer.Writer(link, follow) as writing:
        await asyncio.gather(*(come_again(0.01 * number) for number in range(8)))
        began = time.monotonic()
        writing.patience = 0.01
        for _ in range(3):
            await writing.submit(Change())
    assert groups[0] == 8
    assert groups[1] >= 6
    assert time.monotonic() - began < 20  # each of these changes would have waited ten seconds


# --- announcements ---


async def test_a_change_is_announced_with_its_commit(clean_database: str, there: PostgresStore) -> None:
    async with await AsyncConnection.connect(clean_database, autocommit=True) as db:
        await db.execute(b"LISTEN clipwire")
        task = await add(there, new_task())
        await there.save(finished(started(task.status)).model_copy(update={"revision": 2}))
        await there.save(task.status)  # saves the same status, which changes nothing
        await there.mark_removed(task.status.task_id)
        await there.sessions.begin("session", "scope")
        await there.sessions.end("session")
        heard = [unpack(notify.payload) async for notify in db.notifies(timeout=20, stop_after=4)]
    assert {sender for sender, _ in heard} == {there.writer.name}
    task_id = task.status.task_id
    news = [one for _, found in heard for one in found]
    assert news == [Changed(task_id, 1), Changed(task_id, 2), Gone(task_id), LoggedOut("session")]


def test_announcements_are_packed_into_what_postgresql_takes() -> None:
    news = [Changed(f"{number:036}", number) for number in range(1000)]
    payloads = list(pack("me", news))
    assert len(payloads) == 6
    assert all(len(payload) <= 7903 for payload in payloads)
    assert [one for payload in payloads for one in unpack(payload)[1]] == news
    assert list(pack("me", [])) == []


def test_news_of_the_next_release_are_passed_over() -> None:
    assert unpack("me\n% what\nid 7\nid x\n\n- id") == ("me", [Changed("id", 7), Gone("id")])


# --- texts ---


@pytest.mark.parametrize("task_id", ["\0", "a\0b", "\ud800", "猫" * 3000])
async def test_no_id_reaches_the_database_that_it_would_not_take(there: PostgresStore, task_id: str) -> None:
    for ask in (there.get, there.mark_removed):
        with pytest.raises(TaskNotFound):
            await ask(task_id)
    assert await there.statuses([task_id]) == []
    assert await there.stages([task_id]) == {}
    assert (await there.page(Filter(text=task_id), None, 10)).tasks == []


@pytest.mark.wide
@pytest.mark.parametrize("window", [pytest.param(1, marks=pytest.mark.long), 7])
async def test_a_search_beyond_the_newest_finds_the_same(
    clean_database: str, monkeypatch: pytest.MonkeyPatch, window: int
) -> None:
    monkeypatch.setattr(pages, "WINDOW", window)
    async with open_at(clean_database) as there:
        await search_narrows_down(there)
    read(clean_database, "DELETE FROM tasks RETURNING 1")
    async with open_at(clean_database) as there:
        await search_is_whole(there)


@pytest.mark.wide
async def test_pages_of_a_search_are_whole_beyond_the_newest(
    there: PostgresStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pages, "WINDOW", 5)
    await pages_are_whole(there)


async def test_the_second_step_of_a_search_goes_through_the_index_of_trigrams(there: PostgresStore) -> None:
    for _ in range(3):
        await there.save(finished((await add(there, new_task(title="river"))).status))
    for text in ("river", "猫", ".*"):
        sql, values = pages.indexed_query(tuple(Stage), text, 100, 10)
        plan = "\n".join(row[0] for row in await there._searches.do(explain(sql, values)))
        assert "Bitmap Index Scan on tasks_grams" in plan


async def test_a_search_that_takes_too_long_costs_no_connection(there: PostgresStore) -> None:
    names = "'statement_timeout', 'transaction_timeout'"
    sql = f"SELECT name, setting::int FROM pg_settings WHERE name IN ({names})"

    async def work(db: AsyncConnection) -> dict[str, int]:
        return dict(await (await db.execute(sql.encode())).fetchall())

    limits = await there._searches.do(work)
    # PostgreSQL ignores the limit of a statement if the transaction has a shorter or equal one.
    assert 0 < limits["statement_timeout"] < limits.get("transaction_timeout", store.SEARCH_WITHIN * 1000)


def explain(sql: str, values: list[object]) -> Any:
    async def work(db: AsyncConnection) -> list[Any]:
        return await (await db.execute(b"EXPLAIN " + sql.encode(), values)).fetchall()

    return work


# --- the database goes away ---


async def test_a_commit_whose_answer_is_lost_counts_once(clean_database: str) -> None:
    async with proxied(clean_database) as proxy, open_at(proxy.url) as there, asyncio.timeout(20):
        await there.ping()
        for _ in range(3):
            proxy.cut_after = once(b"COMMIT")
            task = await add(there, new_task())
            proxy.cut_after = once(b"COMMIT")
            assert await there.save(now := started(task.status))
            assert (await there.get(task.status.task_id)).status == now
    assert read(clean_database, "SELECT count(*), max(revision) FROM tasks") == [(3, 2)]


async def test_a_commit_that_did_not_arrive_is_made_anew(clean_database: str) -> None:
    async with proxied(clean_database) as proxy, open_at(proxy.url) as there, asyncio.timeout(20):
        task = await add(there, new_task())
        proxy.cut_before = once(b"COMMIT")
        assert await there.save(now := started(task.status))
        assert (await there.get(task.status.task_id)).status == now


async def test_a_commit_that_never_arrives_is_known_not_to_have_been_made(clean_database: str) -> None:
    async with proxied(clean_database) as proxy, open_at(proxy.url) as there, asyncio.timeout(20):
        task = await add(there, new_task())
        proxy.cut_before = lambda data: b"COMMIT" in data
        with pytest.raises(DatabaseBusy):
            await there.save(started(task.status))
        assert (await there.get(task.status.task_id)).status == task.status


UNKNOWN = (
    "pg_xact_status((%s::text::bigint + 1000000)::text::xid8)",
    "NULL FROM (SELECT %s::text) AS forgotten",
)


@pytest.mark.parametrize("unknown", UNKNOWN)
@pytest.mark.parametrize("arrives", [True, False])
async def test_of_a_commit_that_the_database_knows_nothing_of_the_idempotency_key_decides(
    clean_database: str, monkeypatch: pytest.MonkeyPatch, unknown: str, arrives: bool
) -> None:
    """The database may be another one, which took over without the last commits; or it has forgotten the
    transaction.
    """
    key = Idempotency("key", "request")
    monkeypatch.setattr(writer, "_BECAME", f"SELECT {unknown}".encode())
    async with proxied(clean_database) as proxy, open_at(proxy.url) as there, asyncio.timeout(20):
        await there.ping()
        setattr(proxy, "cut_after" if arrives else "cut_before", once(b"COMMIT"))
        with pytest.raises(DatabaseAway) as caught:
            await add(there, new_task(), key)
        assert caught.value.perhaps_done
        assert caught.value.headers["Retry-After"] == "5"
        first = await there.find_by_key(key)
        assert (first is not None) is arrives
        again = await add(there, new_task(), key)
        assert first in (None, TaskOfKey(again))
    assert read(clean_database, "SELECT count(*) FROM tasks") == [(1,)]


async def test_keys_of_requests_that_share_are_given_once_over_two_nodes(clean_database: str) -> None:
    keys = [Idempotency(f"key {number}", "hash") for number in range(10)]
    async with open_at(clean_database) as one, open_at(clean_database) as other, asyncio.timeout(20):
        first = await add(one, new_task())
        instead = [None, first.status.task_id]
        adds = (
            there.add([Submission(new_task(), key, instead=instead[number % 2])])
            for number, key in enumerate(keys)
            for there in (one, other, one, other)
        )
        answers = await asyncio.gather(*adds)
        ids = [task.status.task_id for [task] in answers if isinstance(task, Task)]
        for number, key in enumerate(keys):
            known = await other.find_by_key(key)
            assert known
            assert ids[4 * number : 4 * number + 4] == [known.task.status.task_id] * 4
            assert known.is_shared == bool(number % 2)
            assert (known.task == first) == known.is_shared


async def test_a_task_that_another_node_deletes_while_it_is_shared_gets_no_key(
    clean_database: str, there: PostgresStore
) -> None:
    key = Idempotency("key", "hash")
    first = await add(there, new_task())
    async with connected(clean_database) as db, asyncio.timeout(20):
        async with db.transaction():
            await db.execute(b"DELETE FROM tasks")
            sharing = asyncio.create_task(
                there.add([Submission(new_task(), key, instead=first.status.task_id)])
            )
            waits = b"SELECT count(*) FROM pg_locks WHERE NOT granted AND locktype = 'transactionid'"
            while await (await db.execute(waits)).fetchone() == (0,):
                await asyncio.sleep(0.01)
        assert await sharing == [first], "it was there when it was asked for"
    assert await there.find_by_key(key) is None
    assert read(clean_database, "SELECT count(*) FROM shared_keys") == [(0,)]
    assert (await add(there, new_task(), key)).status.task_id != first.status.task_id


async def test_a_commit_that_was_made_counts_though_the_database_ends_its_connection_over_the_time(
    there: PostgresStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The time limit may be reached during the commit: the database finishes the commit, then ends the
    connection.
    """
    execute, late = AsyncConnection.execute, [b"COMMIT"]

    async def execute_late(db: AsyncConnection, sql: Any, *arguments: Any, **options: Any) -> Any:
        answer = await execute(db, sql, *arguments, **options)
        if sql in late:
            late.remove(sql)
            await db.close()
            raise psycopg.errors.TransactionTimeout
        return answer

    monkeypatch.setattr(AsyncConnection, "execute", execute_late)
    task = await add(there, new_task())
    late.append(b"COMMIT")
    assert await there.save(started(task.status))
    assert late == []


async def test_connections_that_were_lost_meanwhile_are_made_anew_without_a_word(
    clean_database: str, there: PostgresStore
) -> None:
    task = await add(there, new_task())
    for _ in range(3):
        assert await there.get(task.status.task_id) == task
        await there.page(Filter(), None, 10)
        read(
            clean_database,
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE datname = current_database() AND pid <> pg_backend_pid()",
        )
        assert await there.get(task.status.task_id) == task
        assert (await there.page(Filter(), None, 10)).tasks[-1] == task.status
        await add(there, new_task())


async def test_a_node_that_stands_still_in_the_middle_of_a_submit_keeps_nobody_elses_waiting(
    clean_database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    class StandsStill(Admits):
        def __init__(self) -> None:
            self.stands, self.goes_on = asyncio.Event(), asyncio.Event()

        async def jobs_for(self, db: AsyncConnection, tasks: Sequence[Task]) -> list[int | None]:
            self.stands.set()
            await self.goes_on.wait()
            return [None for _ in tasks]

        async def follow(
            self, db: AsyncConnection, hosts: Collection[str], changed: Collection[str]
        ) -> None: ...

    monkeypatch.setattr(link, "STALL_TIMEOUTS", ("idle_in_transaction_session_timeout = '300ms'",))
    node = StandsStill()
    async with open_at(clean_database, admits=node) as one, open_at(clean_database) as other:
        adding = asyncio.create_task(add(one, new_task()))
        try:
            async with asyncio.timeout(20):
                await node.stands.wait()
                await add(other, new_task())
        finally:
            node.goes_on.set()
        await adding  # the change is made again, on a new connection


async def test_a_database_that_is_down_refuses_at_once_and_is_found_again(
    mortal_postgres: PostgreSQL,
) -> None:
    async with open_at(mortal_postgres.url) as there:
        task = await add(there, new_task())
        for how in (signal.SIGINT, signal.SIGQUIT):
            await asyncio.to_thread(mortal_postgres.stop, how)
            assert await fails_within(CONNECT_WITHIN, there, task)
            await asyncio.to_thread(mortal_postgres.start)
            assert await there.get(task.status.task_id) == task
            await there.ping()


async def test_a_database_that_is_read_only_is_read_and_takes_changes_once_it_is_not(
    clean_database: str, there: PostgresStore
) -> None:
    task = await add(there, new_task())
    with read_only(clean_database):
        assert await there.get(task.status.task_id) == task
        for change in (add(there, new_task()), there.save(started(task.status)), there.ping()):
            with pytest.raises(DatabaseAway):
                await change
    assert await there.save(started(task.status))


@pytest.mark.long
async def test_a_silent_database_is_noticed_and_found_again(mortal_postgres: PostgreSQL) -> None:
    async with open_at(mortal_postgres.url) as there:
        task = await add(there, new_task())
        mortal_postgres.pause()
        try:
            assert await fails_within(10, there, task)
            assert await fails_within(10, there, task), "new connections are not answered either"
        finally:
            mortal_postgres.go_on()
        async with asyncio.timeout(20):
            while True:
                with suppress(DatabaseAway):
                    assert await there.get(task.status.task_id) == task
                    await there.ping()
                    break


@pytest.mark.wide
async def test_a_start_waits_for_the_database_and_then_says_so(
    mortal_postgres: PostgreSQL, monkeypatch: pytest.MonkeyPatch
) -> None:
    mortal_postgres.stop()
    monkeypatch.setattr(store, "REACHED_WITHIN", 0.0)
    said = r"^storage.database cannot be reached \([^\n]*refused[^\n]*\)$"
    with pytest.raises(DatabaseUnusable, match=said):
        await open_at(mortal_postgres.url).__aenter__()
    monkeypatch.setattr(store, "REACHED_WITHIN", 30.0)
    starts = asyncio.create_task(asyncio.to_thread(mortal_postgres.start))
    async with asyncio.timeout(30), open_at(mortal_postgres.url) as there:
        await there.ping()
    await starts


@pytest.mark.wide
async def test_a_start_does_not_wait_where_the_database_has_answered(mortal_postgres: PostgreSQL) -> None:
    url, hba = mortal_postgres.url, mortal_postgres.data / "pg_hba.conf"
    with psycopg.connect(url, autocommit=True) as db:
        db.execute("CREATE ROLE silent LOGIN PASSWORD 'right'")
    hba.write_text("host all silent all scram-sha-256\nhost all all 127.0.0.1/32 trust\n")
    read(url, "SELECT pg_reload_conf()")
    answers = {
        f"{url.rpartition('/')[0]}/missing": r'database "missing" does not exist\): create it',
        url.replace("postgres@", "nobody@"): r'role "nobody" does not exist\): create it',
        url.replace("postgres@", "silent:wrong@"): r'failed for user "silent"\): correct the password',
        url.replace("postgres@", "silent@"): r"no password supplied\): correct the password",
    }
    for wrong, said in answers.items():
        async with asyncio.timeout(20):
            with pytest.raises(DatabaseUnusable, match=rf"^storage.database cannot be used \([^\n]*{said}"):
                await open_at(wrong).__aenter__()


@pytest.fixture
def mortal_postgres() -> Any:
    with own_postgres() as server:
        yield server


async def fails_within(seconds: float, there: PostgresStore, task: Task) -> bool:
    began = time.monotonic()
    asked = (there.get(task.status.task_id), add(there, new_task()), there.save(started(task.status)),
             there.page(Filter(), None, 1), there.ping(), there.sessions.get("a"))  # fmt: skip
    pages = (there.page(Filter(), None, 1) for _ in range(20))  # more requests than there are connections
    answers = await asyncio.gather(*asked, *pages, return_exceptions=True)
    took = time.monotonic() - began
    assert [type(answer) for answer in answers] == [DatabaseAway] * len(answers)
    return took < seconds


# --- what time it is ---


async def test_instants_come_from_the_databases_clock(clean_database: str, there: PostgresStore) -> None:
    clock = DatabaseClock()
    async with await AsyncConnection.connect(clean_database, autocommit=True) as db:
        await clock.look(db)
    for one in (clock, there.clock):
        assert abs((one.now() - datetime.now(UTC)).total_seconds()) < 2


class Database:
    """A database whose clock a test sets."""

    now = 1000.0

    async def execute(self, _: bytes) -> "Database":
        return self

    async def fetchone(self) -> tuple[float]:
        return (self.now,)


async def test_a_clock_follows_the_database_and_never_runs_back() -> None:
    steady = 50.0
    clock, database = DatabaseClock(lambda: steady), Database()
    await clock.look(database)  # type: ignore[arg-type]
    assert clock.now().timestamp() == 1000.0
    steady += 5
    assert clock.now().timestamp() == 1005.0
    database.now = 2000.0
    await clock.look(database)  # type: ignore[arg-type]
    assert clock.now().timestamp() == 2000.0
    database.now = 1900.0
    await clock.look(database)  # type: ignore[arg-type]
    assert clock.now().timestamp() == 2000.0
    assert clock.wall().timestamp() == 1900.0
    steady += 101
    assert clock.now().timestamp() == 2001.0
    assert clock.wall().timestamp() == 2001.0
