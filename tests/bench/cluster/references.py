"""The barest programs that do the same on PostgreSQL, driven alike: aiohttp and psycopg.

`python -m tests.bench.cluster.references NAME URL` runs one; see `tests.bench.references`.
"""

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from uuid import uuid4

from aiohttp import web
from psycopg_pool import AsyncConnectionPool

from tests.bench.references import serve

SUBMITTERS, READERS = 32, 8  # connections
TABLE = "CREATE TABLE IF NOT EXISTS bare (task_id text PRIMARY KEY, body text NOT NULL)"
_INSERT = b"INSERT INTO bare VALUES (%s, %s)"
_DEFER = b"""
    SELECT procrastinate_defer_jobs_v1(ARRAY[ROW(
        'bare', 'bare', 0, %s, NULL, %s, NULL)]::procrastinate_job_to_defer_v1[])"""
_SELECT = b"SELECT status FROM tasks WHERE task_id = %s"


def submit(url: str) -> None:
    """One transaction a request: a row and its job."""

    async def answer(request: web.Request) -> web.Response:
        body = await request.json()
        task_id = str(uuid4())
        async with request.app[POOL].connection() as db, db.transaction():
            await db.execute(_INSERT, (task_id, json.dumps(body)))
            await db.execute(_DEFER, (task_id, json.dumps({"task_id": task_id})))
        text = json.dumps({"task_id": task_id, "status": "processing", "progress": 0, **body})
        return web.Response(text=text, status=202, content_type="application/json")

    asyncio.run(serve(_app(url, SUBMITTERS, web.post("/api/process", answer))))


def status(url: str) -> None:
    """One `SELECT` a request."""

    async def answer(request: web.Request) -> web.Response:
        async with request.app[POOL].connection() as db:
            row = await (await db.execute(_SELECT, (request.match_info["task_id"],))).fetchone()
        assert row
        return web.Response(text=row[0], content_type="application/json")

    asyncio.run(serve(_app(url, READERS, web.get("/api/status/{task_id}", answer))))


POOL: web.AppKey[AsyncConnectionPool] = web.AppKey("pool", AsyncConnectionPool)


def _app(url: str, connections: int, route: web.RouteDef) -> web.Application:
    @asynccontextmanager
    async def opened(app: web.Application) -> AsyncIterator[None]:
        settings = {"autocommit": True}
        pool = AsyncConnectionPool(
            url, min_size=connections, max_size=connections, kwargs=settings, open=False
        )
        async with pool:
            async with pool.connection() as db:
                await db.execute(TABLE)
            await pool.wait()
            app[POOL] = pool
            yield

    app = web.Application()
    app.cleanup_ctx.append(opened)
    app.add_routes([route])
    return app


REFERENCES: dict[str, Any] = {each.__name__: each for each in (submit, status)}

if __name__ == "__main__":
    REFERENCES[sys.argv[1]](*sys.argv[2:])
