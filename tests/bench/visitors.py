"""Clients of sockets and event streams that come, read for a while, and leave, in a worker process; see
`week`.
"""

import asyncio
import random
import time
from collections import Counter
from dataclasses import dataclass
from functools import partial

from tests.bench.http_load import get
from tests.bench.sockets import upgrade, watchers

STAY = 40.0  # mean seconds that a visitor stays
STREAMS = 0.2  # share of visitors that use event streams
RUDE = 0.5  # share of visitors that disconnect without closing
RETRY = 0.5  # seconds until the next try while the server is away
PING, PONG, CLOSE = 0x89, b"\x8a\x80\0\0\0\0", b"\x88\x82\0\0\0\0\x03\xe8"  # RFC 6455; 1000: all is well


@dataclass(frozen=True, slots=True)
class VisitorLoad:
    """The load: `count` visitors at any time, with these `tokens` of people, until `until` on the monotonic
    clock, which all processes of a machine share.
    """

    port: int
    tokens: tuple[str, ...]
    count: int
    until: float
    seed: int = 1


def visit(load: VisitorLoad) -> dict[str, int]:
    """Run the visitors; return how many came, by the first line of the answer or `refused`, and how many
    bytes they read.
    """
    return asyncio.run(_visit(load))


def first_messages(port: int, path: str, token: str, count: int) -> list[float]:
    """Connect `count` WebSockets in turn; return the seconds from the connection of each to its first
    message.
    """
    took, began = [], time.perf_counter()
    for watcher in watchers(port, path, count, Authorization=f"Bearer {token}"):
        took.append(time.perf_counter() - began)
        watcher.close()
        began = time.perf_counter()
    return took


async def _visit(load: VisitorLoad) -> dict[str, int]:
    seen: Counter[str] = Counter()
    chance = random.Random(load.seed)
    await asyncio.gather(*(_visit_in_turn(load, chance, seen) for _ in range(load.count)))
    return dict(seen)


async def _visit_in_turn(load: VisitorLoad, chance: random.Random, seen: Counter[str]) -> None:
    loop, tokens = asyncio.get_running_loop(), load.tokens
    # Not all visitors come at the same time.
    await asyncio.sleep(chance.uniform(0, min(STAY, (load.until - time.monotonic()) / 10)))
    while (left := load.until - time.monotonic()) > 0:
        headers = {"Authorization": f"Bearer {chance.choice(tokens)}"}
        is_stream = chance.random() < STREAMS
        ask = partial(get, "/api/events") if is_stream else partial(upgrade, "/ws")
        reader = _Reader(ask(load.port, **headers), seen, is_stream=is_stream)
        try:
            await loop.create_connection(partial(_as_it_is, reader), "127.0.0.1", load.port)
        except OSError:
            seen["refused"] += 1
            await asyncio.sleep(min(RETRY, left))
            continue
        await asyncio.wait([reader.lost], timeout=min(left, chance.expovariate(1 / STAY)))
        reader.leave(rudely=chance.random() < RUDE)
        await reader.lost


def _as_it_is(reader: "_Reader") -> "_Reader":
    return reader


class _Reader(asyncio.Protocol):
    """Reads all frames, and answers pings."""

    def __init__(self, request: bytes, seen: Counter[str], *, is_stream: bool) -> None:
        self._request = request
        self._seen = seen
        self._is_stream = is_stream
        self._buffer = b""
        self._is_open = False
        self._transport: asyncio.Transport | None = None
        self.lost: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        transport.write(self._request)

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.lost.done():
            self.lost.set_result(None)

    def data_received(self, data: bytes) -> None:
        self._seen["bytes"] += len(data)
        if self._is_open and self._is_stream:
            return
        self._buffer += data
        if not self._is_open:
            head, end, rest = self._buffer.partition(b"\r\n\r\n")
            if not end:
                return
            self._seen[head.partition(b"\r\n")[0].decode()] += 1
            self._is_open, self._buffer = True, rest
        if not self._is_stream:
            self._read_frames()

    def _read_frames(self) -> None:
        while len(self._buffer) >= 2:
            size, begin = self._buffer[1] & 127, 2
            if size >= 126:
                begin = 4 if size == 126 else 10
                size = int.from_bytes(self._buffer[2:begin], "big")
            if len(self._buffer) < begin + size:
                return
            if self._buffer[0] == PING and self._transport:
                self._transport.write(PONG)
            self._buffer = self._buffer[begin + size :]

    def leave(self, *, rudely: bool) -> None:
        transport = self._transport
        if transport is None or transport.is_closing():
            return
        if rudely or self._is_stream:
            transport.abort()
        else:
            transport.write(CLOSE)
            transport.close()
