"""A relay between page and server whose connections can go dead without a close, as at a proxy that has
forgotten them.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from tests.between import pass_on


class Relay:
    """The relay: clients connect to its `url` instead of the server. It holds the bytes of frozen
    connections.
    """

    def __init__(self, target: str) -> None:
        self._host, self._port = target.removeprefix("http://").rstrip("/").split(":")
        self._pumps: set[asyncio.Task[None]] = set()
        self._writers: list[asyncio.StreamWriter] = []
        self.url = ""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        answers, requests = await asyncio.open_connection(self._host, int(self._port))
        self._writers += [writer, requests]
        for source, target in ((reader, requests), (answers, writer)):
            pump = asyncio.create_task(pass_on(source, target))
            self._pumps.add(pump)
            pump.add_done_callback(self._pumps.discard)

    async def freeze(self) -> None:
        """Hold the bytes of all present connections, which stay open at both ends; new connections work."""
        for pump in tuple(self._pumps):
            pump.cancel()
        await asyncio.gather(*self._pumps, return_exceptions=True)

    async def close(self) -> None:
        await self.freeze()
        for writer in self._writers:
            writer.close()


@asynccontextmanager
async def open_relay(target: str) -> AsyncIterator[Relay]:
    relay = Relay(target)
    async with await asyncio.start_server(relay.serve, "127.0.0.1", 0) as server:
        relay.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
        try:
            yield relay
        finally:
            await relay.close()
