"""`/api/events/<task_id>` and `/api/events`: server-sent events with the payloads of the WebSockets.

The `id` of an event of one task is its revision. In the feed of all tasks it is the hub's number of the
change, which grows over restarts and on all nodes: a client that reconnects with it in `Last-Event-ID` gets
all later changes. So the events of the feed are sent in the order of their numbers, also to a slow client,
for which newer events replace older ones.
"""

import asyncio
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime
from http import HTTPStatus

from aiohttp import WSCloseCode, hdrs, web

from server.api.bodies import language, payload_form
from server.api.connections import CONNECTIONS
from server.api.keys import ENCODER, HUB, TASKS, tasks_of
from server.api.openapi.operation import READER, TASK_ID, Operation, Reply, Schema, header
from server.api.payload import Payload, chunk, dumps, event
from server.api.push import (
    FEEDS,
    TO_TASKS,
    Feed,
    Subscriber,
    TaskSubscriber,
    counted,
    keep_little,
)
from server.api.route import Access, get
from server.api.security import DOORS
from server.api.session import LOG_INS
from server.core.errors import OriginForbidden, TaskNotFound
from server.core.task import TaskStatus
from server.tasks.hub import Changed, Removed

COMMENT_EVERY = 20.0  # seconds
LAST_EVENT_ID = "Last-Event-ID"
GONE = "removed"  # the `id` of the last event of a removed task
_COMMENT = b":\n\n"
_ID = b"id: %d\n\n"


class _Stream(Subscriber):
    """A `Subscriber` that writes server-sent events instead of WebSocket messages."""

    __slots__ = ()

    async def follow(self, response: web.StreamResponse) -> None:
        """Write events until the last one is written, or the client has gone. The head must be written."""
        if self._request.transport is None:
            raise ConnectionResetError("the client left")
        self._transport = self._request.transport
        self._is_chunked = hdrs.TRANSFER_ENCODING in response.headers  # not with HTTP/1.0
        keep_little(self._transport)
        try:
            with suppress(TimeoutError):  # `end` sets this timeout
                async with asyncio.timeout(0 if self._state == "over" else None) as self._reading:
                    self._begin()
                    while True:
                        await asyncio.sleep(COMMENT_EVERY)
                        if not self._transport.get_write_buffer_size():
                            self._transport.write(chunk(_COMMENT) if self._is_chunked else _COMMENT)
        finally:
            self._let_go()

    def _event(self, payload: Payload, number: int) -> bytes:
        return payload.chunk(number) if self._is_chunked else event(payload.body, number)

    def _removal(self, task_id: str, number: int | str) -> bytes:
        told = event(dumps({"task_id": task_id, "removed": True}), number)
        return chunk(told) if self._is_chunked else told


class FeedStream(_Stream, Feed):
    """One event stream that watches all tasks; events are written in the order of their numbers."""

    __slots__ = ("began",)

    def __init__(self, request: web.Request) -> None:
        self.began = 0  # the number of the last change before the stream was opened
        super().__init__(request)

    @property
    def form(self) -> object:
        return super().form, self._is_chunked

    def _frame_of_removed(self, task_id: str, number: int) -> bytes:
        return self._removal(task_id, number)

    def _frame_of_status(self, status: TaskStatus, number: int) -> bytes:
        return self._event(self._encoder.shared(status, self._form), number)

    async def _end_replay(self) -> None:
        await super()._end_replay()
        number = _ID % self.began  # a client that reconnects with this id has got all earlier changes
        await self._write(chunk(number) if self._is_chunked else number)


class TaskStream(_Stream, TaskSubscriber):
    """One event stream that watches one task."""

    __slots__ = ()

    def _frames(self) -> bytes:
        update, self._held = self._held, None
        if isinstance(update, Removed):
            self.end(WSCloseCode.OK)
            return self._removal(update.task_id, GONE)
        if update and (payload := self._encoder.shared(update, self._form)).revision > self.revision:
            self.revision = payload.revision
            if payload.is_last:
                self.end(WSCloseCode.OK)
            return self._event(payload, payload.revision)
        return b""


async def stream_task(request: web.Request) -> web.StreamResponse:
    """Send the current payload at once, unless the client has it, then newer ones; end after the last."""
    task_id, had = request.match_info["task_id"], request.headers.get(LAST_EVENT_ID, "")
    stream = TaskStream(request, request.app[TO_TASKS])
    with (
        counted(request),
        request.app[LOG_INS].hold(request, stream),
        request.app[HUB].watch(task_id, stream),
    ):
        # Subscribe, then read, then send: otherwise a change between reading and subscribing would be lost.
        try:
            current = await tasks_of(request).status(task_id)
        except TaskNotFound:
            if had == GONE:
                return web.Response(status=HTTPStatus.NO_CONTENT)
            raise
        has_it = _number(had) == current.revision  # a higher number comes from another database
        if has_it and current.stage.is_final:
            return web.Response(status=HTTPStatus.NO_CONTENT)  # an `EventSource` does not reconnect after 204
        form = payload_form(request, language(request))
        payload = request.app[ENCODER].encode(current, form)
        stream.revision = current.revision
        first = _COMMENT if has_it else event(payload.body, payload.revision)
        response = await _begun(request, first)
        if not current.stage.is_final and request.method == hdrs.METH_GET:
            await request.app[CONNECTIONS].attended(request.protocol, stream.follow(response))
    return response


async def stream_all(request: web.Request) -> web.StreamResponse:
    """Send the newest payload of each task that changes, and removals; from `Last-Event-ID` on, if it is
    known.
    """
    hub, stream = request.app[HUB], FeedStream(request)
    hub.keep_history()
    with counted(request), request.app[LOG_INS].hold(request, stream), request.app[FEEDS].watch(stream):
        began = stream.began = hub.number  # the stream is subscribed: later changes have greater numbers
        first = _ID % began  # for a client that reconnects before any event
        if (had := request.headers.get(LAST_EVENT_ID)) is not None:
            missed = await _missed(request, had, began)
            if missed is None:
                first = b"event: reset\n" + event(dumps({"reset": True}), began)
            else:
                stream.begin_with(missed)
                first = _COMMENT
        response = await _begun(request, first)
        if request.method == hdrs.METH_GET:
            await request.app[CONNECTIONS].attended(request.protocol, stream.follow(response))
    return response


async def _missed(request: web.Request, had: str, began: int) -> Iterator[Changed] | None:
    """Return the changes after number `had`, each with the number to send; None if the hub no longer knows
    them.
    """
    hub, tasks, number = request.app[HUB], request.app[TASKS], _number(had)
    if number is None or number > began + hub.lag * 1000:
        return None
    changes = hub.changes_since(number)
    if changes is not None:
        return changes
    # The number was given by another process, so the changes since then are found by their times.
    found = await tasks.changed_since(datetime.fromtimestamp(number / 1000 - hub.lag, UTC))
    if found is None:
        return None
    last = next(reversed(found), None)
    return ((task_id, began if task_id == last else number, gone) for task_id, gone in found.items())


def _number(text: str) -> int | None:
    return int(text) if text.isascii() and text.isdecimal() and len(text) <= 15 else None


async def _begun(request: web.Request, first: bytes) -> web.StreamResponse:
    """Write the response's head and the `first` event, and return the response."""
    response = web.StreamResponse(
        headers={
            hdrs.CONTENT_TYPE: "text/event-stream",
            hdrs.CACHE_CONTROL: "no-store",
            hdrs.CONTENT_LANGUAGE: language(request),
            "X-Accel-Buffering": "no",  # for nginx, which would buffer events
        }
    )
    request.app[DOORS].add_headers(request, response)
    await response.prepare(request)
    if request.method == hdrs.METH_GET:
        await response.write(first)
    return response


# The schema of a single event, because OpenAPI 3.1 cannot describe a stream of them.
_EVENT: Schema = {
    "type": "object",
    "properties": {
        "id": {"type": "string", "description": "for `Last-Event-ID`"},
        "event": {
            "type": "string",
            "description": "`reset`, where what was missed is not known; else left out",
        },
        "data": {
            "type": "string",
            "description": "JSON: the payload of a task, or what `/ws` says of its removal",
        },
    },
}
_CONTENT = {"text/event-stream": _EVENT}
ROUTES = [
    get(
        "/api/events/{task_id}",
        stream_task,
        Operation(
            "events_of_task",
            "Push",
            "Server-sent events: one task",
            {
                200: Reply("Events, each with the payload of `GET /api/status/{task_id}` as data", _CONTENT),
                204: Reply("The client has had the last event"),
            },
            "The current payload at once, then the newest after each change. The stream ends after "
            "`completed` or `error`; a reconnect with `Last-Event-ID` is then answered with 204.",
            parameters=(TASK_ID, header(LAST_EVENT_ID, "the `id` of the last event"), *READER),
            errors=(TaskNotFound, OriginForbidden),
        ),
        access=Access.STREAM,
    ),
    get(
        "/api/events",
        stream_all,
        Operation(
            "events",
            "Push",
            "Server-sent events: all tasks",
            {200: Reply('Events: payloads, and `{"task_id": ..., "removed": true}`', _CONTENT)},
            "The newest payload of every task that changes from now on, or since `Last-Event-ID`. An event "
            "`reset` comes first if that is unknown or too old: list the tasks again.",
            parameters=(header(LAST_EVENT_ID, "the `id` of the last event"), *READER),
            errors=(OriginForbidden,),
        ),
        access=Access.STREAM,
    ),
]
