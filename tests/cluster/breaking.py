"""A TCP proxy in front of the database, whose connections a test can break."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from urllib.parse import urlsplit


class Proxy:
    """The proxy. It calls `cut_before` and `cut_after` with what clients send; if one returns true, all
    connections break, before or after the data was passed on. Each round trip takes `delay` seconds longer.
    """

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        assert parts.hostname
        assert parts.port
        self._target = parts.hostname, parts.port
        self._parts = parts
        self._writers: set[asyncio.StreamWriter] = set()
        self.cut_before: Callable[[bytes], bool] = lambda _: False
        self.cut_after: Callable[[bytes], bool] = lambda _: False
        self.delay = 0.0
        self._hushed: set[asyncio.StreamWriter] = set()
        self._serving: set[asyncio.Task[None]] = set()
        self.url = url

    async def open(self) -> asyncio.Server:
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        self.url = self._parts._replace(netloc=f"{self._parts.username}@127.0.0.1:{port}").geturl()
        return server

    def cut(self) -> None:
        for writer in self._writers:
            writer.transport.abort()

    def hush(self) -> None:
        """Keep the existing connections open, but drop all further answers on them; new ones work."""
        self._hushed |= self._writers

    async def close(self) -> None:
        self.cut()
        if self._serving:
            await asyncio.wait(self._serving)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task
        self._serving.add(task)
        try:
            await self._pass_on(reader, writer)
        except OSError:  # the database cannot be reached
            writer.close()
        finally:
            self._serving.discard(task)

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, out = await asyncio.open_connection(*self._target)
        self._writers |= {writer, out}
        try:
            await asyncio.gather(self._forth(reader, out), self._back(there, writer))
        finally:
            for one in (writer, out):
                one.close()
                with suppress(OSError):
                    await one.wait_closed()
            self._writers -= {writer, out}

    async def _forth(self, reader: asyncio.StreamReader, out: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while sent := await reader.read(1 << 16):
                if self.delay:
                    await asyncio.sleep(self.delay)
                if self.cut_before(sent):
                    self.cut()
                    return
                if self.cut_after(sent):
                    out.write(sent)
                    await out.drain()
                    out.write_eof()
                    for writer in self._writers - {out}:
                        writer.transport.abort()
                    return
                out.write(sent)
                await out.drain()
        out.close()

    async def _back(self, there: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while answer := await there.read(1 << 16):
                if writer in self._hushed:
                    continue
                writer.write(answer)
                await writer.drain()
        writer.close()


@asynccontextmanager
async def proxied(url: str) -> AsyncIterator[Proxy]:
    proxy = Proxy(url)
    server = await proxy.open()
    try:
        yield proxy
    finally:
        server.close()
        await proxy.close()


def once(word: bytes) -> Callable[[bytes], bool]:
    """Return a predicate that is true once: for the first data that contains `word`."""
    seen: list[bytes] = []

    def found(sent: bytes) -> bool:
        if word in sent and not seen:
            seen.append(sent)
            return True
        return False

    return found
