"""How many downloads begin beyond the limits where clients start them on several nodes at once."""

import asyncio
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from server.cluster.shared_turns import open_turns
from server.core.errors import TooManyRunning
from server.core.events import Paused
from server.core.task import Stage
from server.tasks import service
from server.tasks.disk_space import Disk
from server.tasks.hub import Hub
from server.tasks.service import Tasks
from tests.cluster.node import Node, open_node, queue

WITHIN = 60  # seconds in which all tasks must have begun


async def tasks_of(stack: AsyncExitStack, node: Node, folder: Path) -> Tasks:
    turns = await stack.enter_async_context(open_turns(node.database.url))
    files, clock = object(), node.store.clock  # no file is used in this test
    disk = Disk(folder, 0)
    return Tasks(node.store, node.recorder, Hub(), node.dispatcher, turns, files, disk, clock)  # type: ignore[arg-type]


@pytest.mark.wide
async def test_of_many_that_are_started_at_once_on_two_nodes_four_times_their_limits_begin(
    clean_database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service, "LONGEST_START", 0)
    async with asyncio.timeout(WITHIN), AsyncExitStack() as stack:
        nodes = [await stack.enter_async_context(open_node(clean_database)) for _ in range(2)]
        web = [await tasks_of(stack, node, tmp_path) for node in nodes]
        await web[0].pause_queue()
        names = "abcdefghijkl"
        for name in names:
            await queue(nodes[0], name)
            await nodes[0].recorder.record(name, Paused())
        await web[0].resume_queue()
        while any(node.nodes.places < 2 for node in nodes):
            await asyncio.sleep(0.01)

        starts = (web[number % 2].start(name) for number, name in enumerate(names))
        outcomes = await asyncio.gather(*starts, return_exceptions=True)
        refused = {
            name for name, outcome in zip(names, outcomes, strict=True) if isinstance(outcome, TooManyRunning)
        }
        assert len(refused) == 4, outcomes
        while sum(len(node.attempts.running()) for node in nodes) < 8:
            await asyncio.sleep(0.01)
        assert [node.attempts.most[""] for node in nodes] == [4, 4], "no node runs more than its own share"
        for name in names:
            stage = (await nodes[0].store.get(name)).status.stage
            assert (stage is Stage.PAUSED) == (name in refused)
