"""The memory as rows, on every database; see `server.memory.remembering`."""

import json
from collections.abc import Collection, Iterable, Sequence
from dataclasses import replace
from datetime import datetime

from server.core.owner_scope import OwnerScope
from server.core.task import Stage
from server.memory.remembering import IMPORTED, Fetched, Remembered, remembered
from server.storage.statements import (
    Ended,
    Statements,
    StoreHooks,
    Tables,
    Transactions,
    fetch_in,
    insert,
)

ADOPTED_PER_TRANSACTION = 500
MAX_MANNERS_CHARS = 500  # characters, some thirty hashes; the newest come first
# The `{rows}` of one statement must have different keys: PostgreSQL changes no row twice.
_REMEMBER = f"""
    INSERT INTO media (key, fetched_at, task_id, manners, about) VALUES {{rows}}
    ON CONFLICT (key) DO UPDATE SET fetched_at = excluded.fetched_at, task_id = excluded.task_id,
        about = excluded.about, manners = CASE
            WHEN ' ' || media.manners || ' ' LIKE '% ' || excluded.manners || ' %' THEN media.manners
            ELSE substr(excluded.manners || ' ' || media.manners, 1, {MAX_MANNERS_CHARS}) END"""  # noqa: S608
_IMPORT = """
    INSERT INTO media (key, fetched_at, task_id, manners, about) VALUES {rows}
    ON CONFLICT (key) DO NOTHING"""
_ALIAS = """
    INSERT INTO aliases (alias, key) VALUES {rows} ON CONFLICT (alias) DO UPDATE SET key = excluded.key"""
_RESOLVE = "SELECT alias, key FROM aliases WHERE alias IN ({keys})"
_NAMES = "SELECT alias FROM aliases WHERE key = ?"
_HOLDERS = "SELECT DISTINCT subscription_id FROM items WHERE key IN ({keys})"
_HOLDERS_OF_OWNER = """
    SELECT DISTINCT subscription_id FROM items JOIN subscriptions USING (subscription_id)
    WHERE owner = ? AND key IN ({keys})"""
# Keys of people begin with `@`: see `server.core.owner_scope`.
_OF_NOBODY = "SELECT key FROM media WHERE key < '@' OR key >= 'A' ORDER BY key LIMIT ?"
_COPY = """
    INSERT INTO media (key, fetched_at, task_id, manners, about)
    SELECT ? || key, fetched_at, task_id, manners, about FROM media WHERE key IN ({keys})
    ON CONFLICT (key) DO NOTHING"""
_FORGET = "DELETE FROM media WHERE key IN ({keys})"
_BY_KEY = """
    SELECT media.key, fetched_at, tasks.task_id, manners, about FROM media
    LEFT JOIN tasks ON tasks.task_id = media.task_id AND stage = 'completed' AND NOT removed
    WHERE key IN ({keys})"""


def hooks_of(*, separate_lists: bool = False) -> StoreHooks:
    async def remember_ended(tables: Statements, ended: Sequence[Ended], now: datetime) -> Collection[str]:
        """Remember what tasks that end now have fetched, each as its last attempt was asked for."""
        completed = [one for one in ended if one.status.stage is Stage.COMPLETED]
        by_owner: dict[str | None, list[Remembered]] = {}
        for each in completed:
            if one := remembered(each.wanted, each.status):
                by_owner.setdefault(each.status.owner if separate_lists else None, []).append(one)
        for owner in sorted(by_owner, key=lambda name: name or ""):
            await remember(tables, by_owner[owner], OwnerScope(owner, is_separate=separate_lists))
        return ()

    return StoreHooks(remember_ended)


ALL_SHARE = OwnerScope()


async def remember(tables: Statements, fetched: Iterable[Remembered], scope: OwnerScope = ALL_SHARE) -> None:
    """Remember downloaded videos; of two rows of one video the last counts.

    They are written in the order of their keys: so two nodes that remember the same ones cannot deadlock.
    """
    last = {one.key: one for one in fetched}
    ordered = [last[key] for key in sorted(last)]
    rows = [
        (
            *(scope.key(one.key), one.fetched_at, one.task_id, one.manner),
            json.dumps(one.about, ensure_ascii=False),
        )
        for one in ordered
    ]
    await insert(tables, _REMEMBER, rows)
    await name(tables, {alias: one.key for one in ordered for alias in one.aliases})


async def name(tables: Statements, aliases: dict[str, str]) -> None:
    """Store for each alias the key that it stands for from now on."""
    await insert(tables, _ALIAS, sorted(aliases.items()))


async def resolved(tables: Statements, keys: Iterable[str]) -> dict[str, str]:
    """Return those of `keys` that are aliases, with the keys that they stand for."""
    return dict(await fetch_in(tables, _RESOLVE, keys))


async def look_up(
    tables: Statements, keys: Iterable[str], scope: OwnerScope = ALL_SHARE
) -> dict[str, Fetched]:
    """Return what is remembered under `keys`, which are no aliases."""
    stored = [scope.key(key) for key in keys]
    found = await fetch_in(tables, _BY_KEY, stored)
    return {
        (key := scope.without(name)): Fetched(
            key, fetched_at, task_id, frozenset(manners.split()), json.loads(about)
        )
        for name, fetched_at, task_id, manners, about in found
    }


class MediaRows:
    """A change is on disk when its method returns. All methods may raise `StoreUnavailable`."""

    def __init__(self, transactions: Transactions) -> None:
        self._transactions = transactions

    async def find(self, keys: Sequence[str], scope: OwnerScope = ALL_SHARE) -> Fetched | None:
        """Return what is remembered under the first of `keys` that has anything, as a key or as an alias."""

        async def work(tables: Statements) -> Fetched | None:
            others = await resolved(tables, keys)
            wanted = [*keys, *(others[key] for key in keys if key in others)]
            remembered = await look_up(tables, wanted, scope)
            found = next((remembered[key] for key in wanted if key in remembered), None)
            if found is None:
                return None
            names = [alias for (alias,) in await tables.fetch(_NAMES, (found.key,))]
            sql, mine = (_HOLDERS, ()) if scope.person is None else (_HOLDERS_OF_OWNER, (scope.person,))
            rows = await fetch_in(tables, sql, [found.key, *wanted, *names], *mine)
            return replace(found, subscriptions=tuple(sorted({holder for (holder,) in rows})))

        return await self._transactions.read(work)

    async def adopt(self, heir: OwnerScope) -> bool:
        """Give the heir some of nobody's videos, except those that they remember themselves; return whether
        there were any.
        """

        async def work(tables: Tables) -> bool:
            keys = [key for (key,) in await tables.fetch(_OF_NOBODY, (ADOPTED_PER_TRANSACTION,))]
            if keys:
                marks = ", ".join("?" * len(keys))
                await tables.run(_COPY.replace("{keys}", marks), (heir.key(""), *keys))
                await tables.run(_FORGET.replace("{keys}", marks), keys)
            return bool(keys)

        return await self._transactions.write(work)

    async def take(self, keys: Sequence[str], now: float, scope: OwnerScope = ALL_SHARE) -> int:
        """Remember all `keys`, in one transaction, as `IMPORTED` at `now` (seconds since 1970); return how
        many were not known before.
        """

        async def work(tables: Tables) -> int:
            others = await resolved(tables, keys)
            known_by_alias = await look_up(tables, [*others.values()], scope)
            candidates = sorted(key for key in {*keys} if others.get(key) not in known_by_alias)
            known = await look_up(tables, candidates, scope)
            new = [key for key in candidates if key not in known]
            await insert(tables, _IMPORT, [(scope.key(key), now, None, IMPORTED, "{}") for key in new])
            return len(new)

        return await self._transactions.write(work)
