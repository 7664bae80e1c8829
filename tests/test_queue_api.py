"""The queue as a whole: counted, paused and resumed."""

import asyncio
from pathlib import Path

from server.api import keys
from server.events import Cancelled
from server.models import Stage
from tests.inside import Inside, inside

NOTHING = dict.fromkeys((stage.value for stage in Stage), 0)


async def asked(server: Inside, action: str = "") -> dict[str, object]:
    method = "POST" if action else "GET"
    async with server.client.request(method, f"/api/queue{action}") as answer:
        assert answer.status == 200
        found: dict[str, object] = await answer.json()
        return found


async def test_the_queue_says_how_many_tasks_are_where(tmp_path: Path) -> None:
    async with inside(tmp_path) as server:
        assert await asked(server) == {"paused": False, "stages": NOTHING}
        ids = [await server.submit() for _ in range(3)]
        await server.app[keys.TASKS]._recorder.record(ids[0], Cancelled())
        assert await asked(server) == {"paused": False, "stages": NOTHING | {"paused": 2, "cancelled": 1}}


async def test_a_paused_queue_takes_tasks_and_begins_none_until_it_is_resumed(tmp_path: Path) -> None:
    async with inside(tmp_path) as server:
        assert (await asked(server, "/pause"))["paused"] is True
        waiting = await server.submit(auto_start=True)
        before = await server.status(waiting)
    async with inside(tmp_path) as server:
        assert await asked(server) == {"paused": True, "stages": NOTHING | {"queued": 1}}
        assert await server.status(waiting) == before, "a pause changes no task, and a restart no pause"
        assert "waiting" not in before
        assert (await asked(server, "/resume"))["paused"] is False
        assert (await server.reached(waiting, "failed"))["attempt"] == 1


async def test_of_a_pause_and_a_resume_at_once_the_last_counts_here_and_after_a_restart(
    tmp_path: Path,
) -> None:
    async with inside(tmp_path) as server:
        wishes = ["/pause", "/resume"] * 10
        await asyncio.gather(*(asked(server, wish) for wish in wishes))
        paused = (await asked(server))["paused"]
    async with inside(tmp_path) as server:
        assert (await asked(server))["paused"] is paused
