"""Waiting tasks of many hosts, in a database whose nodes have not admitted any of them yet."""

from collections.abc import Iterable

from server.core.ports import Submission
from server.core.task import Task
from server.files.public_names import short_of
from server.storage.postgresql.connection import connected
from server.storage.postgresql.store import PostgresStore, open_store
from tests.examples import new_task

AT_ONCE = 250
UNLIMITED = 1_000_000


def waiting(hosts: int, each: int) -> list[Task]:
    """Return tasks named `<host>-<number>`: the first of each host, then the second of each, and so on."""
    return [named(f"host{host:04}", number) for number in range(each) for host in range(hosts)]


def named(host: str, number: int) -> Task:
    fresh = new_task(f"http://{host}/{number}")
    return Task(fresh.request, fresh.status.model_copy(update={"task_id": f"{host}-{number}"}))


async def put(store: PostgresStore, tasks: Iterable[Task]) -> None:
    wanted = [Submission(task) for task in tasks]
    for start in range(0, len(wanted), AT_ONCE):
        await store.add(wanted[start : start + AT_ONCE])


async def crowd(url: str, hosts: int, each: int) -> None:
    """Store waiting tasks without jobs, as the import of another installation does."""
    async with open_store(url, max_queued=UNLIMITED, find_short=short_of) as store:
        await put(store, waiting(hosts, each))
    async with connected(url) as db:
        await db.execute("INSERT INTO backlog VALUES ('all')")
