"""Thousands of WebSocket readers in one worker process; see `fanout`.

Plain sockets and epoll: whoever measures a server must need less time for a message than it does.
"""

import select
import socket
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from tests.bench.http_load import get, post
from tests.bench.programs import cpu_of, memory_of

PATIENCE = 60.0  # seconds
_KEY = "dGhlIHNhbXBsZSBub25jZQ=="  # of RFC 6455
_ID = slice(len('{"task_id":"'), len('{"task_id":"') + 36)  # where a payload has it


@dataclass(frozen=True, slots=True)
class FanOut:
    """Seconds from the word to the first and to the last delivery, for each change; then the costs."""

    first: list[float]
    last: list[float]
    cpu: float  # seconds of the server for one delivery
    memory: float  # KiB of the server for one reader


@dataclass(frozen=True, slots=True)
class Feed:
    lags: list[float]  # seconds
    messages: int
    skipped: int
    seconds: float
    cpu: float  # of the server, in all


class Readers:
    """`count` connections that are read; `wait` returns when each has had a whole message more."""

    def __init__(self, sockets: list[socket.socket]) -> None:
        self.sockets = sockets
        self._epoll = select.epoll()
        self._by_fd = {each.fileno(): each for each in sockets}
        for each in sockets:
            each.setblocking(False)
            self._epoll.register(each.fileno(), select.EPOLLIN)

    def wait(self, size: int | None = None) -> tuple[float, float]:
        """When (on the performance counter) the first and the last of all had a message.

        Messages are frames, or, if it is given, of `size` bytes.
        """
        partial: dict[int, bytes] = {}
        missing, first = set(self._by_fd), 0.0
        deadline = time.perf_counter() + PATIENCE
        while missing:
            assert time.perf_counter() < deadline, f"{len(missing)} got no message"
            for fd, _ in self._epoll.poll(1.0):
                data = partial.pop(fd, b"") + self._by_fd[fd].recv(65536)
                if len(data) < (size or _frame_size(data)):
                    partial[fd] = data
                    continue
                first = first or time.perf_counter()
                missing.discard(fd)
        return first, time.perf_counter()

    def poll(self) -> Iterator[tuple[int, bytes]]:
        """What can be read now."""
        for fd, _ in self._epoll.poll(0.1):
            yield fd, self._by_fd[fd].recv(1 << 16)

    def answer_closes(self) -> None:
        """Behave as browsers do when the server says good-bye; return when all are closed."""
        deadline = time.perf_counter() + PATIENCE
        while self._by_fd and time.perf_counter() < deadline:
            for fd, data in list(self.poll()):
                if data[:1] == b"\x88":
                    self._by_fd[fd].send(b"\x88\x80\0\0\0\0")
                elif not data:
                    self._epoll.unregister(fd)
                    self._by_fd.pop(fd).close()
        self.close()

    def close(self) -> None:
        self._epoll.close()
        for each in self.sockets:
            each.close()


def fan_out(port: int, pid: int, task_id: str, count: int, rounds: int) -> FanOut:
    """Change one task `rounds` times while `count` sockets watch it."""
    before = memory_of(pid)
    readers = Readers(list(_watchers(port, f"/ws/{task_id}", count)))
    memory = (memory_of(pid) - before) * 1024 / count
    changes = _changes(port, task_id)
    try:
        _times(readers, changes, 2)
        cpu = cpu_of(pid)
        firsts, lasts = _times(readers, changes, rounds)
        cpu = cpu_of(pid) - cpu
    finally:
        readers.close()
    return FanOut(firsts, lasts, cpu / count / rounds, memory)


def beside_stuck(port: int, task_ids: list[str], count: int, stuck: int, rounds: int) -> list[list[float]]:
    """Seconds to the last delivery, for each change of either task: the second has `stuck` more sockets."""
    free, beside = (Readers(list(_watchers(port, f"/ws/{task_id}", count))) for task_id in task_ids)
    blocked = list(_watchers(port, f"/ws/{task_ids[1]}", stuck, window=4096))
    change_free, change_beside = (_changes(port, task_id) for task_id in task_ids)
    try:
        _times(beside, change_beside, rounds * 50)  # until nothing more goes into their sockets
        pairs = [
            (_times(free, change_free, 1)[1][0], _times(beside, change_beside, 1)[1][0])
            for _ in range(rounds)
        ]
    finally:
        for each in blocked:
            each.close()
        free.close()
        beside.close()
    return [list(times) for times in zip(*pairs, strict=True)]


def raw(port: int, pid: int, count: int, size: int, rounds: int) -> FanOut:
    """The same against the bare loop."""
    starter = _connect(port)
    readers = Readers([_connect(port) for _ in range(count)])
    firsts, lasts = [], []
    try:
        assert starter.recv(1)
        cpu = cpu_of(pid)
        for _ in range(rounds):
            began = time.perf_counter()
            starter.send(b"!")
            first, last = readers.wait(size)
            firsts.append(first - began)
            lasts.append(last - began)
        cpu = cpu_of(pid) - cpu
    finally:
        readers.close()
        starter.close()
    return FanOut(firsts, lasts, cpu / count / rounds, 0)


def feed(port: int, pid: int, count: int, seconds: float, period: float) -> Feed:
    """Read `/ws` with `count` sockets while tasks change each `period` and put the time into their bytes."""
    readers = Readers(list(_watchers(port, "/ws", count)))
    ears = {each.fileno(): _Ear(period) for each in readers.sockets}
    try:
        cpu, began = cpu_of(pid), time.perf_counter()
        while time.perf_counter() < began + seconds:
            for fd, data in readers.poll():
                ears[fd].hear(data)
        took, cpu = time.perf_counter() - began, cpu_of(pid) - cpu
    finally:
        readers.close()
    lags = [lag for ear in ears.values() for lag in ear.lags]
    skipped = sum(ear.skipped for ear in ears.values())
    return Feed(lags, len(lags) - skipped, skipped, took, cpu)


class _Ear:
    """What one reader of the feed has heard, and how late."""

    def __init__(self, period: float) -> None:
        self._period = period
        self._rest = b""
        self._revisions: dict[bytes, int] = {}
        self.lags: list[float] = []
        self.skipped = 0

    def hear(self, data: bytes) -> None:
        now, data, end = time.monotonic_ns(), self._rest + data, 0
        for start, end in _frames(data):
            message = data[start + 4 : end]
            if stamp := _number(message, b'"downloaded_bytes":'):
                self._note((now - stamp) / 1e9, message[_ID], _number(message, b'"revision":'))
        self._rest = data[end:]

    def _note(self, lag: float, task_id: bytes, revision: int) -> None:
        missed = revision - self._revisions.get(task_id, revision - 1) - 1
        self._revisions[task_id] = revision
        self.skipped += missed
        # What was skipped is superseded only now: it was late by the time since its own change.
        self.lags += [lag + self._period * late for late in range(missed + 1)]


def idle_readers(port: int, path: str, count: int) -> Readers:
    return Readers(list(_watchers(port, path, count)))


def come_and_go(port: int, path: str, count: int) -> int:
    """Open `count` sockets and close them; return how many there were."""
    readers = idle_readers(port, path, count)
    readers.close()
    return len(readers.sockets)


def _times(
    readers: Readers, changes: Iterator[Callable[[], None]], rounds: int
) -> tuple[list[float], list[float]]:
    firsts, lasts = [], []
    for _ in range(rounds):
        began = time.perf_counter()
        finish = next(changes)
        first, last = readers.wait()
        finish()
        firsts.append(first - began)
        lasts.append(last - began)
    return firsts, lasts


def _changes(port: int, task_id: str) -> Iterator[Callable[[], None]]:
    """Each step begins a change of the task's priority; what it gives waits for the answer."""
    connection = _connect(port)
    answered = True

    def finish() -> None:
        nonlocal answered
        if not answered:
            assert connection.recv(65536).startswith(b"HTTP/1.1 200")
            answered = True

    try:
        while True:
            for priority in (1, 2):
                finish()
                body = b'{"priority":%d}' % priority
                connection.send(post(f"/api/tasks/{task_id}", port, body, "PATCH"))
                answered = False
                yield finish
    finally:
        connection.close()


def _watchers(port: int, path: str, count: int, window: int | None = None) -> Iterator[socket.socket]:
    """Connected WebSockets that have read their first message, if the path has one."""
    upgrade = {"Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13"}
    request = get(path, port, **upgrade, **{"Sec-WebSocket-Key": _KEY})
    for _ in range(count):
        watcher = _connect(port, window)
        watcher.send(request)
        _read_answer(watcher)
        data = b""
        while path != "/ws" and len(data) < _frame_size(data):
            data += watcher.recv(4096)
        yield watcher


def _read_answer(watcher: socket.socket) -> None:
    """Not a byte more than the head: messages follow at once."""
    while (end := watcher.recv(4096, socket.MSG_PEEK).find(b"\r\n\r\n")) < 0:
        pass
    head = watcher.recv(end + 4)
    assert head.startswith(b"HTTP/1.1 101"), head


def _connect(port: int, window: int | None = None) -> socket.socket:
    connection = socket.socket()
    if window:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, window)
    connection.settimeout(PATIENCE)
    connection.connect(("127.0.0.1", port))
    return connection


def _number(message: bytes, name: bytes) -> int:
    """The whole number that has this name; 0 if there is none. Faster than a parser by far."""
    found = message.find(name)
    if found < 0:
        return 0
    return int(message[found + len(name) : message.index(b",", found)])


def _frame_size(data: bytes) -> int:
    """Of the frame that begins here, with its head (RFC 6455, 5.2); more than there is if not known yet."""
    if len(data) < 4:
        return len(data) + 1
    size = data[1] & 127
    if size < 126:
        return size + 2
    assert size == 126, "longer than any payload"
    return int.from_bytes(data[2:4], "big") + 4


def _frames(data: bytes) -> Iterator[tuple[int, int]]:
    """Begin and end of each whole frame."""
    start, end = 0, len(data)
    while end - start >= 4:
        size = data[start + 1] & 127
        stop = start + (size + 2 if size < 126 else int.from_bytes(data[start + 2 : start + 4], "big") + 4)
        if stop > end:
            return
        yield start, stop
        start = stop
