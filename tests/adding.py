"""Adds one task to a store, which adds many at a time."""

from server.core.errors import AppError
from server.core.models import Task
from server.core.ports import Idempotency, Store, Submission


async def add(
    store: Store, task: Task, idempotency: Idempotency | None = None, wish: str | None = None
) -> Task:
    """The task with its number. Raises the error that it is refused with."""
    [added] = await store.add([Submission(task, idempotency, wish)])
    if isinstance(added, AppError):
        raise added
    return added
