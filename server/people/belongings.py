"""Gives or deletes what belongs to people who are removed, and gives a person what belongs to nobody.

The request is a row, so after a stop the next server continues. One server at a time works on it, under a
lease. Each round moves some things; once a round finds nothing, the person is deleted, but not within
`SETTLED_AFTER` seconds of the removal: a request that was admitted before may still make something.

Decisions: docs/decisions/people.md
"""

import asyncio
import logging
import time
from contextlib import suppress

from server.core.errors import StoreUnavailable, TaskNotFound
from server.core.hooks import Hooks
from server.core.ports import Sessions
from server.core.principal import scope_of_person
from server.people import people_rows as rows
from server.people.directory import PeopleDirectory
from server.people.person import Leaving, Person
from server.storage.statements import Statements, Tables, Transactions
from server.tasks.service import Tasks

log = logging.getLogger(__name__)

TASKS_PER_ROUND = 100
SETTLED_AFTER = 30.0  # seconds: longer than a body may take to come, and the work on it
NEXT_ROUND_AFTER = 1.0  # seconds
LEASE = 60  # seconds
_OF_PERSON = "SELECT task_id FROM tasks WHERE owner = ? AND {there} ORDER BY number LIMIT ?"
_OF_NOBODY = """
    SELECT task_id, number FROM tasks WHERE owner IS NULL AND {there} AND number > ?
    ORDER BY number LIMIT ?"""
_CLAIM = """
    INSERT INTO versions (subject, version) VALUES ('belongings', 0)
    ON CONFLICT (subject) DO UPDATE SET version = versions.version"""
_LEASED_UNTIL = "SELECT version FROM versions WHERE subject = 'belongings'"
_LEASE = "UPDATE versions SET version = ? WHERE subject = 'belongings'"

# Deletes idempotency keys and wishes of the former owner: a new person of that name must not match them.
_UNBIND = (
    "UPDATE tasks SET idempotency = NULL, wish = NULL WHERE task_id IN ({keys})",
    "DELETE FROM shared_keys WHERE task_id IN ({keys})",
)


class Belongings:
    """`hooks` give or delete the other kinds of things that belong to people, besides tasks."""

    def __init__(
        self,
        directory: PeopleDirectory,
        transactions: Transactions,
        tasks: Tasks,
        sessions: Sessions,
        hooks: Hooks,
    ) -> None:
        self._directory = directory
        self._sessions = sessions
        self._transactions = transactions
        self._tasks = tasks
        self._hooks = hooks
        self._woken = asyncio.Event()
        self._leased_until = 0
        directory.changed.append(self._woken.set)

    async def run(self) -> None:
        """Until cancelled, carry out the removals and adoptions that people's rows ask for."""
        # Before all features are open, their hooks are missing, and their things would stay behind.
        await self._hooks.are_complete.wait()
        while True:
            self._woken.clear()
            due = [one for one in self._directory.people.values() if one.leaving or one.adopts]
            if not due:
                await self._woken.wait()
                continue
            try:
                if await self._lease():
                    for person in due:
                        await self._settle(person)
            except StoreUnavailable as error:
                log.debug("what belongs to people waits: %s", error)
            except Exception:  # outermost: a fault with one person must not end the work for all others
                log.exception("what belongs to people cannot be given or deleted")
            with suppress(TimeoutError):
                async with asyncio.timeout(NEXT_ROUND_AFTER):
                    await self._woken.wait()

    async def _settle(self, person: Person) -> None:
        if person.leaving:
            while await self._round(person.name, person.leaving):
                await self._lease()
            if time.time() - person.leaving.at >= SETTLED_AFTER:
                # A log-in that was under way at the removal may have made a session since. It must end: from
                # now on a new person may have the name.
                await self._sessions.end_of_scope(scope_of_person(person.name))
                await self._directory.change(lambda tables: rows.forget(tables, person.name))
                log.info("%s was removed", person.name)
        elif person.adopts:
            count = await self._adopt(person.name)
            await self._directory.change(lambda tables: rows.end_adoption(tables, person.name))
            log.info("%s has got %d tasks that belonged to nobody", person.name, count)

    async def _round(self, name: str, leaving: Leaving) -> bool:
        """Give or delete some of the person's things; say whether any were found."""
        found = False
        if leaving.tasks == "delete":
            for delete in (self._delete_tasks, *self._hooks.delete_things):
                found |= await delete(name)
        else:
            heir = self._heir(leaving)
            for move in (self._move_tasks, *self._hooks.move_things):
                found |= await move(name, heir)
        return found

    def _heir(self, leaving: Leaving) -> str | None:
        """Return who gets the things: if that person is being removed too, whoever gets theirs. None for
        nobody.
        """
        people, seen = self._directory.people, set[str]()
        to = leaving.to
        while to and to not in seen:
            seen.add(to)
            person = people.get(to)
            if person is None or not person.leaving:
                return to if person else None
            to = person.leaving.to
        return None

    async def _move_tasks(self, name: str, to: str | None) -> bool:
        found = await self._tasks_of(name)
        await asyncio.gather(*(self._give(task_id, to) for task_id in found))

        async def unbind(tables: Tables) -> None:
            for sql in _UNBIND:
                await tables.run(sql.replace("{keys}", ", ".join("?" * len(found))), found)

        if found:
            await self._transactions.write(unbind)
        return bool(found)

    async def _delete_tasks(self, name: str) -> bool:
        found = await self._tasks_of(name)
        for task_id in found:
            with suppress(TaskNotFound):  # it was deleted meanwhile, by itself or with its list
                await self._tasks.delete(task_id)
        return bool(found)

    async def _adopt(self, name: str) -> int:
        last, count = 0, 0
        while True:
            behind = last

            async def work(tables: Statements) -> list[tuple[str, int]]:
                found = await tables.fetch(_there(tables, _OF_NOBODY), (behind, TASKS_PER_ROUND))  # noqa: B023
                return [(task_id, number) for task_id, number in found]

            if not (found := await self._transactions.read(work)):
                for move in self._hooks.move_things:
                    while await move(None, name):
                        await self._lease()
                return count
            await asyncio.gather(*(self._give(task_id, name) for task_id, _ in found))
            await self._lease()
            last, count = found[-1][1], count + len(found)

    async def _tasks_of(self, name: str) -> list[str]:
        async def work(tables: Statements) -> list[str]:
            return [row[0] for row in await tables.fetch(_there(tables, _OF_PERSON), (name, TASKS_PER_ROUND))]

        return await self._transactions.read(work)

    async def _give(self, task_id: str, owner: str | None) -> None:
        with suppress(TaskNotFound):  # it was deleted meanwhile
            await self._tasks.give(task_id, owner)

    async def _lease(self) -> bool:
        """Take or renew the lease, for `LEASE` seconds; False if another server has it."""
        if self._directory.is_alone:
            return True
        now, mine = int(time.time()), self._leased_until

        async def work(tables: Tables) -> int | None:
            await tables.run(_CLAIM)  # locks the row
            [(until,)] = await tables.fetch(_LEASED_UNTIL)
            if until > now and until != mine:
                return None
            await tables.run(_LEASE, (now + LEASE,))
            return now + LEASE

        if (until := await self._transactions.write(work)) is not None:
            self._leased_until = until
        return until is not None


def _there(tables: Statements, sql: str) -> str:
    return sql.replace("{there}", "removed = 0" if tables.dialect.name == "sqlite" else "NOT removed")
