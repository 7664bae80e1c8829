"""What nodes that have nothing to do ask of the database."""

import asyncio
import json
import re
import time
from collections import Counter
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from tests.cluster.postgres import CARELESS, own_postgres
from tests.service import Service

TOLD = ("-c", "log_statement=all", "-c", "log_min_messages=log", "-c", "log_line_prefix=")
STATEMENT = re.compile(r"^LOG:  (?:statement|execute [^:]*): +(.*)$", re.MULTILINE)
MOST = 8  # statements a second
SECONDS = 40  # twice the time between chores


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
        await asyncio.sleep(5)  # until they have started
        before, began = len(server.log()), time.monotonic()
        await asyncio.sleep(SECONDS)
        asked = STATEMENT.findall(server.log()[before:])
        a_second = len(asked) / (time.monotonic() - began)
    what = Counter(" ".join(statement.split())[:70] for statement in asked)
    table = "\n".join(f"{count:4} {statement}" for statement, count in what.most_common())
    print(f"{a_second:.2f} statements a second\n{table}")
    assert a_second <= MOST, table
