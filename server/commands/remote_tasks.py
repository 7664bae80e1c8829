"""`clipwire list`, and the actions on tasks of a running server."""

from collections.abc import Awaitable, Callable, Sequence

from clipwire_client import ClipwireError, ServerUnreachable, Task

from server.commands.progress_display import pace
from server.commands.remote import Remote
from server.commands.remote_client import client_of, explain, whole_id
from server.commands.words import one_line, word


async def list_tasks(
    server: Remote, *, stages: Sequence[str], query: str | None, limit: int, as_json: bool
) -> int:
    """Print a line for each task, the newest first: id, stage, percent, title. Exit status 1 without an
    answer.
    """
    async with client_of(server) as client:
        try:
            async for task in client.tasks(limit=limit, stage=stages or None, q=query):
                if as_json:
                    print(task.raw)
                else:
                    about = f"{one_line(task.title)} {pace(task)}".strip()
                    print(f"{task.task_id}  {task.stage:<9}  {task.progress:3d}%  {about}")
        except ClipwireError as error:
            explain(error, server)
            return 1
    return 0


async def act(server: Remote, task_ids: Sequence[str], action: str) -> int:
    """Do `action` to each of the tasks, one after the other; exit status 1 if the server refuses it for
    one.
    """
    failed = False
    async with client_of(server) as client:
        actions: dict[str, Callable[[str], Awaitable[Task | None]]] = {
            "cancel": client.cancel,
            "pause": client.pause,
            "resume": client.resume,
            "retry": client.retry,
            "place": client.place,
            "rm": client.delete,
        }
        for task_id in task_ids:
            try:
                whole = await whole_id(client, task_id)
                task = await actions[action](whole)
                print(f"{whole}  {task.message if task else word('removed')}")
            except ClipwireError as error:
                failed = True
                explain(error, server, task_id)
                if isinstance(error, ServerUnreachable):
                    break
    return int(failed)
