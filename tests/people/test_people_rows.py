"""The rows of people and their tokens, on every database, and who is admitted by them."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

import psycopg
import pytest

from server.core.errors import LabelTaken, PersonExists, PersonNotFound, PersonTokenNotFound, TooManyTokens
from server.core.ports import Session
from server.core.principal import PersonRole, Principal, scope_of_person
from server.files.public_names import short_of
from server.people import people_rows as rows
from server.people.directory import TRUSTED_FOR, PeopleDirectory
from server.people.people_rows import PeopleRows
from server.people.person import MOST_TOKENS, Leaving, fresh_token, hash_of
from server.settings import AccessSettings, StorageSettings
from server.storage import postgresql
from server.storage.postgresql.migrations import released_scripts
from server.storage.sqlite import open_store
from server.storage.statements import Statements
from tests.inside import inside
from tests.rooms import AnyStore

Opened = Callable[[], AbstractAsyncContextManager[AnyStore]]
_OF_OTHERS = "FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
_WAITS = f"SELECT 1 {_OF_OTHERS} AND wait_event_type = 'Lock'"
NOW = 1_800_000_000.0


@asynccontextmanager
async def in_sqlite(folder: Path) -> AsyncIterator[AnyStore]:
    async with open_store(folder / "clipwire.db", max_queued=1, find_short=short_of) as store:
        yield store


@asynccontextmanager
async def in_postgresql(url: str) -> AsyncIterator[AnyStore]:
    async with postgresql.open_store(url, max_queued=1, find_short=short_of) as store:
        yield store


@pytest.fixture(params=["sqlite", "postgresql"])
def open_any(request: pytest.FixtureRequest, tmp_path: Path) -> Opened:
    """Return what opens a store; each call opens the same data again."""
    if request.param == "sqlite":
        return lambda: in_sqlite(tmp_path)
    url = request.getfixturevalue("clean_database")
    return lambda: in_postgresql(url)


def directory_of(store: AnyStore, *, is_alone: bool = True) -> PeopleDirectory:
    own = store.transactions
    return PeopleDirectory(PeopleRows(own), own.signals, AccessSettings(), is_alone=is_alone)


def adding(name: str, role: PersonRole = "user") -> Callable[[Statements], Awaitable[None]]:
    return lambda tables: rows.add_person(tables, name, role, NOW)


def giving(
    name: str, label: str, token: str, expires_at: float | None = None
) -> Callable[[Statements], Awaitable[None]]:
    return lambda tables: rows.add_token(tables, name, label, hash_of(token), NOW, expires_at)


def who(directory: PeopleDirectory, token: str) -> Principal | None:
    return directory.of_token(bytes.fromhex(hash_of(token)))


async def test_a_person_is_let_in_by_each_token_and_only_its_hash_is_stored(open_any: Opened) -> None:
    one, other = fresh_token(), fresh_token()
    assert len(one) == len("clipwire_") + 43
    async with open_any() as store:
        directory = directory_of(store)
        assert not directory.is_needed
        assert who(directory, one) is None
        await directory.change(adding("anna", "admin"))
        await directory.change(giving("anna", "phone", one))
        await directory.change(giving("anna", "laptop", other))
        assert directory.is_needed
    async with open_any() as store:
        directory = directory_of(store)
        directory.take(await PeopleRows(store.transactions).admitted())
        for token in (one, other):
            principal = who(directory, token)
            assert principal
            assert (principal.name, principal.role, principal.way) == ("anna", "admin", "token")
        assert who(directory, fresh_token()) is None

        async def everything(tables: Statements) -> str:
            return repr([await tables.fetch(f"SELECT * FROM {table}") for table in ("people", "tokens")])

        stored = await store.transactions.read(everything)
        assert hash_of(one) in stored
        assert one.removeprefix("clipwire_") not in stored


async def test_what_does_not_fit_is_refused_and_changes_nothing(open_any: Opened) -> None:
    async with open_any() as store:
        directory = directory_of(store)
        await directory.change(adding("anna"))
        await directory.change(giving("anna", "phone", fresh_token()))
        for change, error in (
            (adding("anna", "admin"), PersonExists),
            (giving("bob", "phone", fresh_token()), PersonNotFound),
            (giving("anna", "phone", fresh_token()), LabelTaken),
            (lambda tables: rows.revoke_token(tables, "anna", "laptop"), PersonTokenNotFound),
            (lambda tables: rows.set_role(tables, "bob", "admin"), PersonNotFound),
            (lambda tables: rows.leave(tables, "anna", Leaving("give", "bob")), PersonNotFound),
        ):
            with pytest.raises(error):
                await directory.change(change)
        assert [person.role for person in directory.people.values()] == ["user"]
        for number in range(MOST_TOKENS - 1):
            await directory.change(giving("anna", f"token {number}", fresh_token()))
        with pytest.raises(TooManyTokens):
            await directory.change(giving("anna", "one more", fresh_token()))


async def test_what_was_revoked_or_has_expired_lets_nobody_in(open_any: Opened) -> None:
    revoked, expired, good = fresh_token(), fresh_token(), fresh_token()
    async with open_any() as store:
        directory = directory_of(store)
        await directory.change(adding("anna"))
        await directory.change(giving("anna", "revoked", revoked))
        await directory.change(giving("anna", "expired", expired, time.time() - 1))
        await directory.change(giving("anna", "good", good, time.time() + 3600))
        assert who(directory, revoked)
        ended = list[bool]()
        principals = [who(directory, token) for token in (revoked, good)]
        directory.listen(lambda is_admitted: ended.extend(is_admitted(one) for one in principals if one))
        await directory.change(lambda tables: rows.revoke_token(tables, "anna", "revoked"))
        assert ended == [False, True]
        assert who(directory, revoked) is None
        assert who(directory, expired) is None
        principal = who(directory, good)
        assert principal
        assert principal.ends_at == pytest.approx(time.monotonic() + 3600, abs=60)


async def test_a_session_ends_with_its_person_and_with_the_token_that_began_it(open_any: Opened) -> None:
    async with open_any() as store:
        directory = directory_of(store)
        await directory.change(adding("anna"))
        await directory.change(giving("anna", "phone", fresh_token()))
        [token] = await PeopleRows(store.transactions).tokens("anna")
        scope = scope_of_person("anna")
        by_token = Session("a", scope, time.monotonic() + 60, "token", token.token_id)
        by_password = Session("b", scope, time.monotonic() + 60, "password")
        assert directory.of_session(by_token)
        await directory.change(lambda tables: rows.revoke_token(tables, "anna", "phone"))
        assert directory.of_session(by_token) is None
        principal = directory.of_session(by_password)
        assert principal
        assert principal.way == "password"
        await directory.change(lambda tables: rows.leave(tables, "anna", Leaving("keep")))
        assert directory.of_session(by_password) is None
        with pytest.raises(PersonExists):  # the name is taken until all things of the person are dealt with
            await directory.change(adding("anna"))
        await directory.change(lambda tables: rows.forget(tables, "anna"))
        await directory.change(adding("anna"))


class Killed(Exception):
    """Raised in the middle of a transaction."""


CHANGES: dict[str, tuple[Callable[[Statements], Awaitable[None]], set[str]]] = {
    "password": (lambda tables: rows.set_password(tables, "anna", "new", "kept"), {"phone", "kept user"}),
    "token": (lambda tables: rows.revoke_token(tables, "anna", "phone"), {"kept user", "password user"}),
    "role": (
        lambda tables: rows.set_role(tables, "anna", "admin"),
        {"phone", "kept admin", "password admin", "token admin"},
    ),
    "keep": (lambda tables: rows.leave(tables, "anna", Leaving("keep")), set()),
    "give": (lambda tables: rows.leave(tables, "anna", Leaving("give", "bob")), set()),
    "delete": (lambda tables: rows.leave(tables, "anna", Leaving("delete")), set()),
}


@pytest.mark.parametrize("name", CHANGES)
async def test_a_server_that_is_killed_has_let_out_whom_a_change_lets_out_or_changed_nothing(
    open_any: Opened, name: str
) -> None:
    token = fresh_token()
    change, remains = CHANGES[name]

    async def let_in() -> set[str]:
        """Return the ways in which Anna could log in at the next start."""
        async with open_any() as store:
            directory = directory_of(store)
            await directory.compare()
            found = {"phone"} if who(directory, token) else set()
            for session_id in ("kept", "password", "token"):
                session = await store.sessions.get(session_id)
                principal = directory.of_session(session) if session else None
                found |= {f"{session_id} {principal.role}"} if principal else set()
            return found

    async with open_any() as store:
        directory, people = directory_of(store), PeopleRows(store.transactions)
        for person in ("anna", "bob"):
            await directory.change(adding(person))
        await directory.change(giving("anna", "phone", token))
        [stored] = await people.tokens("anna")
        for session_id, token_id in (("kept", None), ("password", None), ("token", stored.token_id)):
            await store.sessions.begin(session_id, scope_of_person("anna"), token_id=token_id)
    before = {"phone", "kept user", "password user", "token user"}
    assert await let_in() == before

    async def change_and_die(tables: Statements) -> None:
        await change(tables)
        raise Killed

    async with open_any() as store:
        with pytest.raises(Killed):
            await PeopleRows(store.transactions).change(change_and_die)
    assert await let_in() == before
    async with open_any() as store:
        # The change is made, and nothing that would follow it.
        await PeopleRows(store.transactions).change(change)
    assert await let_in() == remains


async def test_when_a_token_was_used_is_stored_by_one_write_for_all(open_any: Opened) -> None:
    token = fresh_token()
    async with open_any() as store:
        directory, people = directory_of(store), PeopleRows(store.transactions)
        await directory.change(adding("anna"))
        await directory.change(giving("anna", "phone", token))
        for _ in range(100):
            assert who(directory, token)
        [stored] = await people.tokens()
        assert stored.used_at is None  # the time of use is stored later: no request waits for it
        await directory.note_uses()
        [stored] = await people.tokens()
        assert stored.used_at == pytest.approx(time.time(), abs=60)
        assert who(directory, token)
        await directory.note_uses()  # a use within the same minute is not stored
        assert await people.tokens() == [stored]


async def test_another_node_hears_of_a_change_or_looks_before_it_lets_anybody_in(clean_database: str) -> None:
    token, now = fresh_token(), 0.0
    async with in_postgresql(clean_database) as here, in_postgresql(clean_database) as there:
        one, own = directory_of(here, is_alone=False), there.transactions
        other = PeopleDirectory(
            PeopleRows(own), own.signals, AccessSettings(), is_alone=False, clock=lambda: now
        )
        following = asyncio.create_task(other.follow())
        try:
            await one.change(adding("anna"))
            await one.change(giving("anna", "phone", token))
            assert who(other, token) is None  # this test has no relay that would tell the other node
            changed = asyncio.Event()
            other.listen(lambda _: changed.set())
            own.signals.give(rows.PEOPLE_CHANGED)
            await changed.wait()
            assert who(other, token)
        finally:
            following.cancel()
            await asyncio.wait([following])
        assert not other.is_stale
        await one.change(lambda tables: rows.revoke_token(tables, "anna", "phone"))
        now += TRUSTED_FOR + 1  # no notice has come, and nothing was compared, in this time
        assert other.is_stale
        await other.refresh()
        assert who(other, token) is None


async def test_two_admins_cannot_take_each_others_role_on_two_nodes(
    clean_database: str, tmp_path: Path
) -> None:
    token, connect = fresh_token(), psycopg.AsyncConnection.connect
    async with in_postgresql(clean_database) as store:
        directory = directory_of(store, is_alone=False)
        await directory.change(adding("anna", "admin"))
        await directory.change(adding("bob", "admin"))
        await directory.change(giving("bob", "phone", token))
    storage = StorageSettings(data_dir=tmp_path / "data", database=clean_database)
    async with (
        inside(tmp_path, storage=storage) as here,
        await connect(clean_database) as there,
        await connect(clean_database, autocommit=True) as watch,
    ):
        await there.execute("UPDATE versions SET version = version + 1 WHERE subject = 'people'")
        await there.execute("UPDATE people SET role = 'user' WHERE name = 'bob'")
        bob = {"Authorization": f"Bearer {token}"}
        change = here.client.patch("/api/people/anna", json={"role": "user"}, headers=bob)
        answer = asyncio.ensure_future(change)
        while not answer.done() and not await (await watch.execute(_WAITS)).fetchone():
            await asyncio.sleep(0.01)
        await there.commit()
        assert (await answer).status in (409, 503)  # 503: this process was held up meanwhile
        roles = await (await watch.execute("SELECT role FROM people ORDER BY name")).fetchall()
    assert roles == [("admin",), ("user",)]


async def test_the_first_person_refuses_servers_of_the_release_before(empty_database: str) -> None:
    def oldest() -> int:
        with psycopg.connect(empty_database) as db:
            [found] = db.execute("SELECT oldest_server FROM schema").fetchone() or (0,)
            return int(found)

    async with in_postgresql(empty_database) as store:
        before = oldest()
        await directory_of(store).change(adding("anna"))
        [known] = [script.number for script in released_scripts() if "CREATE TABLE people" in script.sql]
        assert before < oldest() == known
