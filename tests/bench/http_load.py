"""HTTP requests as fast as a server takes them. Runs in a process of its own; see `Lab.load`.

aiohttp's client would need more time for a request than the server does. This client sends prepared bytes,
and looks only for the end of each answer.
"""

import asyncio
import re
import time
from collections import Counter
from dataclasses import dataclass
from itertools import repeat

_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Load:
    """The requests of a load. Each is sent once, over `connections` at a time; a single request is sent again
    and again.

    `until` ends the load: after so many answers, or so many seconds.
    """

    port: int
    requests: tuple[bytes, ...]
    connections: int
    answers: int | None = None
    seconds: float | None = None
    pause: float = 0.0  # seconds between an answer and the next request of a connection


@dataclass(frozen=True, slots=True)
class Outcome:
    seconds: float
    latencies: list[float]
    statuses: dict[int, int]
    bytes: int

    @property
    def per_second(self) -> float:
        return len(self.latencies) / self.seconds


def get(path: str, port: int, **headers: str) -> bytes:
    return _request("GET", path, port, headers)


def post(path: str, port: int, body: bytes, method: str = "POST", **headers: str) -> bytes:
    headers |= {"Content-Type": "application/json", "Content-Length": str(len(body))}
    return _request(method, path, port, headers) + body


def _request(method: str, path: str, port: int, headers: dict[str, str]) -> bytes:
    lines = [f"{method} {path} HTTP/1.1", f"Host: 127.0.0.1:{port}", "Accept: */*"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode()


def run(load: Load) -> Outcome:
    return asyncio.run(_run(load))


async def _run(load: Load) -> Outcome:
    work = _Work(load)
    loop = asyncio.get_running_loop()
    connections = [
        await loop.create_connection(lambda: _Connection(work), "127.0.0.1", load.port)
        for _ in range(load.connections)
    ]
    began = time.perf_counter()
    for _, connection in connections:
        connection.begin()
    if load.seconds:
        loop.call_later(load.seconds, work.stop)
    await work.done
    seconds = time.perf_counter() - began
    for transport, _ in connections:
        transport.abort()
    return Outcome(seconds, work.latencies, dict(work.statuses), work.bytes)


class _Work:
    """The requests still to be sent, and the results so far."""

    def __init__(self, load: Load) -> None:
        self.requests = repeat(load.requests[0]) if len(load.requests) == 1 else iter(load.requests)
        self.wanted = load.answers or (len(load.requests) if len(load.requests) > 1 else None)
        self.pause = load.pause
        self.latencies: list[float] = []
        self.statuses: Counter[int] = Counter()
        self.bytes = 0
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def answered(self, latency: float, status: int, size: int) -> None:
        self.latencies.append(latency)
        self.statuses[status] += 1
        self.bytes += size
        if len(self.latencies) == self.wanted:
            self.stop()

    def stop(self) -> None:
        if not self.done.done():
            self.done.set_result(None)

    def fail(self, why: str) -> None:
        if not self.done.done():
            self.done.set_exception(ConnectionError(why))


class _Connection(asyncio.Protocol):
    def __init__(self, work: _Work) -> None:
        self._work = work
        self._head = b""
        self._missing = 0  # bytes of the body that are still missing, once the headers are there
        self._size = 0
        self._sent = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def connection_lost(self, exc: Exception | None) -> None:
        self._work.fail(f"the server closed a connection: {exc}")

    def begin(self) -> None:
        request = next(self._work.requests, None)
        if request and not self._work.done.done():
            self._sent = time.perf_counter()
            self._transport.write(request)

    def data_received(self, data: bytes) -> None:
        if self._missing:
            self._take(len(data))
            return
        self._head += data
        end = self._head.find(b"\r\n\r\n")
        if end >= 0:
            found = _LENGTH.search(self._head, 0, end + 2)
            self._size = self._missing = end + 4 + (int(found[1]) if found else 0)
            self._take(len(self._head))

    def _take(self, count: int) -> None:
        self._missing -= count
        if self._missing > 0:
            return
        status, self._head, self._missing = int(self._head[9:12]), b"", 0
        self._work.answered(time.perf_counter() - self._sent, status, self._size)
        if self._work.pause:
            asyncio.get_running_loop().call_later(self._work.pause, self.begin)
        else:
            self.begin()
