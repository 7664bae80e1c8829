"""`/ws/<task_id>` and `/ws`: WebSockets that send the same payloads as polling, as they change.

A status that thousands watch is encoded once, as one frame that is written straight to each transport. While
a socket's write buffer is not empty (back-pressure), its updates wait in slots, where newer ones replace
older ones.
"""

import asyncio
import socket
from collections import deque
from contextlib import suppress
from typing import Literal

from aiohttp import HttpVersion11, WSCloseCode, WSMsgType, web

from server.api.bodies import Query, language
from server.api.connections import CONNECTIONS, HeldSocket
from server.api.keys import ENCODER, HUB, TASKS
from server.api.openapi.operation import OF_SOCKETS, READER, TASK_ID, Operation, Parameter, Reply
from server.api.payload import dumps, text_frame
from server.api.route import get
from server.api.security import DOORS
from server.api.session import LOG_INS
from server.core.errors import InvalidQuery, TaskNotFound, UpgradeRequired
from server.tasks.hub import REMEMBERED, Removed, Update, Watcher, outranks

HEARTBEAT = 30.0  # seconds
CLOSE_WITHIN = 1.0  # seconds that a client has to answer a close frame
LINGER = 60.0  # seconds that a slow client has, after the close, to read what was written
UNSENT = 16 * 1024  # bytes of unsent data that the kernel buffers for a socket
GATHER = 0.02  # seconds for which changes of all tasks are batched into one write to each feed
SOCKETS_AT_ONCE = 256  # sockets written to before other tasks of the event loop run
MESSAGES_AT_ONCE = 64  # messages written to one socket before the next socket has its turn


class Flusher:
    """Flushes subscribers, in the order in which they got an update.

    Waits `gather` seconds first, so that the updates of that time go out in one write.
    """

    def __init__(self, gather: float = 0.0) -> None:
        self._gather = gather
        self._waiting: deque[Subscriber] = deque()
        self._scheduled = False

    def add(self, subscriber: "Subscriber") -> None:
        self._waiting.append(subscriber)
        if not self._scheduled:
            self._scheduled = True
            asyncio.get_running_loop().call_later(self._gather, self._flush_some)

    def _flush_some(self) -> None:
        try:
            for _ in range(min(SOCKETS_AT_ONCE, len(self._waiting))):
                self._waiting.popleft().flush()
        finally:
            self._scheduled = bool(self._waiting)
            if self._scheduled:
                asyncio.get_running_loop().call_later(0.0, self._flush_some)


TO_TASKS = web.AppKey("flusher for those who watch one task", Flusher)
TO_FEEDS = web.AppKey("flusher for those who watch all", Flusher)


# joining: the socket is being opened, updates are held. writing: updates are written at once. behind: they
# are held until the write buffer is empty. over: the last message was written, or the client is gone.
State = Literal["joining", "writing", "behind", "over"]


class Subscriber(Watcher):
    """One WebSocket that watches all tasks."""

    # Slots, because there may be thousands of sockets, and memory access is the main cost of a delivery.
    __slots__ = (
        "_catching_up",
        "_close_code",
        "_encoder",
        "_flusher",
        "_is_chunked",
        "_language",
        "_reading",
        "_request",
        "_state",
        "_transport",
    )  # fmt: skip

    def __init__(self, request: web.Request, flusher: Flusher) -> None:
        self._request = request
        self._encoder = request.app[ENCODER]
        self._flusher = flusher
        self._language = language(request)
        self._state: State = "joining"
        self._is_chunked = False  # of event streams, see `server.api.event_streams`
        self._close_code = WSCloseCode.OK
        self._catching_up: asyncio.Task[None] | None = None
        super().__init__()

    async def serve(self, ws: web.WebSocketResponse) -> None:
        """Write updates until the last one is written or the client has disconnected."""
        if self._request.transport is None:
            raise ConnectionResetError("the client left")
        self._transport = self._request.transport
        ws.headers.clear()  # already sent; this frees a kilobyte for each socket
        keep_little(self._transport)
        try:
            # Not in a method of its own: another coroutine would take a third of a kilobyte a socket.
            async with asyncio.timeout(0 if self._state == "over" else None) as self._reading:
                if self._state == "joining":
                    self._state = "writing"
                    self.wake()  # for updates held so far
                while not ws.closed:  # clients send nothing; reading detects a disconnect
                    await ws.receive()
        except TimeoutError:  # `end` has set this timeout
            # No `receive` is pending: else aiohttp would cut the connection before the client's close frame.
            await ws.close(code=self._close_code, drain=False)
        finally:
            self._let_go()

    def _let_go(self) -> None:
        """If data is unsent, abort the connection: at once if the client's session has ended, else after
        `LINGER` seconds, in which a slow client can read the last message.
        """
        self._state = "over"
        if self._catching_up:
            self._catching_up.cancel()
        if self._transport.get_write_buffer_size():
            linger = 0.0 if self._close_code == WSCloseCode.POLICY_VIOLATION else LINGER
            asyncio.get_running_loop().call_later(linger, self._transport.abort)

    def wake(self) -> None:
        """Have the flusher call `flush`."""
        self._flusher.add(self)

    def flush(self) -> None:
        """Write the held updates, or, if the write buffer is not empty, once it is."""
        if self._state == "joining" or self._state == "over":
            return
        if self._transport.is_closing():  # the client has gone: asyncio would log each write
            return
        if self._transport.get_write_buffer_size():
            if self.closed:
                self.end(WSCloseCode.GOING_AWAY)
            elif self._state == "writing":
                self._state = "behind"
                self._catching_up = asyncio.create_task(self._catch_up(), name="slow socket")
            return
        if frames := self._frames():
            self._transport.write(frames)
        if self._slots:
            self.wake()
        elif self.closed:
            self.end(WSCloseCode.GOING_AWAY)

    def end(self, code: WSCloseCode) -> None:
        """Write no more; `serve` closes the WebSocket with `code`. Only the first call has an effect."""
        if self._state != "over":
            if self._state != "joining":
                self._reading.reschedule(asyncio.get_running_loop().time())
            self._state, self._close_code = "over", code

    def _frames(self) -> bytes:
        return b"".join(
            [
                text_frame(dumps({"task_id": update.task_id, "removed": True}))
                if isinstance(update, Removed)
                else self._encoder.shared(update, self._language).frame
                for update in self.take(MESSAGES_AT_ONCE)
            ]
        )

    async def _catch_up(self) -> None:
        with suppress(ConnectionError):  # the client has disconnected
            await self._request.writer.drain()
            if self._state == "behind":
                self._state = "writing"
                self.flush()


class TaskSubscriber(Subscriber):
    """One WebSocket that watches one task: sends newer revisions, and closes after the last."""

    __slots__ = ("_held", "revision")

    def __init__(self, request: web.Request, flusher: Flusher) -> None:
        self._held: Update | None = None
        self.revision = 0
        super().__init__(request, flusher)

    def offer(self, update: Update) -> None:
        """One slot is enough for one task."""
        held = self._held
        if held is None:
            self._held = update
            self.wake()
        elif outranks(update, held):
            self._held = update

    def _frames(self) -> bytes:
        update, self._held = self._held, None
        if isinstance(update, Removed):
            self.end(WSCloseCode.OK)
        elif update and (payload := self._encoder.shared(update, self._language)).revision > self.revision:
            self.revision = payload.revision
            if payload.is_last:
                self.end(WSCloseCode.OK)
            return payload.frame
        return b""


async def watch(request: web.Request) -> web.WebSocketResponse:
    """A WebSocket for one task: sends its current payload at once, then newer ones; closes after the last."""
    ws, subscriber = _socket(request), TaskSubscriber(request, request.app[TO_TASKS])
    task_id = request.match_info["task_id"]
    with (
        counted(request),
        request.app[LOG_INS].hold(request, subscriber),
        request.app[HUB].watch(task_id, subscriber),
    ):
        # Subscribe, then read, then send: otherwise a change between reading and subscribing would be lost.
        current = await request.app[TASKS].status(task_id)
        await ws.prepare(request)
        await ws.send_frame(request.app[ENCODER].encode(current, language(request)).body, WSMsgType.TEXT)
        if current.stage.is_final:
            await ws.close()
        else:
            subscriber.revision = current.revision
            await subscriber.serve(ws)
    return ws


async def watch_all(request: web.Request) -> web.WebSocketResponse:
    """A WebSocket for all tasks: sends the newest payload of each task that changes, and removals."""
    query = Query(request)
    since = query.seconds("since", REMEMBERED)
    query.check()
    ws, subscriber = _socket(request), Subscriber(request, request.app[TO_FEEDS])
    with (
        counted(request),
        request.app[LOG_INS].hold(request, subscriber),
        request.app[HUB].watch(None, subscriber),
    ):
        # It is subscribed: a change from now on is not lost, and no older status replaces a newer one.
        changed = request.app[HUB].changed_within(since or 0)
        if changed is None:
            subscriber.close()  # the client lists anew, and connects again
            changed = {}
        for status in await request.app[TASKS].statuses([name for name, gone in changed.items() if not gone]):
            subscriber.offer(status)
        for task_id, gone in changed.items():
            if gone:
                subscriber.offer(Removed(task_id))
        await ws.prepare(request)
        await subscriber.serve(ws)
    return ws


def counted(request: web.Request) -> HeldSocket:
    """Counts the client's WebSocket while open. Raises `TooManyRequests`."""
    return request.app[CONNECTIONS].hold_socket(request.app[DOORS].client(request))


def keep_little(transport: asyncio.Transport) -> None:
    """Keep the write buffers small: a buffered update is stale when a slow client reads it, a slot is not."""
    transport.set_write_buffer_limits(high=0)  # `drain` waits until the buffer is empty
    if hasattr(socket, "TCP_NOTSENT_LOWAT"):  # without it the kernel buffers megabytes
        transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, UNSENT)


def _socket(request: web.Request) -> web.WebSocketResponse:
    ws = web.WebSocketResponse(heartbeat=HEARTBEAT, timeout=CLOSE_WITHIN, max_msg_size=1024, compress=False)
    try:
        # RFC 9110, section 7.8: an `Upgrade` in HTTP/1.0 is none.
        is_asked_for = request.version >= HttpVersion11 and ws.can_prepare(request).ok
    except ValueError:  # aiohttp decodes the client's headers, which may not be text
        is_asked_for = False
    if not is_asked_for:
        raise UpgradeRequired
    request.app[DOORS].add_headers(request, ws)
    return ws


ROUTES = [
    get(
        "/ws/{task_id}",
        watch,
        Operation(
            "watch",
            "Push",
            "WebSocket: one task",
            {101: Reply("Text messages, each the payload of `GET /api/status/{task_id}`")},
            "The current payload at once, then the newest after each change. After `completed` or `error` "
            "the socket is closed with 1000; when the server goes away, with 1001; when the session that "
            "opened it ends, with 1008.",
            parameters=(TASK_ID, *READER),
            errors=(TaskNotFound, *OF_SOCKETS),
        ),
    ),
    get(
        "/ws",
        watch_all,
        Operation(
            "watch_all",
            "Push",
            "WebSocket: all tasks",
            {101: Reply('Text messages: payloads, and `{"task_id": ..., "removed": true}`')},
            "The newest payload of every task that changes from now on. No snapshot: connect, then list. "
            "Or list, then connect with `since`. The socket is closed with 1001 when the server goes away,"
            " or may have missed what other nodes changed: connect and list again. It is closed with 1008 "
            "when the session that opened it ends.",
            parameters=(
                Parameter(
                    "since",
                    "seconds, at most 10: begins with the newest payload of each task that changed so lately",
                    {"type": "number", "minimum": 0},
                ),
                *READER,
            ),
            errors=(InvalidQuery, *OF_SOCKETS),
        ),
    ),
]
