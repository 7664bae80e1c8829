"""The queue as a whole: counted, paused and resumed."""

import asyncio
from pathlib import Path

from server.api import keys
from server.core.events import Cancelled
from server.core.task import Stage
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
        assert await asked(server) == {"paused": False, "stages": NOTHING, "asking": 0}
        ids = [await server.submit() for _ in range(3)]
        await server.app[keys.TASKS]._recorder.record(ids[0], Cancelled())
        assert await asked(server) == {
            "paused": False,
            "stages": NOTHING | {"paused": 2, "cancelled": 1},
            "asking": 0,
        }


async def test_a_paused_queue_takes_tasks_and_begins_none_until_it_is_resumed(tmp_path: Path) -> None:
    async with inside(tmp_path) as server:
        assert (await asked(server, "/pause"))["paused"] is True
        waiting = await server.submit(auto_start=True)
        before = await server.status(waiting)
    async with inside(tmp_path) as server:
        assert await asked(server) == {"paused": True, "stages": NOTHING | {"queued": 1}, "asking": 0}
        assert await server.status(waiting) == before, "a pause changes no task, and a restart no pause"
        assert "waiting" not in before
        assert (await asked(server, "/resume"))["paused"] is False
        assert (await server.reached(waiting, "failed"))["attempt"] == 1


async def test_a_client_that_waits_learns_of_a_pause_and_a_resume_at_once(tmp_path: Path) -> None:
    async with asyncio.timeout(20), inside(tmp_path) as server:
        for known, action in (("false", "/pause"), ("true", "/resume")):
            waiting = asyncio.create_task(held(server, paused=known, wait="50"))
            await watched(server, 1)
            await server.submit()  # this changes the counts, but not the pause that the client waits for
            assert not waiting.done()
            assert await asked(server, action) == await waiting
        assert (await held(server, paused="true", wait="50"))["paused"] is False, "it was otherwise already"
        assert (await held(server, wait="50"))["paused"] is False, "nothing was said that could change"
        assert (await held(server, paused="false", wait="0.1"))["paused"] is False
        for wrong in ({"paused": "0"}, {"wait": "x", "paused": "true"}):
            async with server.client.get("/api/queue", params=wrong) as answer:
                assert answer.status == 422


async def test_a_wait_for_the_queue_ends_with_its_client_and_with_the_server(tmp_path: Path) -> None:
    async with asyncio.timeout(20), inside(tmp_path) as server:
        leaving = asyncio.create_task(held(server, paused="false", wait="50"))
        await watched(server, 1)
        leaving.cancel()
        await watched(server, 0)
        staying = asyncio.create_task(held(server, paused="false", wait="50"))
        await watched(server, 1)
        server.app[keys.HUB].close()
        assert (await staying)["paused"] is False


async def held(server: Inside, **query: str) -> dict[str, object]:
    async with server.client.get("/api/queue", params=query) as answer:
        assert answer.status == 200
        found: dict[str, object] = await answer.json()
        return found


async def watched(server: Inside, count: int) -> None:
    while len(server.app[keys.HUB]._of_queue) != count:
        await asyncio.sleep(0.01)


async def test_of_a_pause_and_a_resume_at_once_the_last_counts_here_and_after_a_restart(
    tmp_path: Path,
) -> None:
    async with inside(tmp_path) as server:
        wishes = ["/pause", "/resume"] * 10
        await asyncio.gather(*(asked(server, wish) for wish in wishes))
        paused = (await asked(server))["paused"]
    async with inside(tmp_path) as server:
        assert (await asked(server))["paused"] is paused
