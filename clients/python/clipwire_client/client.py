"""The client has one method for each thing that the service does, and three that follow something over time.

`follow` and `follow_all` outlast restarts of the service and networks that fail for a while; `download` goes
on where a transfer broke. Each of them gives up only after `patience` seconds in which nothing has come.
"""

import asyncio
import json
import os
import socket
import time
import uuid
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping, Sequence
from contextlib import aclosing, nullcontext
from http import HTTPStatus
from os import PathLike
from pathlib import Path
from ssl import SSLContext
from typing import Any, NoReturn, Self, TypeVar, Unpack, cast
from urllib.parse import quote, urlsplit

import aiohttp
from pydantic import BaseModel, ValidationError

from clipwire_client.errors import ClipwireError, NotClipwire, ServerUnreachable
from clipwire_client.models import Removed, Task
from clipwire_client.patience import PASSING, RetryBackoff, SilenceTimer, Troubled
from clipwire_client.private_addresses import PrivateResolver, refuse_public
from clipwire_client.subscriptions import Subscriptions
from clipwire_client.transfer import Transfer
from clipwire_client.wishes import Wishes

ANSWER_WITHIN = 60.0  # seconds that the service may take for an answer
HEARTBEAT = 20.0  # seconds between pings: a server that has vanished does not close its sockets
LASTING = 5.0  # seconds: a socket that ends earlier without news, again and again, is given up for polls
POLL_EVERY = 2.0  # seconds between polls, if no long poll is possible
LONG_POLL = 30  # seconds that the service holds a request until something changes
MAX_ANSWER = 32 << 20  # bytes of an answer, more than the service ever sends
MAX_MESSAGE = 4 << 20
FIRST_PATIENCE = 1.0  # seconds of tries with an address that has never answered: it may be no Clipwire
_Model = TypeVar("_Model", bound=BaseModel)
Progress = Callable[[int, int | None], None]
"""Told of bytes that are saved, and of all that there are, where that is known."""


class Client:
    """`async with Client(url, token) as client`: the service at `url`, which may have a prefix.

    Each method raises `ClipwireError` for what the service refuses, `ServerUnreachable` if nobody answers.
    """

    def __init__(
        self,
        url: str,
        token: str | None = None,
        *,
        language: str | None = None,
        patience: float = 300.0,
        ssl: SSLContext | None = None,
        insecure: bool = False,
        heartbeat: float = HEARTBEAT,
        troubled: Troubled | None = None,
    ) -> None:
        """`language` is that of messages (`en`, `zh`); `ssl` trusts other certificates than the system does.

        Over plain HTTP, a token or the password of `url` is sent only to this machine and to private
        addresses, unless `insecure`; for a public address each method raises `UnencryptedSecret`.

        A method gives up after `patience` seconds without data. Until then it calls `troubled` with the error
        before each retry, and when a transfer is silent. `heartbeat` is the number of seconds between pings
        of a WebSocket; a server that has vanished is noticed after one and a half times as long.

        Raises `ValueError` if `url` is neither http nor https.
        """
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError(f"{url!r} is not the address of a service, like http://127.0.0.1:8080")
        self.url = url.rstrip("/")
        self.patience = patience
        self._origin = f"{parts.scheme}://{parts.netloc}"
        self._headers = {"Accept-Language": language} if language else {}
        if token:
            self._headers["Authorization"] = f"Bearer {token}"
        self._ssl = ssl
        self._heartbeat = heartbeat
        self._troubled = troubled
        self._guards_secret = parts.scheme == "http" and bool(token or parts.password) and not insecure
        self._has_answered = False
        self.subscriptions = Subscriptions(self._request, self._read, self._refusal_of)
        """See `clipwire_client.subscriptions`."""
        self._opened: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        resolver = PrivateResolver(self.url) if self._guards_secret else None
        self._opened = aiohttp.ClientSession(
            headers=self._headers,
            timeout=aiohttp.ClientTimeout(total=ANSWER_WITHIN),
            connector=aiohttp.TCPConnector(ssl=self._ssl or True, limit=0, resolver=resolver),
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        opened, self._opened = self._opened, None
        if opened:
            await opened.close()

    # --- one task ---

    async def submit(self, url: str, *, idempotency_key: str | None = None, **wishes: Unpack[Wishes]) -> Task:
        """Ask for the video at `url`; return the task, which by then is stored and survives whatever happens.

        If the connection breaks before the answer, the request is repeated. Its idempotency key, which is
        made up if none is given, tells the service that it is the same request.
        """
        headers = {"Idempotency-Key": idempotency_key or str(uuid.uuid4())}
        body = {"url": url, **wishes}
        backoff = RetryBackoff(self.patience if self._has_answered else FIRST_PATIENCE, self._tell_trouble)
        began = time.monotonic()
        while True:
            try:
                return await self._ask(Task, "POST", "/api/process", json=body, headers=headers)
            except ServerUnreachable as error:
                lasted = time.monotonic() - began  # a listener that does not answer takes long to fail
                if not self._has_answered and (error.refused or lasted > FIRST_PATIENCE):
                    raise
                await backoff.after(error)

    async def status(self, task_id: str) -> Task:
        return await self._ask(Task, "GET", f"/api/status/{quote(task_id, safe='')}")

    async def cancel(self, task_id: str) -> Task:
        return await self._act(task_id, "cancel")

    async def pause(self, task_id: str) -> Task:
        return await self._act(task_id, "pause")

    async def resume(self, task_id: str) -> Task:
        return await self._act(task_id, "resume")

    async def retry(self, task_id: str) -> Task:
        return await self._act(task_id, "retry")

    async def place(self, task_id: str, library: Mapping[str, object] | None = None) -> Task:
        """Put the files of a task into the library: where `library` says, or as the request said."""
        path = f"/api/tasks/{quote(task_id, safe='')}/place"
        return await self._ask(Task, "POST", path, json={"library": library} if library else {})

    async def start(self, task_id: str) -> Task:
        """Begin a waiting task at once, beyond all limits."""
        return await self._act(task_id, "start")

    async def finish(self, task_id: str) -> Task:
        """End the recording of a broadcast, and keep it."""
        return await self._act(task_id, "finish")

    async def delete(self, task_id: str) -> None:
        """Remove the task with its files; it is cancelled first if it runs."""
        await self._request("DELETE", f"/api/tasks/{quote(task_id, safe='')}")

    async def _act(self, task_id: str, action: str) -> Task:
        return await self._ask(Task, "POST", f"/api/tasks/{quote(task_id, safe='')}/{action}")

    async def me(self) -> dict[str, Any]:
        """Return who the client is logged in as, from `GET /api/me`: `name`, which an admin may lack, `role`,
        `way` and more.
        """
        return await self._ask_object("GET", "/api/me")

    # --- many tasks ---

    async def tasks(
        self, *, limit: int | None = None, **filters: str | Sequence[str] | None
    ) -> AsyncIterator[Task]:
        """Yield the tasks that match `filters`, at most `limit`, newest first.

        The filters are those of `GET /api/tasks`: `status`, `stage`, `q`, `playlist_id`, `folded`, `owner`,
        `sort`, `ids`, `shared_by`; None is no filter. An empty list matches nothing, and an empty text is
        refused except for `q`.
        """
        named = {name: value for name, value in filters.items() if value is not None}
        if any(not value and not isinstance(value, str) for value in named.values()):
            return
        query = {name: value if isinstance(value, str) else ",".join(value) for name, value in named.items()}
        left = limit
        while left is None or left > 0:
            size = min(200, left) if left is not None else 200
            page = await self._ask_object("GET", "/api/tasks", params={**query, "limit": str(size)})
            found = page.get("tasks")
            if not isinstance(found, list):
                raise NotClipwire("its list of tasks is none")
            for each in found[:size]:
                yield self._read(Task, json.dumps(each, ensure_ascii=False, separators=(",", ":")))
            if left is not None:
                left -= len(found)
            cursor = page.get("next_cursor")
            if not isinstance(cursor, str):
                return
            query["cursor"] = cursor

    # --- what comes over time ---

    async def follow(self, task_id: str) -> AsyncIterator[Task]:
        """Yield the task as it is, then each newer status, until it has ended; never an older one after a
        newer.

        The statuses come over a WebSocket or, if a proxy lets none through, by long polls. After a lost
        connection, this connects again.
        """
        revision, backoff, by_socket = 0, RetryBackoff(self.patience, self._tell_trouble), True
        while True:
            statuses = self._statuses_by_socket if by_socket else self._statuses_by_polls
            try:
                async with aclosing(statuses(task_id, backoff)) as found:
                    async for task in found:
                        if task.revision > revision:
                            backoff.reset()
                            revision = task.revision
                            yield task
                        if task.is_final:
                            return
            except _NoSocket:
                # A request that is refused in any form, such as a wrong id, is refused as a poll, too.
                by_socket = False
            except ClipwireError as error:
                if not self._may_pass(error):
                    raise
                await backoff.after(error)

    async def _statuses_by_socket(self, task_id: str, backoff: RetryBackoff) -> AsyncGenerator[Task, None]:
        """Yield the statuses that one socket sends; when it is closed, pause before the next socket."""
        since = float("inf")  # when the first message came
        try:
            async with aclosing(self._messages(f"/ws/{quote(task_id, safe='')}")) as messages:
                async for text in messages:
                    since = min(since, time.monotonic())
                    yield self._read(Task, text)
        finally:
            if time.monotonic() - since > LASTING:
                backoff.reset()
        # The service has stopped, or the task was deleted: the next try will tell.
        await backoff.after(ServerUnreachable(f"{self.url} has closed the connection"))

    async def _statuses_by_polls(self, task_id: str, backoff: RetryBackoff) -> AsyncGenerator[Task, None]:
        etag: str | None = None
        while True:
            task, etag = await self._changed(task_id, etag)
            backoff.reset()
            if task:
                yield task
            # Without the ETag, which some proxy drops, the service cannot hold the next request.
            if etag is None:
                await asyncio.sleep(POLL_EVERY)

    async def follow_all(self) -> AsyncIterator[Task | Removed]:
        """Yield the newest status of every task that changes from now on, and each task that is removed.

        After a lost connection, first yield what changed meanwhile, as far as the service can tell.
        """
        # The last revision of running tasks, and of tasks that have ended while the connection was lost.
        revisions: dict[str, int] = {}
        running: set[str] = set()
        newest = -1
        backoff = RetryBackoff(self.patience, self._tell_trouble)
        while True:
            missed, since = newest >= 0, float("inf")
            revisions = {task_id: revisions[task_id] for task_id in running}
            try:
                async with aclosing(self._messages("/ws", connected=True)) as messages:
                    async for text in messages:
                        since = min(since, time.monotonic())
                        if text:
                            backoff.reset()
                        told: list[Task | Removed] = []
                        if text:
                            told = [self._read_feed(text)]
                        elif newest < 0:  # the first connection: from here on no change is missed
                            newest = max([0, *[task.number async for task in self.tasks(limit=1)]])
                        elif missed:
                            told = await self._missed(running, newest)
                        for each in told:
                            if isinstance(each, Removed):
                                running.discard(each.task_id)
                                revisions.pop(each.task_id, None)
                                yield each
                            elif each.revision > revisions.get(each.task_id, 0):
                                revisions[each.task_id] = each.revision
                                newest = max(newest, each.number)
                                (running.discard if each.is_final else running.add)(each.task_id)
                                # After a final status the feed sends nothing older; after a final status from
                                # a list it may.
                                if each.is_final and text:
                                    del revisions[each.task_id]
                                yield each
                error: ClipwireError = ServerUnreachable(f"{self.url} has closed the connection")
            except _NoSocket as refused:
                await self._ask_object(
                    "GET", "/api/tasks", params={"limit": "1"}
                )  # raises the error of this request, such as a wrong token
                raise NotClipwire("it has no WebSocket for all tasks", refused.status) from None
            except ClipwireError as failed:
                if not self._may_pass(failed):
                    raise
                error = failed
            if time.monotonic() - since > LASTING:
                backoff.reset()
            await backoff.after(error)

    async def _missed(self, running: set[str], newest: int) -> list[Task | Removed]:
        """Return the present state of tasks that were running, and all tasks newer than number `newest`."""
        found: list[Task | Removed] = []
        for start in range(0, len(known := sorted(running)), 200):
            asked = known[start : start + 200]
            there = [task async for task in self.tasks(ids=asked)]
            found += there
            gone = set(asked) - {task.task_id for task in there}
            found += [Removed(task_id=each, removed=True) for each in sorted(gone)]
        async for task in self.tasks():
            if task.number <= newest:
                break
            found.append(task)
        return found

    async def download(
        self,
        task: Task | str,
        path: str | PathLike[str],
        kind: str | None = None,
        *,
        overwrite: bool = True,
        progress: Progress | None = None,
    ) -> Path:
        """Save one file of a task at `path`, or in the folder `path` under its title; return where it is.

        `kind` is a key of `task.files`; the default is the video, else the first. The file gets its name only
        once it is whole and has the `sha256` that the service says. A broken transfer leaves a `*.part`
        beside it, and the next call goes on from there. In a folder no file is ever replaced: the later of
        two equal names gets a number. Otherwise `overwrite` says whether a file may be replaced. Raises
        `TransferFailed`.
        """
        if isinstance(task, str):
            task = await self.status(task)
        if kind is None:
            kind = "video" if "video" in task.files else next(iter(task.files), "")
        if kind not in task.files:
            there = ", ".join(task.files) or "none"
            raise ClipwireError(f"the task has no {kind or 'file'}; there are: {there}", "no_such_file")
        link, info = task.files[kind], task.file_info.get(kind)
        transfer = Transfer(
            self._session,
            self._origin + link if link.startswith("/") else link,
            size=info.size if info else None,
            sha256=info.sha256 if info else None,
            progress=progress,
            backoff=RetryBackoff(self.patience, self._tell_trouble),
            silence=SilenceTimer(self._troubled and self._tell_trouble, self.url),
            refusal=self._refusal,
        )
        return await transfer.save(Path(path), into_folder=str(path).endswith("/"), overwrite=overwrite)

    # --- HTTP ---

    @property
    def _session(self) -> aiohttp.ClientSession:
        if self._opened is None:
            raise RuntimeError("use the client in `async with Client(...) as client`")
        if self._guards_secret:
            refuse_public(self.url)
        return self._opened

    async def _ask(self, model: type[_Model], method: str, path: str, **arguments: Any) -> _Model:
        _, _, body = await self._request(method, path, **arguments)
        return self._read(model, body)

    async def _ask_object(self, method: str, path: str, **arguments: Any) -> dict[str, Any]:
        _, _, body = await self._request(method, path, **arguments)
        return _object(body) or self._is_another(HTTPStatus.OK, "something else than an object")

    async def _changed(self, task_id: str, etag: str | None) -> tuple[Task | None, str | None]:
        """Return the status once its ETag is another one, by a long poll; None if it is not in time."""
        status, headers, body = await self._request(
            "GET",
            f"/api/status/{quote(task_id, safe='')}",
            params={"wait": str(LONG_POLL)} if etag else {},
            headers={"If-None-Match": etag} if etag else {},
            timeout=aiohttp.ClientTimeout(total=LONG_POLL + ANSWER_WITHIN),
        )
        news = None if status == HTTPStatus.NOT_MODIFIED else self._read(Task, body)
        return news, headers.get("ETag", etag)

    async def _request(
        self, method: str, path: str, **arguments: Any
    ) -> tuple[int, Mapping[str, str], bytes]:
        """Send a request; return status, headers and body of the answer. Raises `ClipwireError` if the
        service refuses.
        """
        silence = SilenceTimer(self._troubled and self._tell_trouble, self.url)
        try:
            # A long poll is silent until something changes.
            with nullcontext() if "wait" in arguments.get("params", ()) else silence:
                async with self._session.request(
                    method, self.url + path, allow_redirects=False, **arguments
                ) as response:
                    body = bytearray()
                    async for some in response.content.iter_any():
                        body += some
                        if len(body) > MAX_ANSWER:
                            self._is_another(response.status, "a very long answer")
                    if response.status >= 300 and response.status != HTTPStatus.NOT_MODIFIED:
                        raise self._refusal(response.status, response.headers, bytes(body))
        except (aiohttp.ClientError, OSError) as error:  # a timeout is an OSError, too
            raise self._unreachable(error) from error
        self._has_answered = True
        return response.status, response.headers, bytes(body)

    async def _messages(self, path: str, *, connected: bool = False) -> AsyncGenerator[str, None]:
        """Yield the texts of a WebSocket until it is closed; with `connected` the first text is empty."""
        try:
            async with self._session.ws_connect(
                self.url + path, heartbeat=self._heartbeat, max_msg_size=MAX_MESSAGE
            ) as socket:
                if connected:
                    yield ""
                async for message in socket:
                    if message.type is aiohttp.WSMsgType.TEXT:
                        yield cast("str", message.data)
        except aiohttp.WSServerHandshakeError as error:
            if error.status in PASSING:
                raise ClipwireError(error.message, f"http_{error.status}", error.status) from None
            raise _NoSocket(error.status) from None
        except (aiohttp.ClientError, OSError) as error:
            raise self._unreachable(error) from error

    def _may_pass(self, error: ClipwireError) -> bool:
        """Return whether a repeated request may succeed: the service has answered before, and is only away or
        busy now.
        """
        passing = isinstance(error, ServerUnreachable) or error.status in PASSING
        return passing and self._has_answered

    def _tell_trouble(self, error: ClipwireError) -> None:
        """Call `troubled`, but not for the first request of a client, which soon fails with this error."""
        if self._troubled and self._has_answered:
            self._troubled(error)

    def _refusal(self, status: int, headers: Mapping[str, str], body: bytes) -> ClipwireError:
        problem = _object(body) or {}
        if error := _problem(problem, status, headers.get("Retry-After", "")):
            return error
        leads = headers.get("Location")
        what = f"a redirect to {leads}" if leads else headers.get("Content-Type", "no content")
        return NotClipwire(f"HTTP {status}, {what}", status)

    def _refusal_of(self, problem: Mapping[str, Any]) -> ClipwireError:
        """Return the error of one of many results."""
        status = problem.get("status")
        status = status if isinstance(status, int) else 0
        return _problem(problem, status) or NotClipwire("what is no problem", status)

    def _unreachable(self, error: Exception) -> ServerUnreachable:
        if isinstance(error, TimeoutError):
            return ServerUnreachable(f"no answer from {self.url} within {ANSWER_WITHIN:.0f} s")
        refused = isinstance(error, aiohttp.ClientConnectorError) and isinstance(
            error.os_error, ConnectionRefusedError
        )
        if isinstance(error, aiohttp.ServerDisconnectedError):
            return ServerUnreachable(f"no answer from {self.url}: it has closed the connection")
        why = _reason(error.os_error) if isinstance(error, aiohttp.ClientConnectorError) else None
        why = why or str(error) or type(error).__name__
        return ServerUnreachable(f"no answer from {self.url}: {why}", refused=refused)

    def _read(self, model: type[_Model], text: str | bytes) -> _Model:
        try:
            found = model.model_validate_json(text)
        except ValidationError:
            self._is_another(HTTPStatus.OK, f"what is no {model.__name__.lower()}")
        if isinstance(found, Task):
            found.came_as(text)
        self._has_answered = True
        return found

    def _read_feed(self, text: str) -> Task | Removed:
        is_removal = (_object(text.encode()) or {}).get("removed")
        return self._read(Removed, text) if is_removal else self._read(Task, text)

    def _is_another(self, status: int, what: str) -> NoReturn:
        raise NotClipwire(f"HTTP {status}, {what}", status)


class _NoSocket(Exception):
    """The upgrade to a WebSocket was refused, with this status."""

    def __init__(self, status: int) -> None:
        super().__init__(status)
        self.status = status


def _reason(error: OSError) -> str | None:
    """Return why there is no connection, in the system's words; None if each address has a reason of its
    own.
    """
    if isinstance(error, socket.gaierror):
        return error.strerror
    return os.strerror(error.errno) if error.errno else None


def _problem(problem: Mapping[str, Any], status: int, retry_after: str = "") -> ClipwireError | None:
    code, detail = problem.get("code"), problem.get("detail")
    if not isinstance(code, str) or not isinstance(detail, str):
        return None
    wrong = problem.get("errors")
    fields = [each for each in wrong if isinstance(each, dict)] if isinstance(wrong, list) else []
    return ClipwireError(
        detail,
        code,
        status,
        errors=[(str(each.get("field")), str(each.get("message"))) for each in fields],
        retry_after=float(retry_after) if retry_after.isdecimal() else None,
    )


def _object(body: bytes) -> dict[str, Any] | None:
    try:
        found = json.loads(body)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None
