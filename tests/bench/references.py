"""The references of the figures: the simplest program that does the same job.

`python -m tests.bench.references NAME ARGUMENT ...` runs one, until SIGTERM; it says where it listens.
"""

import asyncio
import itertools
import json
import signal
import socket
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import aiosqlite
from aiohttp import web

from tests.site import Site, open_site
from tests.site.followed import Film, Followed

FILMS_OF_A_CHANNEL = 15  # the feed of a channel has so many films, the newest ones


def constant(body_file: str, headers: str) -> None:
    """Run a bare handler that gives every request the same answer."""
    body, fields = Path(body_file).read_bytes(), json.loads(headers)

    async def answer(request: web.Request) -> web.Response:
        return web.Response(body=body, headers=fields)

    asyncio.run(serve(_app(web.get("/api/status/{task_id}", answer))))


def files(folder: str) -> None:
    """Run a bare handler that sends a `FileResponse`."""
    root = Path(folder)

    async def answer(request: web.Request) -> web.FileResponse:
        return web.FileResponse(root / request.match_info["name"])

    asyncio.run(serve(_app(web.get("/{name}", answer))))


def site(folder: str) -> None:
    """Run the tests' media site in a process of its own."""

    async def run() -> None:
        async with open_site(Path(folder)) as opened:
            await _until_stopped(opened.url(""))

    asyncio.run(run())


def channels(folder: str, count: str, seconds: str) -> None:
    """Run the tests' media site with `count` feeds; each `seconds` one of them in turn gets a new film.

    `/followed/channel<n>.rss` has the newest films of channel n.
    """

    async def publish(opened: Site) -> None:
        names = [f"channel{number}" for number in range(int(count))]
        for number in itertools.count():
            name = names[number % len(names)]
            films = opened.followed.setdefault(name, Followed(title=name, conditional=True)).films
            link = f"/video.mp4?signature={name}-{number}"
            films.insert(0, Film(str(number), f"Film {number} of {name}", link, at=time.time()))
            del films[FILMS_OF_A_CHANNEL:]
            opened.requests.clear()  # nobody reads these requests here, and they would use up memory
            if number >= len(names):
                await asyncio.sleep(float(seconds))

    async def run() -> None:
        async with open_site(Path(folder)) as opened:
            publishing = asyncio.create_task(publish(opened), name="publish")
            await _until_stopped(opened.url(""))
            publishing.cancel()
            await asyncio.wait([publishing])

    asyncio.run(run())


def insert(database: str) -> None:
    """Run a bare handler that inserts one row; rows that come together are committed together."""
    asyncio.run(serve(_inserting(database)))


def frames(frame_file: str, count: str) -> None:
    """Run a bare loop over raw sockets.

    Each byte on the first connection lets the loop write the frame to the `count` connections that come after
    it.
    """
    frame = Path(frame_file).read_bytes()
    with socket.create_server(("127.0.0.1", 0), backlog=4096) as server:
        _listening(f"http://127.0.0.1:{server.getsockname()[1]}")
        starter, _ = server.accept()
        readers = [server.accept()[0] for _ in range(int(count))]
        for reader in readers:
            reader.setblocking(False)
        starter.send(b"!")
        while starter.recv(1):
            for reader in readers:
                reader.send(frame)


def _app(*routes: web.AbstractRouteDef) -> web.Application:
    app = web.Application()
    app.add_routes(routes)
    return app


def _inserting(database: str) -> web.Application:
    waiting: list[tuple[tuple[str, str], asyncio.Future[None]]] = []
    wake = asyncio.Event()

    async def submit(request: web.Request) -> web.Response:
        body = await request.json()
        row = (str(uuid4()), json.dumps(body))
        saved = asyncio.get_running_loop().create_future()
        waiting.append((row, saved))
        wake.set()
        await saved
        text = json.dumps({"task_id": row[0], "status": "processing", "progress": 0, **body})
        return web.Response(text=text, status=202, content_type="application/json")

    async def write(db: aiosqlite.Connection) -> None:
        while True:
            await wake.wait()
            wake.clear()
            group, waiting[:] = waiting[:], []
            await db.execute_fetchall("BEGIN IMMEDIATE")
            await db.executemany("INSERT INTO tasks VALUES (?, ?)", [row for row, _ in group])
            await db.execute_fetchall("COMMIT")
            for _, saved in group:
                saved.set_result(None)

    @asynccontextmanager
    async def opened(app: web.Application) -> AsyncIterator[None]:
        async with aiosqlite.connect(database, isolation_level=None) as db:
            await db.execute_fetchall("PRAGMA journal_mode = WAL")
            await db.execute_fetchall("PRAGMA synchronous = FULL")
            await db.execute_fetchall("CREATE TABLE tasks (task_id TEXT PRIMARY KEY, body TEXT) STRICT")
            writer = asyncio.create_task(write(db), name="writer")
            yield
            writer.cancel()
            await asyncio.wait([writer])

    app = _app(web.post("/api/process", submit))
    app.cleanup_ctx.append(opened)
    return app


async def serve(app: web.Application) -> None:
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        await _until_stopped(f"http://127.0.0.1:{runner.addresses[0][1]}")
    finally:
        await runner.cleanup()


async def _until_stopped(url: str) -> None:
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    _listening(url)
    await stop.wait()


def _listening(url: str) -> None:
    print(f"listening on {url}", file=sys.stderr, flush=True)


REFERENCES: dict[str, Any] = {
    each.__name__: each for each in (constant, files, site, channels, insert, frames)
}

if __name__ == "__main__":
    REFERENCES[sys.argv[1]](*sys.argv[2:])
