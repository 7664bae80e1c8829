"""Which statements nodes without work send to the database."""

import asyncio
import json
import re
import time
from collections import Counter
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
from psycopg import AsyncConnection

from tests.cluster.postgres import CARELESS, own_postgres
from tests.service import Service

TOLD = ("-c", "log_statement=all", "-c", "log_min_messages=log", "-c", "log_line_prefix=")
STATEMENT = re.compile(r"^LOG:  (?:statement|execute [^:]*): +(.*)$", re.MULTILINE)
MOST = 6  # most statements a second
SECONDS = 40  # seconds of the test: twice the time between two chores
HEARTBEAT = 5  # seconds between heartbeats, by default
LATE = 10  # seconds until PostgreSQL shows the statistics of an idle session
WRITTEN = "SELECT relname, n_tup_ins + n_tup_upd + n_tup_del FROM pg_stat_user_tables"


@pytest.mark.long
async def test_a_web_node_and_two_workers_with_nothing_to_do_leave_the_database_alone(tmp_path: Path) -> None:
    async with AsyncExitStack() as stack:
        server = stack.enter_context(own_postgres(*CARELESS, *TOLD))
        for name, role in (("web", "web"), ("worker1", "worker"), ("worker2", "worker")):
            node = Service(
                tmp_path / name,
                CLIPWIRE_STORAGE__DATABASE=server.url,
                CLIPWIRE_STORAGE__DATA_DIR=str(tmp_path / "data"),
                CLIPWIRE_SERVER__ROLES=json.dumps([role]),
            )
            await stack.enter_async_context(node)
            await node.ready()
        await asyncio.sleep(5)  # the nodes' starts are over by then
        db = await stack.enter_async_context(await AsyncConnection.connect(server.url, autocommit=True))
        rows: dict[str, int] = dict(await (await db.execute(WRITTEN)).fetchall())
        before, began = len(server.log()), time.monotonic()
        await asyncio.sleep(SECONDS)
        asked = STATEMENT.findall(server.log()[before:])
        seconds = time.monotonic() - began
        written = {
            name: more
            for name, count in await (await db.execute(WRITTEN)).fetchall()
            if (more := count - rows.get(name, 0))
        }
    a_second, beats = len(asked) / seconds, (seconds + LATE) / HEARTBEAT + 1
    what = Counter(" ".join(statement.split())[:70] for statement in asked)
    table = "\n".join(f"{count:4} {statement}" for statement, count in what.most_common())
    print(f"{a_second:.2f} statements a second\n{table}")
    assert a_second <= MOST, table
    assert written.keys() == {"nodes", "procrastinate_workers"}, "only heartbeats are written"
    assert written["nodes"] <= 3 * beats
    assert written["procrastinate_workers"] <= 2 * beats
