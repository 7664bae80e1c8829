"""Many hosts of each of which tasks wait, in a database whose nodes have yet to see them."""

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
    """Tasks named `<host>-<number>`, one of each host after the other."""
    return [named(f"host{host:04}", number) for number in range(each) for host in range(hosts)]


def named(host: str, number: int) -> Task:
    fresh = new_task(f"http://{host}/{number}")
    return Task(fresh.request, fresh.status.model_copy(update={"task_id": f"{host}-{number}"}))


async def put(store: PostgresStore, tasks: Iterable[Task]) -> None:
    wanted = [Submission(task) for task in tasks]
    for start in range(0, len(wanted), AT_ONCE):
        await store.add(wanted[start : start + AT_ONCE])


async def crowd(url: str, hosts: int, each: int) -> None:
    """Put them there without jobs, as a copy from one machine does."""
    async with open_store(url, max_queued=UNLIMITED, find_short=short_of) as store:
        await put(store, waiting(hosts, each))
    async with connected(url) as db:
        await db.execute("INSERT INTO backlog VALUES ('all')")
