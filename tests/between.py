"""Servers that stand between a client and a service for a test, and leave no connection to the next one.

The garbage collector would find a connection that outlived the event loop of its test, and another test would
be blamed for it.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any

HOST = "127.0.0.1"
Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def standing(serve: Serve, **how: Any) -> AsyncIterator[int]:
    """Yield the port of a server that calls `serve` for each connection; at the end close the server and all
    its connections.
    """
    serving: set[asyncio.Task[None]] = set()

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(_end(serve(reader, writer), writer))
        serving.add(task)
        task.add_done_callback(serving.discard)

    async with await asyncio.start_server(handle, HOST, 0, **how) as server:
        try:
            yield server.sockets[0].getsockname()[1]
        finally:
            server.close()
            for task in serving:
                task.cancel()
            await asyncio.gather(*serving, return_exceptions=True)


@asynccontextmanager
async def connected(port: int) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """Yield a connection to `port`; cut it at the end."""
    reader, writer = await asyncio.open_connection(HOST, port)
    try:
        yield reader, writer
    finally:
        await _cut(writer)


async def pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Copy all bytes from `reader` to `writer`, until the end of the stream."""
    with suppress(OSError):
        while some := await reader.read(65536):
            writer.write(some)
            await writer.drain()
    writer.close()


async def _end(serving: Awaitable[None], writer: asyncio.StreamWriter) -> None:
    try:
        await serving
        writer.close()
        with suppress(OSError):
            await writer.wait_closed()
    finally:
        await _cut(writer)


async def _cut(writer: asyncio.StreamWriter) -> None:
    writer.transport.abort()
    with suppress(OSError):
        await writer.wait_closed()
