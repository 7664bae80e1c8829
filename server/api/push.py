"""`/ws/<task_id>` and `/ws`: WebSockets that send the same payloads as polling, as they change.

A status that thousands watch is encoded once, as one frame that is written straight to each transport. While
a socket's write buffer is not empty (back-pressure), updates wait: those of one task in a slot, where newer
ones replace older ones; those of all tasks in one log, in which each feed has a position.

Decisions: docs/decisions/http.md
"""

import asyncio
import socket
from collections import deque
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from typing import Literal

from aiohttp import HttpVersion11, WSCloseCode, WSMsgType, web

from server.api.bodies import Query, language, payload_form
from server.api.connections import CONNECTIONS, HeldSocket
from server.api.keys import ENCODER, HUB, restricted_to, tasks_of
from server.api.openapi.operation import OF_SOCKETS, READER, TASK_ID, Operation, Parameter, Reply
from server.api.payload import dumps, text_frame
from server.api.route import get
from server.api.security import DOORS
from server.api.session import LOG_INS
from server.core.errors import AppError, InvalidQuery, TaskNotFound, UpgradeRequired
from server.core.task import TaskStatus
from server.tasks.hub import (
    CHANGES_KEPT_FOR,
    Changed,
    ChangeLog,
    ChangesForgotten,
    Hub,
    Removed,
    Update,
    Watcher,
    outranks,
)

HEARTBEAT = 30.0  # seconds
CLOSE_WITHIN = 1.0  # seconds that a client has to answer a close frame
LINGER = 60.0  # seconds that a slow client has, after the close, to read what was written
UNSENT = 16 * 1024  # bytes of unsent data that the kernel buffers for a socket
GATHER = 0.02  # seconds for which changes of all tasks are batched into one write to each feed
SOCKETS_AT_ONCE = 256  # sockets written to before other tasks of the event loop run
FEEDS_AT_ONCE = 32  # the same for feeds, which get more bytes each: together 1 MiB
BYTES_AT_ONCE = 32 * 1024  # bytes written to one feed before the next one's turn
MOST_WRITES_KEPT = 16  # cached writes, one for each position and form of feeds
TIDY_EVERY = 1.0  # seconds between deletions of changes that all feeds have sent
READ_AT_ONCE = 20  # statuses, for a client that reconnects


class Flusher:
    """Flushes subscribers in the order in which they got updates, `at_once` in each turn of the
    event loop.
    """

    def __init__(self, at_once: int = SOCKETS_AT_ONCE) -> None:
        self._at_once = at_once
        self._waiting: deque[Subscriber] = deque()
        self._scheduled = False

    def add(self, subscriber: "Subscriber") -> None:
        self._waiting.append(subscriber)
        if not self._scheduled:
            self._scheduled = True
            asyncio.get_running_loop().call_later(0.0, self._flush_some)

    def _flush_some(self) -> None:
        try:
            for _ in range(min(self._at_once, len(self._waiting))):
                self._waiting.popleft().flush()
        finally:
            self._scheduled = bool(self._waiting)
            if self._scheduled:
                asyncio.get_running_loop().call_later(0.0, self._flush_some)


TO_TASKS = web.AppKey("flusher for subscribers of one task", Flusher)


# joining: the socket is being opened, and updates are held. replaying: a feed gets the updates that it has
# missed. writing: updates are written at once. behind: updates are held until the write buffer is empty.
# over: the last message was written, or the client is gone.
State = Literal["joining", "replaying", "writing", "behind", "over"]


class Subscriber(Watcher):
    """One WebSocket; `_frames` returns the bytes to write next."""

    # Slots, because there may be thousands of sockets, and memory access is the main cost of a delivery.
    __slots__ = (
        "_catching_up",
        "_close_code",
        "_encoder",
        "_flusher",
        "_form",
        "_has_more",
        "_is_chunked",
        "_owner",
        "_reading",
        "_request",
        "_state",
        "_transport",
    )  # fmt: skip

    def __init__(self, request: web.Request, flusher: Flusher) -> None:
        self._request = request
        self._encoder = request.app[ENCODER]
        self._flusher = flusher
        self._form = payload_form(request, language(request))
        self._owner = restricted_to(request)
        self._state: State = "joining"
        self._has_more = False  # whether there are updates that `_frames` has not returned yet
        self._is_chunked = False  # used by event streams, see `server.api.event_streams`
        self._close_code = WSCloseCode.OK
        self._catching_up: asyncio.Task[None] | None = None
        super().__init__()

    async def serve(self, ws: web.WebSocketResponse) -> None:
        """Write updates until the last one is written or the client has disconnected."""
        if self._request.transport is None:
            raise ConnectionResetError("the client left")
        self._transport = self._request.transport
        ws.headers.clear()  # the headers have been sent; this frees a kilobyte for each socket
        keep_little(self._transport)
        try:
            # Not in a coroutine of its own, which would take a third of a kilobyte for each socket.
            async with asyncio.timeout(0 if self._state == "over" else None) as self._reading:
                self._begin()
                while not ws.closed:  # clients send nothing; reading detects a disconnect
                    if isinstance(error := (await ws.receive()).data, Exception):
                        drop_tracebacks(error)
        except TimeoutError:  # `end` has set this timeout
            # No `receive` may be pending: else aiohttp would cut the connection before the client's close
            # frame.
            await ws.close(code=self._close_code, drain=False)
        finally:
            drop_tracebacks(ws.exception())
            self._let_go()

    def _begin(self) -> None:
        if self._state == "joining":
            self._state = "writing"
            self.wake()  # for updates held so far

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
        if self._has_more:
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
        raise NotImplementedError

    async def _catch_up(self) -> None:
        with suppress(ConnectionError):  # the client has disconnected
            await self._request.writer.drain()
            if self._state == "behind":
                self._state = "writing"
                self.wake()


class TaskSubscriber(Subscriber):
    """One WebSocket that watches one task: sends newer revisions, and closes after the last."""

    __slots__ = ("_held", "revision")

    def __init__(self, request: web.Request, flusher: Flusher) -> None:
        self._held: Update | None = None
        self.revision = 0
        super().__init__(request, flusher)

    def offer(self, update: Update) -> None:
        """Keep only the newest update: one slot is enough for one task."""
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
        elif update and (payload := self._encoder.shared(update, self._form)).revision > self.revision:
            self.revision = payload.revision
            if payload.is_last:
                self.end(WSCloseCode.OK)
            return payload.frame
        return b""


class TaskFeeds(Watcher):
    """All feeds of all tasks. To the hub they are one subscriber, so that a change costs the same for any
    number of feeds.

    The log has the newest change of each task that some feed has not sent yet, with the hub's number of the
    change. Feeds at the same position write the same bytes, which are made once.
    """

    def __init__(self, hub: Hub) -> None:
        super().__init__()
        self.flusher = Flusher(FEEDS_AT_ONCE)
        self._hub = hub
        self._log = ChangeLog[tuple[Update, int]]()
        self._end = 0  # the position of the last change
        self._tidied = 0  # `_end` at the last `_tidy`
        self._feeds: dict[Feed, None] = {}
        self._writes: dict[tuple[int, object], tuple[bytes, int]] = {}
        self._round: asyncio.TimerHandle | None = None
        self._tidying: asyncio.TimerHandle | None = None

    def watch(self, feed: "Feed") -> "HeldFeed":
        """A context manager: while it is open, `feed` gets what changes."""
        return HeldFeed(self, feed)

    def add(self, feed: "Feed") -> None:
        feed.position = self._end
        self._feeds[feed] = None
        # Add for each feed: a hub that has been closed meanwhile then closes the feed.
        self._hub.add(None, self)

    def discard(self, feed: "Feed") -> None:
        del self._feeds[feed]
        if not self._feeds:
            self._hub.discard(None, self)
            self._log, self._writes = ChangeLog(), {}

    def offer(self, update: Update) -> None:
        held = self._log.get(update.task_id)
        if held is not None and not outranks(update, held[1][0]):
            return
        self._end += 1
        self._log.add(update.task_id, self._end, (update, self._hub.number))
        self._writes.clear()
        if self._round is None:
            self._round = asyncio.get_running_loop().call_later(GATHER, self._begin_round)

    def close(self) -> None:
        """End all present feeds; the hub may end later ones."""
        for feed in tuple(self._feeds):
            feed.close()

    def write_after(self, feed: "Feed") -> tuple[bytes, int]:
        """Return the next bytes for `feed`, about `BYTES_AT_ONCE`, and its position after them."""
        key = feed.position, feed.form
        found = self._writes.get(key)
        if found is None:
            frames, size, reached = list[bytes](), 0, feed.position
            for _, position, (update, number) in self._log.after(feed.position):
                frame = feed.frame(update, number)
                if frames and size + len(frame) > BYTES_AT_ONCE:
                    break
                frames.append(frame)
                size, reached = size + len(frame), position
            else:
                reached = self._end
            if len(self._writes) >= MOST_WRITES_KEPT:
                self._writes.clear()
            found = self._writes[key] = b"".join(frames), reached
        return found

    def has_changed(self, task_id: str, position: int) -> bool:
        """Whether a feed at `position` will get another update of the task."""
        held = self._log.get(task_id)
        return held is not None and held[0] > position

    def is_behind(self, position: int) -> bool:
        return position < self._end

    def _begin_round(self) -> None:
        self._round = None
        for feed in self._feeds:
            feed.wake()
        if self._tidying is None:
            self._tidying = asyncio.get_running_loop().call_later(TIDY_EVERY, self._tidy)

    def _tidy(self) -> None:
        """Drop changes that all feeds had got by the last `_tidy` already. Newer changes are kept a little
        longer, so that an older status that is published after them is recognised as old.
        """
        self._tidying = None
        self._writes.clear()
        self._log.drop_until(min([self._tidied, *(feed.position for feed in self._feeds)]))
        self._tidied = self._end
        if self._log:
            self._tidying = asyncio.get_running_loop().call_later(TIDY_EVERY, self._tidy)


FEEDS = web.AppKey("feeds of all tasks", TaskFeeds)


@dataclass(frozen=True, slots=True)
class HeldFeed:
    """The context manager of `TaskFeeds.watch`: a class, as a generator takes more memory."""

    feeds: TaskFeeds
    feed: "Feed"

    def __enter__(self) -> None:
        self.feeds.add(self.feed)

    def __exit__(self, *_: object) -> None:
        self.feeds.discard(self.feed)


class Feed(Subscriber):
    """One WebSocket that watches all tasks. It keeps its position in the log of changes, and unsent bytes."""

    __slots__ = ("_feeds", "_is_due", "_missed", "position")

    def __init__(self, request: web.Request) -> None:
        self._feeds = request.app[FEEDS]
        self._is_due = False
        self._missed: Iterator[Changed] | None = None
        self.position = 0
        super().__init__(request, self._feeds.flusher)

    @property
    def form(self) -> object:
        """Return the form of this feed's payloads: feeds of one form are written the same bytes."""
        return self._form if self._owner is None else (self._form, self._owner)

    def frame(self, update: Update, number: int) -> bytes:
        """Return the bytes to write for `update`; empty if this reader may not see the task."""
        if self._owner is not None and update.owner != self._owner:
            return b""
        if isinstance(update, Removed):
            return self._frame_of_removed(update.task_id, number)
        return self._frame_of_status(update, number)

    def _frame_of_removed(self, task_id: str, number: int) -> bytes:
        return text_frame(dumps({"task_id": task_id, "removed": True}))

    def _frame_of_status(self, status: TaskStatus, number: int) -> bytes:
        return self._encoder.shared(status, self._form).frame

    def begin_with(self, missed: Iterator[Changed]) -> None:
        """Write first what the client has `missed`: changes from before it opened the feed."""
        self._missed = missed

    def wake(self) -> None:
        if not self._is_due:
            self._is_due = True
            super().wake()

    def flush(self) -> None:
        self._is_due = False
        if self._state != "replaying":
            super().flush()
        elif self.closed:
            self.end(WSCloseCode.GOING_AWAY)

    def _begin(self) -> None:
        if self._state == "joining" and self._missed is not None:
            self._state = "replaying"
            self._catching_up = asyncio.create_task(self._replay(self._missed), name="replay of a feed")
        else:
            super()._begin()

    async def _replay(self, missed: Iterator[Changed]) -> None:
        """Read and write some statuses at a time, so that little is in memory for a client that does not
        read.
        """
        tasks = tasks_of(self._request)
        try:
            while some := list(islice(missed, READ_AT_ONCE)):
                removed = [task_id for task_id, _, is_removed in some if is_removed]
                owners = await tasks.owners(removed) if removed and self._owner is not None else {}
                known = {
                    status.task_id: status
                    for status in await tasks.statuses([task_id for task_id, _, _ in some])
                }
                for task_id, number, is_removed in some:
                    gone = Removed(task_id, owners.get(task_id)) if is_removed else None
                    update: Update | None = known.pop(task_id, gone)
                    # The log has what changed meanwhile; its statuses may be older than those just read.
                    if update is not None and not self._feeds.has_changed(task_id, self.position):
                        await self._write(self.frame(update, number))
                await asyncio.sleep(0)
            await self._end_replay()
        except ConnectionError:  # the client has disconnected
            return
        except (AppError, ChangesForgotten):
            self.end(WSCloseCode.GOING_AWAY)  # the client will reconnect
        if self._state == "replaying":
            self._state = "writing"
            self.wake()

    async def _end_replay(self) -> None:
        self._missed = None

    async def _write(self, data: bytes) -> None:
        if not data:
            return
        if self._transport.is_closing():
            raise ConnectionResetError("the client left")
        self._transport.write(data)
        if self._transport.get_write_buffer_size():
            await self._request.writer.drain()

    def _frames(self) -> bytes:
        frames, self.position = self._feeds.write_after(self)
        self._has_more = self._feeds.is_behind(self.position)
        return frames


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
        current = await tasks_of(request).status(task_id)
        await ws.prepare(request)
        form = payload_form(request, language(request))
        await ws.send_frame(request.app[ENCODER].encode(current, form).body, WSMsgType.TEXT)
        if current.stage.is_final:
            await ws.close()
            drop_tracebacks(ws.exception())
        else:
            subscriber.revision = current.revision
            await subscriber.serve(ws)
    return ws


async def watch_all(request: web.Request) -> web.WebSocketResponse:
    """A WebSocket for all tasks: sends the newest payload of each task that changes, and removals."""
    query = Query(request)
    since = query.seconds("since", CHANGES_KEPT_FOR)
    query.check()
    ws, feed = _socket(request), Feed(request)
    with counted(request), request.app[LOG_INS].hold(request, feed), request.app[FEEDS].watch(feed):
        # The feed is subscribed: no later change is lost, and no older status replaces a newer one.
        changed = request.app[HUB].changed_within(since or 0)
        if changed is None:
            feed.close()  # the client lists the tasks anew, and reconnects
        elif changed:
            feed.begin_with((task_id, 0, is_removed) for task_id, is_removed in changed.items())
        await ws.prepare(request)
        await feed.serve(ws)
    return ws


def counted(request: web.Request) -> HeldSocket:
    """Count the client's WebSocket while it is open. Raises `TooManyRequests`."""
    return request.app[CONNECTIONS].hold_socket(request.app[DOORS].client(request))


def drop_tracebacks(error: BaseException | None) -> None:
    """Drop the tracebacks of an error with which a WebSocket has ended, and of those that led to it.

    aiohttp keeps the error with the WebSocket, to which the traceback's frames refer: only the garbage
    collector would free the two, with the request and the connection, perhaps much later.
    """
    while error is not None:
        error.__traceback__ = None
        if error.__cause__ is not error.__context__:
            drop_tracebacks(error.__cause__)
        error = error.__context__


def keep_little(transport: asyncio.Transport) -> None:
    """Keep the write buffers small: an update that waits in its slot is replaced by a newer one, but one that
    waits in a buffer is outdated when a slow client reads it.
    """
    transport.set_write_buffer_limits(high=0)  # `drain` waits until the buffer is empty
    if hasattr(socket, "TCP_NOTSENT_LOWAT"):  # without it the kernel buffers megabytes
        transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, UNSENT)


def _socket(request: web.Request) -> web.WebSocketResponse:
    ws = web.WebSocketResponse(heartbeat=HEARTBEAT, timeout=CLOSE_WITHIN, max_msg_size=1024, compress=False)
    try:
        # RFC 9110, section 7.8: an `Upgrade` in HTTP/1.0 is ignored.
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
