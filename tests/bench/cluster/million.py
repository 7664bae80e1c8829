"""A million finished tasks in PostgreSQL, against a thousand: pages, status and searches over HTTP."""

import time
from contextlib import ExitStack
from datetime import UTC, datetime

import psycopg

from server.storage.postgresql.migrations import migrate, released_scripts
from tests.bench.cluster.stage import node, postgres
from tests.bench.figures import Figure, middle
from tests.bench.lab import Lab
from tests.bench.million import FEW, MANY, QUESTIONS, Side, asked, search
from tests.bench.rows import COLUMNS, HOST, rows

# The last but one is one that only the 100,000 oldest of a million hold.
TEXTS = (
    "river", "no0999123", "视频", "channel 7", "channel 7\nhttps", "zzzzzz", "qz", "x", "🎬", ".*",
    "/watch/no09", "电影",
)  # fmt: skip
OLD = "no00"
_INDEX = "tasks_grams"


async def cluster_million(lab: Lab) -> list[Figure]:
    many, few = lab.count(MANY, 2000), lab.count(FEW, 200)
    with ExitStack() as stack:
        urls = [stack.enter_context(postgres()) for _ in range(2)]
        began = time.monotonic()
        for url, count in zip(urls, (many, few), strict=True):
            await _fill(url, count)
        filled = time.monotonic() - began
        folders = [lab.new_folder(f"cluster-tasks-{count}") for count in (many, few)]
        large, small = (node(folder / "web", url, "web") for folder, url in zip(folders, urls, strict=True))
        async with large, small:
            sides = Side(large, many), Side(small, few)
            what = f"{many:,} finished tasks in PostgreSQL"
            figures = [Figure(f"{what}: filled", filled, "s")]
            for name, paths in QUESTIONS.items():
                times = [middle(await asked(lab, side, paths)) * 1e3 for side in sides]
                figures.append(Figure(f"{what}: {name}", times[0], "ms", times[1], at_most=2))
            searches = {text: middle(await asked(lab, sides[0], search(text))) * 1e3 for text in TEXTS}
            slowest = max(searches, key=searches.__getitem__)
            old = middle(await asked(lab, sides[0], search(OLD))) * 1e3
            return [
                *figures,
                Figure(f"{what}: the slowest of {len(TEXTS)} searches ({slowest!r})", searches[slowest], "ms",
                       at_most=400),
                Figure(f"{what}: a search for what only 100,000 old ones hold", old, "ms", at_most=2000),
            ]  # fmt: skip


async def _fill(url: str, count: int) -> None:
    """As the store would have written them; the index of texts is made in one go."""
    async with await psycopg.AsyncConnection.connect(url, autocommit=True) as db:
        await migrate(db, released_scripts())
        [[made]] = await (
            await db.execute("SELECT indexdef FROM pg_indexes WHERE indexname = %s", (_INDEX,))
        ).fetchall()
        await db.execute(f"DROP INDEX {_INDEX}".encode())
        copy = f"COPY tasks (host, {COLUMNS}) FROM STDIN"
        async with db.cursor() as cursor, cursor.copy(copy.encode()) as target:
            for *values, ended in rows(count):
                assert isinstance(ended, int)
                await target.write_row((HOST, *values, datetime.fromtimestamp(ended, UTC)))
        await db.execute(b"SET maintenance_work_mem = '512MB'")
        await db.execute(made.encode())
        await db.execute(b"VACUUM ANALYZE tasks")
