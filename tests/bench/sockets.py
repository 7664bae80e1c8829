"""Thousands of WebSocket readers in one worker process; see `fanout`.

It uses plain sockets and epoll: a program that measures a server must need less time for a message than the
server.
"""

import select
import socket
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from tests.bench.http_load import get, post
from tests.bench.programs import cpu_of

PATIENCE = 60.0  # seconds that a round may take
_KEY = "dGhlIHNhbXBsZSBub25jZQ=="  # the example key of RFC 6455


@dataclass(frozen=True, slots=True)
class FanOut:
    """The result of a fan-out: for each change, the seconds from its request to the first and to the last
    delivery; then the cost.
    """

    first: list[float]
    last: list[float]
    cpu: float  # seconds of the server for one delivery


class Readers:
    """Reads `count` connections; `wait` returns when each has received one more whole message."""

    def __init__(self, sockets: list[socket.socket]) -> None:
        self.sockets = sockets
        self._epoll = select.epoll()
        self._by_fd = {each.fileno(): each for each in sockets}
        for each in sockets:
            each.setblocking(False)
            self._epoll.register(each.fileno(), select.EPOLLIN)

    def wait(self, size: int | None = None) -> tuple[float, float]:
        """Return when the first and the last connection had a message, on the performance counter.

        Messages are frames or, if `size` is given, of `size` bytes.
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

    def close(self) -> None:
        self._epoll.close()
        for each in self.sockets:
            each.close()


def fan_out(port: int, pid: int, task_id: str, count: int, rounds: int) -> FanOut:
    """Change one task `rounds` times while `count` sockets watch it."""
    readers = Readers(list(watchers(port, f"/ws/{task_id}", count)))
    changes = _changes(port, task_id)
    try:
        _times(readers, changes, 2)
        cpu = cpu_of(pid)
        firsts, lasts = _times(readers, changes, rounds)
        cpu = cpu_of(pid) - cpu
    finally:
        readers.close()
    return FanOut(firsts, lasts, cpu / count / rounds)


def raw(port: int, pid: int, count: int, size: int, rounds: int) -> FanOut:
    """Measure the same fan-out with the bare loop."""
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
    return FanOut(firsts, lasts, cpu / count / rounds)


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
    """Yield functions. Each step begins a change of the task's priority; the function that it yields waits
    for the answer.
    """
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


def upgrade(path: str, port: int, **headers: str) -> bytes:
    """Return the request for a WebSocket."""
    asked = {"Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13"}
    return get(path, port, **asked, **{"Sec-WebSocket-Key": _KEY}, **headers)


def watchers(port: int, path: str, count: int, **headers: str) -> Iterator[socket.socket]:
    """Return connected WebSockets that have read their first message."""
    request = upgrade(path, port, **headers)
    for _ in range(count):
        watcher = _connect(port)
        watcher.send(request)
        _read_answer(watcher)
        data = b""
        while len(data) < _frame_size(data):
            data += watcher.recv(4096)
        yield watcher


def _read_answer(watcher: socket.socket) -> None:
    """Read the headers to their last byte and no further, as messages follow at once."""
    while (end := watcher.recv(4096, socket.MSG_PEEK).find(b"\r\n\r\n")) < 0:
        pass
    head = watcher.recv(end + 4)
    assert head.startswith(b"HTTP/1.1 101"), head


def _connect(port: int) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), PATIENCE)


def _frame_size(data: bytes) -> int:
    """Return the size of the frame that begins here, with its head (RFC 6455, 5.2); more than there is if it
    is not known yet.
    """
    if len(data) < 4:
        return len(data) + 1
    size = data[1] & 127
    if size < 126:
        return size + 2
    assert size == 126, "longer than any payload"
    return int.from_bytes(data[2:4], "big") + 4
