"""Helpers that add or accept one task, through functions of the server that take many at a time."""

from server.core.errors import AppError
from server.core.ports import Idempotency, Store, Submission
from server.core.process_request import ProcessRequest
from server.core.task import Task, TaskStatus
from server.tasks.service import RequestedTask, Tasks


async def add(
    store: Store, task: Task, idempotency: Idempotency | None = None, wish: str | None = None
) -> Task:
    """Add a single task to the store; return it with its number. Raise the store's error if it refuses the
    task.
    """
    [added] = await store.add([Submission(task, idempotency, wish)])
    if isinstance(added, AppError):
        raise added
    return added


async def accept(tasks: Tasks, request: ProcessRequest) -> TaskStatus:
    """Accept a single request; return the status of the new task. Raise the error if the request is
    refused.
    """
    [accepted] = await tasks.accept([RequestedTask(request)])
    if isinstance(accepted, AppError):
        raise accepted
    return accepted.status
