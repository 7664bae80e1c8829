"""The contract of `Sessions`, on every backend; tests of times set the clock of each backend in its own
way.
"""

import asyncio
import shutil
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

import psycopg
import pytest

from server.core.ports import SESSION_LASTS, Sessions
from server.files.public_names import short_of
from server.storage import postgresql
from server.storage.sqlite import open_store, sessions

OpenSessions = Callable[[], AbstractAsyncContextManager[Sessions]]
DAY = 24 * 3600.0


@asynccontextmanager
async def in_sqlite(folder: Path) -> AsyncIterator[Sessions]:
    async with open_store(folder / "clipwire.db", max_queued=1, find_short=short_of) as store:
        yield store.sessions


@asynccontextmanager
async def in_postgresql(url: str) -> AsyncIterator[Sessions]:
    async with postgresql.open_store(url, max_queued=1, find_short=short_of) as store:
        yield store.sessions


@pytest.fixture(params=["sqlite", "postgresql"])
def open_any(request: pytest.FixtureRequest, tmp_path: Path) -> OpenSessions:
    """Return what opens sessions; each call opens the same data again."""
    if request.param == "sqlite":
        return lambda: in_sqlite(tmp_path)
    url = request.getfixturevalue("clean_database")
    return lambda: in_postgresql(url)


@pytest.fixture
def open_sqlite(tmp_path: Path) -> OpenSessions:
    """Return what opens sessions in SQLite, whose clock is this machine's; a test can set it."""
    return lambda: in_sqlite(tmp_path)


@pytest.fixture
def at_most_three(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (sessions, postgresql.sessions):
        monkeypatch.setattr(module, "MAX_SESSIONS", 3)


class Clocks:
    """The wall clock, and the steady clock, which nobody can set."""

    wall = steady = 0.0  # seconds by which each clock is ahead

    def time(self) -> float:
        return time.time() + self.wall

    def monotonic(self) -> float:
        return time.monotonic() + self.steady

    def pass_by(self, seconds: float) -> None:
        self.wall += seconds
        self.steady += seconds


@pytest.fixture
def clocks(monkeypatch: pytest.MonkeyPatch) -> Clocks:
    clocks = Clocks()
    monkeypatch.setattr(sessions, "time", clocks)
    return clocks


async def known(there: Sessions, *session_ids: str) -> str:
    """Return those of `session_ids` that are still valid."""
    return "".join([one for one in session_ids if await there.get(one)])


async def test_a_session_outlives_the_server(open_any: OpenSessions) -> None:
    async with open_any() as there:
        await there.begin("a", "token")
        before = await there.get("a")
    async with open_any() as there:
        after = await there.get("a")
    assert before
    assert after
    assert (after.session_id, after.scope) == ("a", "token")
    assert after.ends_at == pytest.approx(before.ends_at, abs=5)
    assert after.ends_at == pytest.approx(time.monotonic() + SESSION_LASTS, abs=60)


async def test_what_was_ended_does_not_come_back(open_any: OpenSessions) -> None:
    async with open_any() as there:
        for one in "ab":
            await there.begin(one, "token")
        await there.end("a")
        assert await known(there, "a", "b") == "b"
    async with open_any() as there:
        assert await known(there, "a", "b") == "b"
        await there.end("a")
        await there.end("nobody's")
        assert await known(there, "a", "b") == "b"


async def test_sessions_end_with_their_token_for_good(open_any: OpenSessions) -> None:
    async with open_any() as there:
        for one, scope in (("a", "old"), ("b", "new"), ("c", "new")):
            await there.begin(one, scope)
        await there.end_others(["new", "newest"])
        assert await known(there, "a", "b", "c") == "bc"
    async with open_any() as there:
        await there.end_others(["old", "new"])  # the old token is valid again, but its sessions are not
        assert await known(there, "a", "b", "c") == "bc"
        await there.end_others([])
        assert await known(there, "a", "b", "c") == ""


@pytest.mark.usefixtures("at_most_three")
async def test_who_listens_hears_of_every_end(open_any: OpenSessions) -> None:
    ended: list[str] = []
    async with open_any() as there:
        there.listen(ended.append, tuple)
        for one in "abcd":
            await there.begin(one, "token")
        await there.end("c")
        await there.end("c")
        await there.begin("e", "other")
        await there.end_others(["other"])
    assert ended == ["a", "c", "b", "d"]


async def test_who_logs_in_again_and_again_ends_their_own_alone(
    open_any: OpenSessions, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (sessions, postgresql.sessions):
        monkeypatch.setattr(module, "MAX_SESSIONS_OF_PERSON", 2)
    async with open_any() as there:
        await there.begin("a", "@anna")
        for one in "bcde":
            await there.begin(one, "@bob")
        for one in "fgh":
            await there.begin(one, "token")
        assert await known(there, *"abcdefgh") == "adefgh"


@pytest.mark.usefixtures("at_most_three")
async def test_of_too_many_the_oldest_end(open_any: OpenSessions) -> None:
    names = [f"{number:02}" for number in range(50)]
    async with open_any() as there:
        async with asyncio.timeout(20):
            await asyncio.gather(*(there.begin(name, "token") for name in names))
        assert await known(there, *names) == "474849"
    async with open_any() as there:
        assert await known(there, *names) == "474849"
        await there.begin("new", "token")
        assert await known(there, *names, "new") == "4849new"


async def test_a_session_ends_when_its_time_is_over(open_sqlite: OpenSessions, clocks: Clocks) -> None:
    async with open_sqlite() as there:
        await there.begin("a", "token")
        clocks.pass_by(29 * DAY)
        await there.begin("b", "token")
        assert await known(there, "a", "b") == "ab"
    async with open_sqlite() as there:
        assert await known(there, "a", "b") == "ab"
        clocks.pass_by(2 * DAY)
        assert await known(there, "a", "b") == "b"
    async with open_sqlite() as there:
        assert await known(there, "a", "b") == "b"
        await there.end_others(["token"])
    clocks.wall -= 20 * DAY
    async with open_sqlite() as there:
        assert await known(there, "a", "b") == "b", "what is past was forgotten for good"


@pytest.mark.parametrize("jump", [-400 * DAY, 20 * DAY, 400 * DAY])
async def test_a_jump_of_the_clock_ends_nothing_and_prolongs_nothing(
    open_sqlite: OpenSessions, clocks: Clocks, jump: float
) -> None:
    async with open_sqlite() as there:
        await there.begin("a", "token")
        clocks.wall += jump
        await there.begin("b", "token")
        assert await known(there, "a", "b") == "ab"
        clocks.pass_by(29 * DAY)
        assert await known(there, "a", "b") == "ab"
    clocks.wall -= jump  # the wall clock is corrected
    async with open_sqlite() as there:
        assert await known(there, "a", "b") == "ab"
        clocks.pass_by(2 * DAY)
        assert await known(there, "a", "b") == ""


async def test_with_a_clock_that_was_set_back_a_session_lasts_a_whole_one_after_a_start_and_no_longer(
    open_sqlite: OpenSessions, clocks: Clocks
) -> None:
    async with open_sqlite() as there:
        await there.begin("a", "token")
    clocks.wall -= 400 * DAY
    async with open_sqlite() as there:
        assert await known(there, "a") == "a"
        clocks.pass_by(31 * DAY)
        assert await known(there, "a") == ""


async def test_a_server_that_is_killed_remembers_what_it_has_said(
    open_sqlite: OpenSessions, tmp_path: Path
) -> None:
    """The files on disk while the server runs are what a crash leaves."""
    crashed = tmp_path / "crashed"
    crashed.mkdir()
    async with open_sqlite() as there:
        for one in "ab":
            await there.begin(one, "token")
        await there.end("a")
        for path in tmp_path.glob("clipwire.db*"):
            await asyncio.to_thread(shutil.copy, path, crashed)
        async with in_sqlite(crashed) as found:
            assert await known(found, "a", "b") == "b"


async def test_in_postgresql_the_databases_clock_ends_a_session(clean_database: str) -> None:
    async with in_postgresql(clean_database) as there:
        for one in "ab":
            await there.begin(one, "token")
        with psycopg.connect(clean_database) as db:
            db.execute("UPDATE sessions SET ends_at = ends_at - interval '31 days' WHERE session_id = 'a'")
        assert await known(there, "a", "b") == "b"
        await there.end_others(["token"])
        with psycopg.connect(clean_database) as db:
            assert db.execute("SELECT session_id FROM sessions").fetchall() == [("b",)]


async def test_in_postgresql_who_logs_out_on_one_node_is_out_on_every_other(clean_database: str) -> None:
    async with in_postgresql(clean_database) as one, in_postgresql(clean_database) as other:
        await one.begin("a", "token")
        assert await known(other, "a") == "a"
        await other.end("a")
        assert await known(one, "a") == ""
