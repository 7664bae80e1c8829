"""`get URL...` and `watch ID...`: submit to a running server, follow the tasks, and save their files here.

Without a server `get` runs one for itself. With one, a task outlasts this command: Ctrl-C leaves it running,
unless `--cancel` is given.
"""

import asyncio
import shlex
import uuid
from collections.abc import Sequence
from contextlib import AsyncExitStack
from types import TracebackType
from typing import Any, Self

from clipwire_client import (
    Client,
    ClipwireError,
    NotClipwire,
    Removed,
    ServerUnreachable,
    Task,
    TransferFailed,
    UnencryptedSecret,
)

from server.commands.own_server import DidNotStart, OwnServer
from server.commands.progress_display import Display
from server.commands.remote import Remote, say
from server.commands.remote_client import client_of, explain, whole_id
from server.commands.saving import Saving
from server.commands.words import word

INTERRUPTED = 130
SAVED_AT_ONCE = 4  # files
WAIT_TO_SUBMIT = 300.0  # seconds to retry one link while the server is away, full or busy
PAUSE_TO_SUBMIT = 5.0  # seconds before the next try, if the server does not say how long to wait
ANSWER_AFTER_INTERRUPT = 30.0  # seconds after Ctrl-C to wait for the answer to a request already sent
SAY_WAITING_AFTER = 1.0  # seconds
_RETRIED = (429, 503)  # HTTP statuses


async def get(
    server: Remote | OwnServer,
    urls: Sequence[str],
    wishes: dict[str, Any],
    saving: Saving,
    display: Display,
    *,
    cancel: bool,
) -> int:
    """Get the links' files. Exit status: 0 if all files were saved, 1 if one was not, 2 for a wrong
    configuration, 130 for Ctrl-C.
    """
    is_own, failed = isinstance(server, OwnServer), False
    async with AsyncExitStack() as stack:
        try:
            if isinstance(server, OwnServer):
                server = await stack.enter_async_context(server.listening())
        except DidNotStart as error:
            say(word("own_server_failed", said=str(error)))
            return 2 if error.status == 2 else 1
        except asyncio.CancelledError:
            _clear_cancel()
            say(word("nothing_begun"))
            return INTERRUPTED
        client = await stack.enter_async_context(client_of(server, display.note))
        following = _FollowedTasks(client, saving, display, None if is_own else server)
        submission: _Submission | None = None
        try:
            async with following:
                for number, url in enumerate(urls, 1):
                    submission = _Submission(client, url, wishes)
                    try:
                        following.add(await submission.accepted(display))
                    except ClipwireError as error:
                        explain(error, server, url if len(urls) > 1 else "", display.say)
                        failed = True
                        if _concerns_all(error):
                            for other in urls[number:]:
                                display.say(word("not_submitted", url=other))
                            break
                done = await following.all_saved()
        except asyncio.CancelledError:
            _clear_cancel()
            begun = following.has_begun
            if submission and is_own:
                # This command's own server ends with it, so there is nothing to cancel on the server.
                submission.give_up()
            elif submission and (found := await submission.after_interrupt(display)):
                following.tasks[found.task_id], begun = found, True
            elif submission:
                begun = begun or submission.may_be_there
            await _interrupted(client, server, following, cancel=cancel or is_own)
            if not begun:
                say(word("nothing_begun"))
            return INTERRUPTED
    return int(failed or not done)


def _concerns_all(error: ClipwireError) -> bool:
    """Say whether the server would refuse the next link as well, rather than this one alone."""
    return isinstance(error, ServerUnreachable | NotClipwire | UnencryptedSecret) or error.status in (
        401,
        403,
    )


class _Submission:
    """The submission of one link, under one idempotency key however often the request is sent."""

    def __init__(self, client: Client, url: str, wishes: dict[str, Any]) -> None:
        self._client = client
        self._url = url
        self._wishes = wishes
        self._key = str(uuid.uuid4())
        self._sent: asyncio.Task[Task] | None = None  # the request, until its answer is known
        self.may_be_there = False

    async def accepted(self, display: Display) -> Task:
        """Return the task, as soon as the server takes it. Raises `ClipwireError`."""
        loop = asyncio.get_running_loop()
        deadline, is_noted = loop.time() + WAIT_TO_SUBMIT, False
        while True:
            self._send()
            assert self._sent
            try:
                task = await asyncio.shield(self._sent)
            except ClipwireError as error:
                self._sent = None
                pause = PAUSE_TO_SUBMIT if error.retry_after is None else error.retry_after
                if error.status not in _RETRIED or loop.time() + pause > deadline:
                    raise
                if not is_noted:
                    display.note(word("submits_later", url=self._url, detail=error.detail))
                is_noted = True
                await asyncio.sleep(pause)
            else:
                self._sent = None
                display.accepted(task)
                return task

    async def after_interrupt(self, display: Display) -> Task | None:
        """Return the task, if the server has accepted the link although its answer has not come yet. Wait for
        the answer; if the connection breaks, send the link again under its key.
        """
        if self._sent is None:
            return None
        answer = asyncio.create_task(self._answer(), name="answer after Ctrl-C")
        done, _ = await asyncio.wait([answer], timeout=SAY_WAITING_AFTER)
        if not done:
            say(word("awaits_answer", url=self._url, seconds=int(ANSWER_AFTER_INTERRUPT)))
            done, _ = await asyncio.wait([answer], timeout=ANSWER_AFTER_INTERRUPT - SAY_WAITING_AFTER)
        if not done:
            answer.cancel()
            self.may_be_there = True
            say(word("may_be_there", url=self._url, seconds=int(ANSWER_AFTER_INTERRUPT)))
            return None
        try:
            task = answer.result()
        except ClipwireError:  # the server refused the link
            return None
        display.accepted(task)
        return task

    def give_up(self) -> None:
        if self._sent:
            self._sent.cancel()

    async def _answer(self) -> Task:
        while True:
            assert self._sent
            try:
                return await self._sent
            except ServerUnreachable:
                await asyncio.sleep(SAY_WAITING_AFTER)
                self._send()

    def _send(self) -> None:
        submitted = self._client.submit(self._url, idempotency_key=self._key, **self._wishes)
        self._sent = asyncio.create_task(submitted, name="submission")


async def watch(
    server: Remote, task_ids: Sequence[str], saving: Saving, display: Display, *, cancel: bool
) -> int:
    """Follow existing tasks as `get` does; without ids, show all changes and save nothing."""
    async with client_of(server, display.note) as client:
        following, about = _FollowedTasks(client, saving, display, server), ""
        try:
            if not task_ids:
                async for news in client.follow_all():
                    if isinstance(news, Removed):
                        continue
                    display.status(news)
                    if news.is_final:
                        display.ended(news)
            tasks = []
            for task_id in task_ids:
                about = task_id
                tasks.append(await client.status(await whole_id(client, task_id)))
            async with following:
                for task in tasks:
                    following.add(task)
                return int(not await following.all_saved())
        except ClipwireError as error:
            explain(error, server, about, display.say)
            return 1
        except asyncio.CancelledError:
            if task_ids:
                await _interrupted(client, server, following, cancel=cancel)
            return INTERRUPTED


class _FollowedTasks:
    """Follows tasks to their ends and saves their files, while the context is open.

    `tasks` has, by their ids, the newest status of those that have not ended or are not saved. `lasting` is
    the server, if it still runs after this command.
    """

    def __init__(self, client: Client, saving: Saving, display: Display, lasting: Remote | None) -> None:
        self.tasks: dict[str, Task] = {}
        self.has_begun = False
        self.saving = saving
        self.display = display
        self._client = client
        self._lasting = lasting
        self._limit = asyncio.Semaphore(SAVED_AT_ONCE)
        self._following: list[asyncio.Task[bool]] = []

    def add(self, task: Task) -> None:
        self.tasks[task.task_id], self.has_begun = task, True
        self._following.append(asyncio.create_task(self._follow_and_save(task.task_id), name=task.task_id))

    async def all_saved(self) -> bool:
        return all([await each for each in self._following])

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for each in self._following:
            each.cancel()
        await asyncio.gather(*self._following, return_exceptions=True)

    async def _follow_and_save(self, task_id: str) -> bool:
        """Follow one task to its end and save its files; for a list, those of its entries."""
        task, display, client = self.tasks[task_id], self.display, self._client
        try:
            async for task in client.follow(task_id):
                self.tasks[task_id] = task
                display.status(task)
            done = await self._save_all(task)
        except TransferFailed as error:
            display.say(error.detail)
            if self._lasting:
                display.say(word("come_back", command=come_back(task, self._lasting, self.saving)))
            done = False
        except ClipwireError as error:
            explain(error, self._lasting or Remote(client.url, None, is_named=False), "", display.say)
            if self._lasting and isinstance(error, ServerUnreachable):
                display.say(word("goes_on", command=come_back(task, self._lasting, self.saving)))
            done = False
        finally:
            display.ended(task)
        del self.tasks[task_id]
        return done

    async def _save_all(self, task: Task) -> bool:
        """Save the files of a task that has ended. Raises `ClipwireError`."""
        client = self._client
        if task.status != "completed":
            self._say_why(task)
            return False
        if task.hint:
            self.display.say(task.hint)
        if task.entries is None:
            await self._save(task)
            return True
        entries = [entry async for entry in client.tasks(playlist_id=task.task_id)]
        # Tasks of other lists, shared by `reuse`, count as entries as well.
        if task.entries.total > len(entries):
            entries += [entry async for entry in client.tasks(shared_by=task.task_id)]
        entries.sort(key=lambda entry: entry.number)
        for entry in entries:
            if entry.status == "completed":
                try:
                    await self._save(entry)
                finally:
                    self.display.ended(entry)
            else:
                self._say_why(entry)
        return all(entry.status == "completed" for entry in entries)

    async def _save(self, task: Task) -> None:
        for kind, link in task.files.items():
            name = link.rpartition("/")[2]

            def show(done: int, size: int | None, name: str = name) -> None:
                self.display.transfer(task, name, done, size)

            async with self._limit:
                target = self.saving.target(len(task.files))
                path = await self._client.download(task, target, kind, overwrite=False, progress=show)
            self.display.saved(task, kind, str(path))

    def _say_why(self, task: Task) -> None:
        self.display.say(f"{task.title}: {task.error or task.message}")
        if task.hint:
            self.display.say(task.hint)


async def _interrupted(client: Client, server: Remote, following: _FollowedTasks, *, cancel: bool) -> None:
    """After Ctrl-C: cancel the tasks of this command, or say that they go on and how to follow them again."""
    _clear_cancel()
    for task in following.tasks.values():
        following.display.ended(task)
        if not cancel:
            command = come_back(task, server, following.saving)
            say(word("come_back" if task.is_final else "goes_on", command=command))
            continue
        try:
            after = await client.cancel(task.task_id)
            say(f"{task.task_id}: {after.message}")
        except ClipwireError as error:
            if error.code != "task_already_final":
                explain(error, server)


def come_back(task: Task, server: Remote, saving: Saving) -> str:
    """Return the command that follows the task again later, with the options of this one."""
    words = ["clipwire", "watch", task.task_id]
    if server.is_named:
        words += ["--server", server.url]
    if server.insecure:
        words.append("--insecure")
    if saving.output is not None:
        words += ["-o", saving.output]
    return shlex.join(words)


def _clear_cancel() -> None:
    """End the state of cancellation that Ctrl-C has set: the clean-up has to wait for the server."""
    current = asyncio.current_task()
    assert current
    current.uncancel()
