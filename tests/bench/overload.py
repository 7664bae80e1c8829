"""Many kinds of hard load at once: how long does a status take meanwhile, and what does the load leave
behind?

10,000 idle WebSockets, 200 new connections a second, clients that read or send a byte a second, and 1,000
submits a second for a minute. Their tasks are not begun (`auto_start`), since downloads on the same two cores
would hide what the server itself does. In the end each accepted task is asked for and then deleted, so that
the memory of the server is compared with the same tasks stored before and after.
"""

import asyncio
import json
import sys
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from typing import Any

import psutil  # type: ignore[import-untyped]

from tests.bench import noise
from tests.bench.client import NEVER, Client, client_of
from tests.bench.figures import Figure, middle, percentile
from tests.bench.hard_load import Target, give_way, idle_sockets, newcomers, slow_ones, submitters
from tests.bench.http_load import Load, get
from tests.bench.lab import BIG, Lab
from tests.bench.programs import PATIENCE, Clipwire
from tests.bench.starts import ready

IDLE, NEW_A_SECOND, SUBMITS_A_SECOND = 10_000, 200, 1_000
SLOW = 50  # clients of each slow kind
SECONDS, SECONDS_IDLE = 60, 20.0
WATCHED = 100  # tasks that the idle sockets watch
CONNECTIONS = 32  # connections of the clients that submit
STATUS_EVERY = 0.01  # seconds between two requests for a status
LONGER = 10.0  # how many times longer a status may take
KEPT = 1.1  # how many times the memory before may be used afterwards
ASKED_AT_ONCE, DELETED_AT_ONCE = 200, 500


async def overload(lab: Lab) -> list[Figure]:
    # The default limit of 10,000 waiting tasks would refuse most submits of the minute.
    settings = {"CLIPWIRE_DOWNLOADS__MAX_QUEUED": "100000"}
    async with lab.service("overload", **settings) as server, client_of(server) as client:
        await ready(client)
        server.pin()
        return await _Overload(lab, server, client).measure()


class _Overload:
    def __init__(self, lab: Lab, server: Clipwire, client: Client) -> None:
        self._lab = lab
        self._server = server
        self._client = client
        self._target = Target(server.port, lab.new_folder("load") / "end")
        self._film = ""  # the id of a finished task

    async def measure(self) -> list[Figure]:
        lab, server, client = self._lab, self._server, self._client
        process = psutil.Process(server.pid)
        self._film = await client.submit(f"{lab.site.url}/{BIG}")
        file = (await client.completed(self._film))["files"]["video"]
        watched = [await client.paused() for _ in range(lab.count(WATCHED, 2))]
        began = await asyncio.to_thread(noise.cpu_usage)
        idle = await self._status(lab.seconds(SECONDS_IDLE))
        memory, descriptors = server.memory(), process.num_fds()

        with ProcessPoolExecutor(4, get_context("spawn"), initializer=give_way) as workers:
            try:
                status, seen, memory_under_load = await self._load(workers, file, watched)
            finally:
                self._target.end.touch()
        new, submits, (sockets_left, pause) = seen["new"], seen["submits"], seen["idle"]
        pause = max(pause, new.longest_pause, submits.longest_pause)
        foreign = noise.foreign(began, await asyncio.to_thread(noise.cpu_usage))
        print(
            f"  submits {dict(submits.statuses)}, new {dict(new.statuses)}, slow {seen['slow']}\n"
            f"  status p99 {_p99(idle):.2f} ms idle, {_p99(status):.2f} under load; submit "
            f"p99 {_p99(submits.latencies):.1f} ms, {len(submits.latencies) / submits.seconds:.0f}/s; memory "
            f"{memory:.1f}, {memory_under_load:.1f} MiB; others had {foreign:.1%} of the CPU",
            file=sys.stderr, flush=True,
        )  # fmt: skip
        lost = await self._missing(submits.task_ids)
        await self._delete(submits.task_ids)
        await asyncio.sleep(lab.rest * 60)
        await self._left_alone(process, descriptors)
        refused = submits.statuses[429] + submits.statuses[503]
        broken = (
            submits.statuses + new.statuses - Counter({200: new.statuses[200], 202: submits.statuses[202]})
        )
        return [
            Figure("idle sockets that are left at the end", sockets_left, "", at_least=lab.count(IDLE, 20)),
            Figure("the longest pause of the load's own event loops", pause, "s", foreign=foreign),
            Figure("submits, accepted or refused", len(submits.latencies) / submits.seconds, "/s"),
            Figure("... submit to 202, once it was due: p99", _p99(submits.latencies), "ms", foreign=foreign),
            Figure("... once it was sent: p99", _p99(submits.answer_latencies), "ms", foreign=foreign),
            Figure("... refused with 429 or 503", refused, ""),
            Figure("... of those without Retry-After", submits.without_retry_after, "", at_most=0),
            Figure("new connections", len(new.latencies) / new.seconds, "/s"),
            Figure("... connection and status: p99", _p99(new.latencies), "ms", foreign=foreign),
            Figure("requests that got another answer, or none", broken.total() - refused, "", at_most=0),
            Figure("a status under load: p99", _p99(status), "ms", _p99(idle), LONGER, foreign=foreign),
            Figure("... median", middle(status) * 1e3, "ms", middle(idle) * 1e3, foreign=foreign),
            Figure("... longest", max(status) * 1e3, "ms", max(idle) * 1e3, foreign=foreign),
            Figure("accepted tasks that were lost", lost, "", at_most=0),
            Figure("memory under load", memory_under_load, "MiB", memory),
            Figure(f"memory {lab.rest:.3g} minutes later", server.memory(), "MiB", memory, at_most=KEPT),
            Figure("descriptors", process.num_fds(), "", descriptors, at_most=1.0),
            Figure("errors, tracebacks and warnings in the log", len(server.complaints), "", at_most=0),
        ]  # fmt: skip

    async def _load(
        self, workers: ProcessPoolExecutor, file: str, watched: list[str]
    ) -> tuple[list[float], dict[str, Any], float]:
        """Run the load; return the latencies of a status meanwhile, the results of each worker, and the
        memory at the end.
        """
        loop, lab, target = asyncio.get_running_loop(), self._lab, self._target
        count, paths = lab.count(IDLE, 20), tuple(f"/ws/{task_id}" for task_id in watched)
        status, body = f"/api/status/{self._film}", json.dumps(NEVER).encode()
        running: dict[str, asyncio.Future[Any]]
        running = {"idle": loop.run_in_executor(workers, idle_sockets, target, paths, count)}
        async with asyncio.timeout(4 * PATIENCE):
            while await self._open_sockets() < count:
                await asyncio.sleep(0.2)
        rates = lab.count(NEW_A_SECOND, 20), lab.count(SUBMITS_A_SECOND, 50)
        running |= {
            "new": loop.run_in_executor(workers, newcomers, target, status, rates[0]),
            "submits": loop.run_in_executor(workers, submitters, target, body, rates[1], CONNECTIONS),
            "slow": loop.run_in_executor(workers, slow_ones, target, file, lab.count(SLOW, 1)),
        }  # fmt: skip
        latencies = await self._status(lab.count(SECONDS, 2))
        memory = await asyncio.to_thread(self._server.memory)
        target.end.touch()
        return latencies, {name: await each for name, each in running.items()}, memory

    async def _status(self, seconds: float) -> list[float]:
        request = get(f"/api/status/{self._film}", self._server.port)
        load = Load(self._server.port, (request,), 1, seconds=seconds, pause=STATUS_EVERY)
        outcome = await self._lab.load(load)
        assert set(outcome.statuses) == {200}, outcome.statuses
        return outcome.latencies

    async def _open_sockets(self) -> int:
        async with self._client.session.get("/metrics") as answer:
            text = await answer.text()
        return int(float(text.partition("\nclipwire_sockets ")[2].partition("\n")[0]))

    async def _missing(self, task_ids: list[str]) -> int:
        found = 0
        for begin in range(0, len(task_ids), ASKED_AT_ONCE):
            ids = ",".join(task_ids[begin : begin + ASKED_AT_ONCE])
            found += len((await self._client.get(f"/api/tasks?ids={ids}"))["tasks"])
        return len(task_ids) - found

    async def _delete(self, task_ids: list[str]) -> None:
        for begin in range(0, len(task_ids), DELETED_AT_ONCE):
            body = {"action": "delete", "ids": task_ids[begin : begin + DELETED_AT_ONCE]}
            async with self._client.session.post("/api/tasks/actions", json=body) as answer:
                assert answer.status == 200, await answer.text()

    async def _left_alone(self, process: psutil.Process, descriptors: int) -> None:
        """Wait for the ends of connections, which take a moment."""
        for _ in range(100):
            if process.num_fds() <= descriptors:
                return
            await asyncio.sleep(0.1)


def _p99(seconds: list[float]) -> float:
    """Return the 99th percentile in ms."""
    return percentile(seconds, 99) * 1e3
