"""Clients that are hard on a server, in worker processes that run until the file `end` exists; see
`overload`.

They use several addresses of the loopback network: one address would not have enough ports.
"""

import asyncio
import itertools
import os
import socket
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TypeVar

from tests.bench.http_load import get, post
from tests.bench.programs import LOAD_CORE
from tests.bench.sockets import upgrade

FIRST_ADDRESS, ADDRESSES = 2, 20  # 127.0.0.2 and so on
CONNECTING_AT_ONCE = 64
SMALL_BUFFER = 4096  # bytes that the kernel takes for a client that reads slowly
BYTE_EVERY = 1.0  # seconds between the bytes of a slow client
LOOK_EVERY = 0.1  # seconds between two looks for the file `end`
TOO_LATE = 30.0  # seconds without an answer, after which a request counts as failed
PING, PONG = 0x89, b"\x8a\x80\0\0\0\0"  # RFC 6455
T = TypeVar("T", bound=asyncio.Protocol)


@dataclass(frozen=True, slots=True)
class Target:
    """The server's port, and the file whose existence ends the load."""

    port: int
    end: Path


@dataclass(slots=True)
class LoadResult:
    """The answers to a load. `statuses` counts each status; 0 stands for a connection that broke off before
    an answer.
    """

    statuses: Counter[int] = field(default_factory=Counter)
    latencies: list[float] = field(default_factory=list)
    # These times do not include the wait for a free connection.
    answer_latencies: list[float] = field(default_factory=list)
    task_ids: list[str] = field(default_factory=list)
    without_retry_after: int = 0  # how many answers with 429 or 503 lacked the header
    seconds: float = 0.0
    longest_pause: float = 0.0  # seconds for which the load's own event loop stood still


def give_way() -> None:
    """Initialize a worker: it runs on the load's core, and gives way to the process that measures."""
    os.sched_setaffinity(0, {LOAD_CORE})
    os.nice(10)


def idle_sockets(target: Target, paths: tuple[str, ...], count: int) -> tuple[int, float]:
    """Hold `count` WebSockets that answer pings; return how many were left in the end, and the longest pause
    of the load's own event loop. The server closes a socket whose ping is not answered within 15 seconds.
    """
    return asyncio.run(_idle_sockets(target, paths, count))


async def _idle_sockets(target: Target, paths: tuple[str, ...], count: int) -> tuple[int, float]:
    wanted = iter(range(count))
    idle: list[_Idle] = []
    addresses = _addresses()

    async def connect() -> None:
        for number in wanted:
            request = upgrade(paths[number % len(paths)], target.port)
            _, each = await _connect(partial(_Idle, request), target.port, next(addresses))
            idle.append(each)
            await asyncio.wait([each.opened], timeout=TOO_LATE)

    await asyncio.gather(*(connect() for _ in range(CONNECTING_AT_ONCE)))
    longest_pause = await _ended(target)
    left = sum(each.is_open for each in idle)
    for each in idle:
        each.leave()
    await asyncio.sleep(0)
    return left, longest_pause


def newcomers(target: Target, path: str, rate: float) -> LoadResult:
    """Open `rate` connections each second, each of which sends one request and closes."""

    async def run() -> LoadResult:
        result, addresses, request = LoadResult(), _addresses(), get(path, target.port)

        async def come() -> None:
            answer = _Answer()
            began = time.perf_counter()
            try:
                transport, _ = await _connect(lambda: answer, target.port, next(addresses))
            except OSError:
                result.statuses[0] += 1
                return
            transport.write(request)
            await answer.wait()
            result.statuses[answer.status] += 1
            result.latencies.append(time.perf_counter() - began)
            transport.abort()

        await _at_a_rate(target, rate, come, result)
        return result

    return asyncio.run(run())


def submitters(target: Target, body: bytes, rate: float, connections: int) -> LoadResult:
    """Submit `rate` links each second over lasting connections. A submit that waits for a free connection is
    measured from the time when it was due.
    """

    async def run() -> LoadResult:
        result, addresses = LoadResult(), _addresses()
        free: asyncio.Queue[tuple[asyncio.Transport, _Answer]] = asyncio.Queue()
        request = post("/api/process", target.port, body)
        for _ in range(connections):
            free.put_nowait(await _connect(_Answer, target.port, next(addresses)))

        async def submit() -> None:
            began = time.perf_counter()
            transport, answer = await free.get()
            sent = time.perf_counter()
            transport.write(request)
            await answer.wait()
            answered = time.perf_counter()
            result.latencies.append(answered - began)
            result.answer_latencies.append(answered - sent)
            result.statuses[answer.status] += 1
            if answer.status == 202:
                result.task_ids.append(answer.task_id)
            elif answer.status in (429, 503):
                result.without_retry_after += b"\r\nretry-after:" not in answer.text.lower()
            if not answer.status or transport.is_closing():
                transport.abort()
                transport, answer = await _connect(_Answer, target.port, next(addresses))
            answer.reset()
            free.put_nowait((transport, answer))

        await _at_a_rate(target, rate, submit, result)
        while not free.empty():
            free.get_nowait()[0].abort()
        return result

    return asyncio.run(run())


def slow_ones(target: Target, file: str, count: int) -> dict[str, int]:
    """Run slow clients, `count` of each kind: those that read a file, that read all changes, that send a
    head, or that send a body, each one byte a second. A client that is cut off comes again; return how often
    each kind came and was cut off.
    """

    async def run() -> dict[str, int]:
        seen: Counter[str] = Counter()
        head = get("/api/queue", target.port)
        long_body = post("/api/process", target.port, b" " * 4096)
        body_begins = long_body.index(b"\r\n\r\n") + 4
        kinds: tuple[tuple[str, bytes, bytes], ...] = (
            ("reads a file", get(file, target.port), b""),
            ("reads changes", upgrade("/ws", target.port), b""),
            ("sends a head", head[:1], head[1:] * 100),
            ("sends a body", long_body[:body_begins], long_body[body_begins:]),
        )
        slow = [
            asyncio.create_task(_slow(target, address, *kind, seen), name=kind[0])
            for kind in kinds
            for address in itertools.islice(_addresses(), count)
        ]
        await _ended(target)
        for each in slow:
            each.cancel()
        await asyncio.gather(*slow, return_exceptions=True)
        return dict(seen)

    return asyncio.run(run())


async def _slow(
    target: Target, address: str, kind: str, first: bytes, then: bytes, seen: Counter[str]
) -> None:
    """Send `first`; then, each `BYTE_EVERY` seconds, send a byte of `then` or read one."""
    loop = asyncio.get_running_loop()
    while True:
        with socket.socket() as client:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, SMALL_BUFFER)
            client.bind((address, 0))
            client.setblocking(False)
            await loop.sock_connect(client, ("127.0.0.1", target.port))
            await loop.sock_sendall(client, first)
            seen[kind] += 1
            try:
                if then:
                    for byte in then:
                        await loop.sock_sendall(client, bytes([byte]))
                        await asyncio.sleep(BYTE_EVERY)
                else:
                    while await loop.sock_recv(client, 1):
                        await asyncio.sleep(BYTE_EVERY)
            except ConnectionError:
                pass
            seen[f"{kind}: cut off"] += 1


async def _at_a_rate(
    target: Target, rate: float, begin: Callable[[], Awaitable[None]], result: LoadResult
) -> None:
    """Begin `rate` calls a second until the end, then wait for those that are under way."""
    under_way: set[asyncio.Future[None]] = set()
    ended = asyncio.create_task(_ended(target), name="end")
    began, count = time.perf_counter(), 0
    while not ended.done():
        while count < (time.perf_counter() - began) * rate:
            task = asyncio.ensure_future(begin())
            under_way.add(task)
            task.add_done_callback(under_way.discard)
            count += 1
        await asyncio.sleep(1 / rate)
    result.seconds, result.longest_pause = time.perf_counter() - began, ended.result()
    if under_way:
        await asyncio.wait(under_way, timeout=TOO_LATE)


async def _ended(target: Target) -> float:
    """Wait for the end; return the longest time for which the event loop stood still meanwhile."""
    longest_pause = 0.0
    while not target.end.exists():  # another process creates the file
        due = time.perf_counter() + LOOK_EVERY
        await asyncio.sleep(LOOK_EVERY)
        longest_pause = max(longest_pause, time.perf_counter() - due)
    return longest_pause


def _addresses() -> Iterator[str]:
    return itertools.cycle(f"127.0.0.{FIRST_ADDRESS + number}" for number in range(ADDRESSES))


async def _connect(make: Callable[[], T], port: int, address: str) -> tuple[asyncio.Transport, T]:
    loop = asyncio.get_running_loop()
    return await loop.create_connection(make, "127.0.0.1", port, local_addr=(address, 0))


class _Idle(asyncio.Protocol):
    """A WebSocket of a client that only answers pings."""

    def __init__(self, request: bytes) -> None:
        self._request = request
        self.is_open = False
        self.opened: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        if not self.opened.done():
            self.is_open = data.startswith(b"HTTP/1.1 101")
            self.opened.set_result(None)
        elif data[0] == PING:
            self._transport.write(PONG)

    def connection_lost(self, exc: Exception | None) -> None:
        self.is_open = False
        if not self.opened.done():
            self.opened.set_result(None)

    def leave(self) -> None:
        self._transport.abort()


class _Answer(asyncio.Protocol):
    """Reads one answer with a `Content-Length`."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        self.text = b""
        self._whole: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    @property
    def status(self) -> int:
        return int(self.text[9:12]) if self._whole.done() and self.text else 0

    @property
    def task_id(self) -> str:
        return self.text.partition(b'"task_id":"')[2].partition(b'"')[0].decode()

    async def wait(self) -> None:
        await asyncio.wait([self._whole], timeout=TOO_LATE)

    def data_received(self, data: bytes) -> None:
        self.text += data
        head, end, body = self.text.partition(b"\r\n\r\n")
        size = head.lower().partition(b"\r\ncontent-length:")[2].partition(b"\r\n")[0]
        if end and len(body) >= int(size or 0) and not self._whole.done():
            self._whole.set_result(None)

    def connection_lost(self, exc: Exception | None) -> None:
        if not self._whole.done():
            self.text = b""
            self._whole.set_result(None)
