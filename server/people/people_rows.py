"""People and their tokens as rows, on every database."""

import json
import re
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass

from server.core.errors import (
    LabelTaken,
    PersonExists,
    PersonNotFound,
    PersonTokenNotFound,
    TooManyTokens,
)
from server.core.principal import PersonRole, scope_of_person
from server.people.person import MOST_TOKENS, NAME, Leaving, Person, PersonToken
from server.storage.statements import Result, Row, Statements, Tables, Transactions

PEOPLE_CHANGED = "people"  # the signal of each change of who is admitted
_PEOPLE = "SELECT name, role, added_at, password, subject, limits, leaving, adopts FROM people"
_ADD = "INSERT INTO people (name, role, subject, added_at) VALUES (?, ?, ?, ?)"
_SET_ROLE = "UPDATE people SET role = ? WHERE name = ?"
_SET_PASSWORD = "UPDATE people SET password = ? WHERE name = ?"  # noqa: S105
_SET_SUBJECT = "UPDATE people SET subject = ? WHERE name = ?"
_SET_ADOPTS = "UPDATE people SET adopts = ? WHERE name = ?"
_LEAVE = "UPDATE people SET leaving = ?, password = NULL, subject = NULL WHERE name = ?"
_DELETE = "DELETE FROM people WHERE name = ? AND leaving IS NOT NULL"
_TOKENS = "SELECT token_id, name, label, created_at, expires_at, used_at FROM tokens"
_HASHES = "SELECT hash, token_id, name, expires_at FROM tokens"
_ADD_TOKEN = "INSERT INTO tokens (hash, name, label, created_at, expires_at) VALUES (?, ?, ?, ?, ?)"  # noqa: S105
_REVOKE = "DELETE FROM tokens WHERE name = ? AND label = ?"
_REVOKE_ALL = "DELETE FROM tokens WHERE name = ?"
_USED = "UPDATE tokens SET used_at = ? WHERE token_id = ? AND coalesce(used_at, 0) < ?"
_END_SESSIONS = "DELETE FROM sessions WHERE scope = ? AND session_id <> ?"
_LIMITS = "UPDATE people SET limits = ? WHERE name = ?"
_DELETE_USE = "DELETE FROM downloaded WHERE name = ?"
_VERSION = "SELECT version FROM versions WHERE subject = 'people'"
_NEXT_VERSION = """
    INSERT INTO versions (subject, version) VALUES ('people', 1)
    ON CONFLICT (subject) DO UPDATE SET version = versions.version + 1"""


@dataclass(frozen=True, slots=True)
class AdmittedPeople:
    """Who may log in: people by name, and the hashes of their tokens. A hash has the token's id, the name of
    the token's person, and when the token expires. `expiries` tells this by a token's id. `version`
    grows with each change of people or tokens.
    """

    version: int
    people: Mapping[str, Person]
    tokens: Mapping[str, tuple[int, str, float | None]]
    expiries: Mapping[int, float | None]


class PeopleRows:
    """All methods may raise `StoreUnavailable`. Every change of who is admitted gives the signal
    `PEOPLE_CHANGED`.
    """

    def __init__(self, transactions: Transactions) -> None:
        self._transactions = transactions

    async def version(self) -> int:
        return await self._transactions.read(_version)

    async def admitted(self) -> AdmittedPeople:
        return await self._transactions.read(read_admitted)

    async def people(self) -> list[Person]:
        return await self._transactions.read(read_people)

    async def tokens(self, name: str | None = None) -> list[PersonToken]:
        async def work(tables: Statements) -> list[PersonToken]:
            return await read_tokens(tables, name)

        return await self._transactions.read(work)

    async def note_uses(self, used_at_of: Mapping[int, float]) -> None:
        """Store when tokens were last used, by their ids."""

        async def work(tables: Tables) -> None:
            for token_id, used_at in used_at_of.items():
                await tables.run(_USED, (used_at, token_id, used_at))

        await self._transactions.write(work)

    async def change(
        self, change: Callable[[Statements], Awaitable[Result]]
    ) -> tuple[Result, AdmittedPeople]:
        """Run `change`, one of the functions below, in a transaction; return its result, and who is admitted
        afterwards. Raises what the function raises.
        """

        async def work(tables: Tables) -> tuple[Result, AdmittedPeople]:
            result = await change(tables)
            tables.wake(PEOPLE_CHANGED)
            return result, await read_admitted(tables)

        return await self._transactions.write(work)


# Each change of who is admitted begins with `_NEXT_VERSION`. This locks a row, so that no two are made at
# once, on whichever node. If an error follows, the version has grown without a change, and nodes read the
# rows once for nothing.


async def lock(tables: Statements) -> None:
    """Make other changes wait until this transaction ends, so that what it reads next stays true."""
    await tables.run(_NEXT_VERSION)


async def add_person(
    tables: Statements, name: str, role: PersonRole, now: float, subject: str | None = None
) -> None:
    """Raises `PersonExists`, also while a person of this name is being removed."""
    await tables.run(_NEXT_VERSION)
    if await is_taken(tables, name):
        raise PersonExists(name)
    await tables.run(_ADD, (name, role, subject, now))


async def is_taken(tables: Statements, name: str) -> bool:
    """Whether somebody has this name, perhaps somebody who is being removed."""
    return bool(await tables.fetch("SELECT 1 FROM people WHERE name = ?", (name,)))


async def set_role(tables: Statements, name: str, role: PersonRole) -> None:
    """Raises `PersonNotFound`."""
    await tables.run(_NEXT_VERSION)
    await find_person(tables, name)
    await tables.run(_SET_ROLE, (role, name))


async def set_limits(tables: Statements, name: str, changes: Mapping[str, float | None]) -> None:
    """Change limits of one person; None brings one back to that of the settings. Raises `PersonNotFound`."""
    await tables.run(_NEXT_VERSION)
    limits = {**(await find_person(tables, name)).limits, **changes}
    stored = {limit: most for limit, most in limits.items() if most is not None}
    await tables.run(_LIMITS, (json.dumps(stored), name))


async def set_password(tables: Statements, name: str, hashed: str | None, spared: str = "") -> None:
    """Set or remove a password. All sessions of the person end, except the one with the id `spared`.

    Raises `PersonNotFound`.
    """
    await tables.run(_NEXT_VERSION)
    await find_person(tables, name)
    await tables.run(_SET_PASSWORD, (hashed, name))
    await tables.run(_END_SESSIONS, (scope_of_person(name), spared))


async def set_subject(tables: Statements, name: str, subject: str | None) -> None:
    """Raises `PersonNotFound`."""
    await tables.run(_NEXT_VERSION)
    await find_person(tables, name)
    await tables.run(_SET_SUBJECT, (subject, name))


async def adopt(tables: Statements, name: str) -> None:
    """Have `server.people.belongings` give the person what belongs to nobody. Raises `PersonNotFound`."""
    await tables.run(_NEXT_VERSION)
    await find_person(tables, name)
    await tables.run(_SET_ADOPTS, (1, name))


async def end_adoption(tables: Statements, name: str) -> None:
    await tables.run(_NEXT_VERSION)
    await tables.run(_SET_ADOPTS, (0, name))


async def leave(tables: Statements, name: str, leaving: Leaving) -> None:
    """Admit the person no more. `server.people.belongings` gives or deletes what belongs to the person, then
    calls `forget`.

    Raises `PersonNotFound` if there is no such person, or none who is to get the belongings.
    """
    await tables.run(_NEXT_VERSION)
    await find_person(tables, name)
    if leaving.to is not None:
        await find_person(tables, leaving.to)
    await tables.run(_LEAVE, (leaving.stored(), name))
    await tables.run(_REVOKE_ALL, (name,))
    await tables.run(_END_SESSIONS, (scope_of_person(name), ""))


async def forget(tables: Statements, name: str) -> None:
    """Delete the row of a removed person, and what they have used."""
    await tables.run(_NEXT_VERSION)
    await tables.run(_DELETE, (name,))
    await tables.run(_DELETE_USE, (name,))


async def add_token(
    tables: Statements, name: str, label: str, token_hash: str, now: float, expires_at: float | None = None
) -> None:
    """Raises `PersonNotFound`, `LabelTaken`, `TooManyTokens`."""
    await tables.run(_NEXT_VERSION)
    await find_person(tables, name)
    known = await read_tokens(tables, name)
    if any(token.label == label for token in known):
        raise LabelTaken(label)
    if len(known) >= MOST_TOKENS:
        raise TooManyTokens(MOST_TOKENS)
    await tables.run(_ADD_TOKEN, (token_hash, name, label, now, expires_at))


async def revoke_token(tables: Statements, name: str, label: str) -> None:
    """Raises `PersonNotFound`, `PersonTokenNotFound`."""
    await tables.run(_NEXT_VERSION)
    await find_person(tables, name)
    if not any(token.label == label for token in await read_tokens(tables, name)):
        raise PersonTokenNotFound
    await tables.run(_REVOKE, (name, label))


async def read_people(tables: Statements) -> list[Person]:
    return [*_people(await tables.fetch(f"{_PEOPLE} ORDER BY name"))]


async def find_person(tables: Statements, name: str) -> Person:
    """Raises `PersonNotFound`, also for one who is being removed."""
    if not re.fullmatch(NAME, name):  # PostgreSQL refuses a NUL
        raise PersonNotFound
    found = next(_people(await tables.fetch(f"{_PEOPLE} WHERE name = ?", (name,))), None)
    if found is None or found.leaving:
        raise PersonNotFound
    return found


async def read_tokens(tables: Statements, name: str | None = None) -> list[PersonToken]:
    if name is None:
        rows = await tables.fetch(f"{_TOKENS} ORDER BY name, token_id")
    else:
        rows = await tables.fetch(f"{_TOKENS} WHERE name = ? ORDER BY token_id", (name,))
    return [PersonToken(*row) for row in rows]


async def read_admitted(tables: Statements) -> AdmittedPeople:
    version = await _version(
        tables
    )  # read first: if rows change meanwhile, the next comparison finds a newer version
    people = {person.name: person for person in await read_people(tables)}
    tokens = {
        token_hash: (token_id, name, expires_at)
        for token_hash, token_id, name, expires_at in await tables.fetch(_HASHES)
    }
    expiries = {token_id: expires_at for token_id, _, expires_at in tokens.values()}
    return AdmittedPeople(version, people, tokens, expiries)


def _people(rows: Iterable[Row]) -> Iterator[Person]:
    for name, role, added_at, password, subject, limits, leaving, adopts in rows:
        yield Person(
            name=name,
            role="admin" if role == "admin" else "user",  # an unknown one of a newer release is no admin
            added_at=added_at,
            password=password,
            subject=subject,
            limits=json.loads(limits),
            leaving=Leaving.read(leaving) if leaving else None,
            adopts=bool(adopts),
        )


async def _version(tables: Statements) -> int:
    rows = await tables.fetch(_VERSION)
    return int(rows[0][0]) if rows else 0
