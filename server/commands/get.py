"""`get URL...` and `watch ID...`: submit to a running server, follow the tasks, and save their files here.

Without a server `get` runs one for itself. With one, a task outlasts this command: Ctrl-C leaves it, unless
it is to be cancelled.
"""

import asyncio
import shlex
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from typing import Any, cast

from clipwire_client import Client, ClipwireError, Removed, ServerUnreachable, Task, TransferFailed, Wishes

from server.commands.own_server import DidNotStart, OwnServer
from server.commands.progress_display import Display
from server.commands.remote import Remote, say
from server.commands.remote_client import client_of, explain
from server.commands.saving import Saving
from server.commands.words import word

INTERRUPTED = 130
SAVED_AT_ONCE = 4  # files


async def get(
    server: Remote | OwnServer,
    urls: Sequence[str],
    wishes: dict[str, Any],
    saving: Saving,
    display: Display,
    *,
    cancel: bool,
) -> int:
    """Exit status: 0 if every file is here, 1 if one is not, 2 for a wrong configuration, 130 for Ctrl-C."""
    is_own, tasks, failed = isinstance(server, OwnServer), dict[str, Task](), False
    begun = False
    async with AsyncExitStack() as stack:
        try:
            if isinstance(server, OwnServer):
                server = await stack.enter_async_context(server.listening())
        except DidNotStart as error:
            say(word("own_server_failed", said=str(error)))
            return 2 if error.status == 2 else 1
        except asyncio.CancelledError:
            _uncancelled()
            say(word("nothing_begun"))
            return INTERRUPTED
        client = await stack.enter_async_context(client_of(server))
        try:
            for url in urls:
                try:
                    task = await client.submit(url, **cast("Wishes", wishes))
                except ClipwireError as error:
                    explain(error, client.url, url if len(urls) > 1 else "")
                    failed = True
                    if error.status != 422:
                        break  # what is wrong with one link does not concern the next; this does
                else:
                    display.accepted(task)
                    tasks[task.task_id], begun = task, True
            done = await _all_saved(client, tasks, saving, display, None if is_own else server)
        except asyncio.CancelledError:
            await _interrupted(client, server, tasks, display, cancel=cancel or is_own)
            if (cancel or is_own) and not begun:
                say(word("nothing_begun"))
            return INTERRUPTED
    return int(failed or not done)


async def watch(
    server: Remote, task_ids: Sequence[str], saving: Saving, display: Display, *, cancel: bool
) -> int:
    """As `get`, for tasks that are there; without ids it shows what changes, and saves nothing."""
    async with client_of(server) as client:
        tasks, about = dict[str, Task](), ""
        try:
            if not task_ids:
                async for news in client.follow_all():
                    if isinstance(news, Removed):
                        continue
                    display.status(news)
                    if news.is_final:
                        display.ended(news)
            for task_id in task_ids:
                about = task_id
                tasks[task_id] = await client.status(task_id)
            return int(not await _all_saved(client, tasks, saving, display, server))
        except ClipwireError as error:
            explain(error, client.url, about)
            return 1
        except asyncio.CancelledError:
            if task_ids:
                await _interrupted(client, server, tasks, display, cancel=cancel)
            return INTERRUPTED


async def _all_saved(
    client: Client, tasks: dict[str, Task], saving: Saving, display: Display, lasting: Remote | None
) -> bool:
    """`tasks` by their ids: each has its newest status, until nothing more comes of it. `lasting` is the
    server, if it is still there after this command.
    """
    limit = asyncio.Semaphore(SAVED_AT_ONCE)

    async def saved(task_id: str) -> bool:
        done = await _saved(client, task_id, tasks, saving, display, limit, lasting)
        del tasks[task_id]
        return done

    following = [asyncio.create_task(saved(task_id), name=task_id) for task_id in tasks]
    try:
        return all([await each for each in following])
    finally:
        for each in following:
            each.cancel()
        await asyncio.gather(*following, return_exceptions=True)


async def _saved(
    client: Client,
    task_id: str,
    tasks: dict[str, Task],
    saving: Saving,
    display: Display,
    limit: asyncio.Semaphore,
    lasting: Remote | None,
) -> bool:
    """Follow one task to its end and save what it brings; of a list, what its entries bring."""
    task = tasks[task_id]
    try:
        async for task in client.follow(task_id):
            tasks[task_id] = task
            display.status(task)
        if task.status != "completed":
            _say_why(task)
            return False
        if task.hint:
            say(task.hint)
        if task.entries is None:
            await _save(client, task, saving, display, limit)
            return True
        entries = [entry async for entry in client.tasks(playlist_id=task.task_id)]
        if task.entries.total > len(entries):  # by `reuse` it counts tasks of others
            entries += [entry async for entry in client.tasks(shared_by=task.task_id)]
        entries.sort(key=lambda entry: entry.number)
        for entry in entries:
            if entry.status == "completed":
                await _save(client, entry, saving, display, limit)
            else:
                _say_why(entry)
        return all(entry.status == "completed" for entry in entries)
    except TransferFailed as error:
        say(error.detail)
        if lasting:
            say(word("come_back", id=_id_there(task, lasting)))
        return False
    except ClipwireError as error:
        explain(error, client.url)
        if lasting and isinstance(error, ServerUnreachable):
            say(word("goes_on", id=_id_there(task, lasting)))
        return False
    finally:
        display.ended(task)


async def _save(
    client: Client, task: Task, saving: Saving, display: Display, limit: asyncio.Semaphore
) -> None:
    for kind, link in task.files.items():
        name = link.rpartition("/")[2]

        def show(done: int, size: int | None, name: str = name) -> None:
            display.transfer(task, name, done, size)

        async with limit:
            target = saving.target(len(task.files))
            path = await client.download(task, target, kind, overwrite=False, progress=show)
        display.saved(task, str(path))


def _say_why(task: Task) -> None:
    say(f"{task.title}: {task.error or task.message}")
    if task.hint:
        say(task.hint)


async def _interrupted(
    client: Client, server: Remote, tasks: Mapping[str, Task], display: Display, *, cancel: bool
) -> None:
    """After Ctrl-C: cancel what was asked for, or say that it goes on and how to come back."""
    _uncancelled()
    for task in tasks.values():
        display.ended(task)
        if not cancel:
            say(word("come_back" if task.is_final else "goes_on", id=_id_there(task, server)))
            continue
        try:
            after = await client.cancel(task.task_id)
            say(f"{task.task_id}: {after.message}")
        except ClipwireError as error:
            if error.code != "task_already_final":
                explain(error, client.url)


def _id_there(task: Task, server: Remote) -> str:
    """What a later command has to be given for the task."""
    return task.task_id + (f" --server {shlex.quote(server.url)}" if server.is_named else "")


def _uncancelled() -> None:
    """Ctrl-C is dealt with here: what is still to be done may wait for something."""
    current = asyncio.current_task()
    assert current
    current.uncancel()
