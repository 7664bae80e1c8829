"""One action on many tasks: a few at a time, and an error with one task stops no other."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Literal

from server.core.errors import AppError
from server.core.task import TaskStatus
from server.tasks.service import Tasks

AT_ONCE = 8  # tasks: few, so that other clients are served meanwhile
DELETED_AT_ONCE = 16  # tasks, which share commits: more would make other clients wait longer for theirs

Action = Literal["cancel", "pause", "resume", "retry", "delete"]
Outcome = TaskStatus | AppError | None  # the status after the action; None: the task was deleted


async def act_on_all(tasks: Tasks, action: Action, ids: Sequence[str]) -> list[Outcome]:
    """Return the outcome for each task, in the order of `ids`; a task that is named twice is acted on once.

    Running tasks are acted on last: stopping one frees its place, in which a queued task would begin that is
    about to be stopped as well.
    """
    gone = list[str]()  # ids of deleted tasks whose rows are still stored
    acts: dict[Action, Callable[[str], Awaitable[TaskStatus | None]]] = {
        "cancel": tasks.cancel,
        "pause": tasks.pause,
        "resume": tasks.resume,
        "retry": tasks.retry,
        "delete": lambda task_id: tasks.delete_but_row(task_id, gone),
    }
    act = acts[action]
    running = {status.task_id for status in await tasks.statuses(ids) if status.stage.is_running}
    places = asyncio.Semaphore(DELETED_AT_ONCE if action == "delete" else AT_ONCE)
    outcomes: dict[str, Outcome] = {}
    unexpected: list[Exception] = []

    async def act_on(task_id: str) -> None:
        async with places:
            try:
                outcomes[task_id] = await act(task_id)
            except AppError as error:
                outcomes[task_id] = error
            except Exception as error:
                unexpected.append(error)

    await asyncio.gather(*map(act_on, sorted(dict.fromkeys(ids), key=running.__contains__)))
    try:
        await tasks.forget(gone)
    except AppError as error:  # the tasks count as deleted all the same; the next start deletes their rows
        outcomes |= dict.fromkeys(gone, error)
    if unexpected:  # raised only after the action on all other tasks
        raise unexpected[0]
    return [outcomes[task_id] for task_id in ids]
