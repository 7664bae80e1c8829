"""A week in an hour: is a server the same after it as before?

50 people with lists of their own submit 20,000 tasks, 100 subscriptions are checked, 2,000 sockets come and
go. At first the server is restarted and killed, as are its fork server and its children, and the
disk is nearly full now and then; after each of these every accepted task must still be there. Then
the server goes on without a new start, which would hide what grows, and what it has and costs is sampled
each 10 s: all must be flat. In the end it is killed once more, and every task must end.
"""

import asyncio
import contextlib
import itertools
import os
import random
import shutil
import signal
import sqlite3
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import asdict

import psutil  # type: ignore[import-untyped]

from tests.bench import noise
from tests.bench.client import client_of
from tests.bench.figures import Figure, middle
from tests.bench.http_load import Load, get
from tests.bench.lab import Lab
from tests.bench.programs import COMPLAINT, PATIENCE, Clipwire, Program
from tests.bench.starts import ready
from tests.bench.town import ADMIN, Town
from tests.bench.visitors import VisitorLoad, first_messages, visit
from tests.bench.vitals import Diary, Sample, figures_of, vitals
from tests.ports import free_port

TASKS_A_SECOND = 20_000 / 3600
PEOPLE, SUBSCRIPTIONS, SOCKETS = 50, 100, 2_000
# Part of the time after which nothing ends the server any more, so that it is warm when the second half
# begins.
LAST_START = 0.3
STRIKE_EVERY = 45.0  # seconds between two incidents
SAMPLE_EVERY = 10.0  # seconds between two samples
ROOM = 4 << 30  # bytes that are free above the floor, at first
NEARLY_FULL_FOR = 6.0  # seconds for which the disk is nearly full
# Seconds: longer than a start, after which a client still has to see the tasks that have ended meanwhile.
SHORTEST_RETENTION = 60.0
ENOUGH_REQUESTS = 40  # requests for each latency of a sample
TOLD_EVERY = 6  # a line is printed after so many samples


async def week(lab: Lab) -> list[Figure]:
    seconds = 6.0 if lab.smoke else lab.minutes * 60
    run = _Week(lab, seconds)
    return await run.live()


class _Week:
    def __init__(self, lab: Lab, seconds: float) -> None:
        self._lab = lab
        self._seconds = seconds
        self._folder = lab.new_folder("week")
        self._port = free_port()
        self._chance = random.Random(1)
        self._server: Clipwire | None = None
        self._complaints: list[str] = []
        self._strikes: dict[str, int] = {}
        self._diary = Diary(lab.results / "week.jsonl" if lab.results else None)
        self._floor = shutil.disk_usage(self._folder).free - ROOM
        self._noise = noise.cpu_usage()

    async def live(self) -> list[Figure]:
        count = self._lab.count
        people, subscriptions, sockets = count(PEOPLE, 3), count(SUBSCRIPTIONS, 2), count(SOCKETS, 10)
        new_film_every = max(self._seconds / 1000, 1.0)
        media = str(self._lab.media)
        site = Program(
            "-m", "tests.bench.references", "channels", media, str(subscriptions), str(new_film_every)
        )
        # So few films that all are known before the second half: then only the channels make the memory of
        # films grow.
        films = max(3, min(200, int(self._seconds * TASKS_A_SECOND / 100)))
        async with site, self._started():
            town = Town(f"http://127.0.0.1:{self._port}", site.url, TASKS_A_SECOND, films, seed=1)
            try:
                await town.settle(people, subscriptions, "1s" if self._lab.smoke else "30s")
                came = await self._live(town, sockets)
            finally:
                await town.close()
        return self._figures(town, came)

    async def _live(self, town: Town, sockets: int) -> dict[str, int]:
        """Run for the time that was asked; return how many sockets came, by the first line of the answer."""
        self._diary.began = time.monotonic()
        until = self._diary.began + self._seconds
        tokens = tuple(person.token for person in town.people)
        load = VisitorLoad(self._port, tokens, sockets, until)
        coming = asyncio.create_task(self._lab.elsewhere(visit, load), name="visitors")
        submitting = asyncio.create_task(town.run(), name="town")
        try:
            await self._until(until, town)
        finally:
            submitting.cancel()
            await asyncio.wait([submitting])
        came = await coming
        await self._kill()
        await self._let_all_end(town)
        print(f"  {dict(town.counts)}\n  sockets: {came}\n  strikes: {self._strikes}", file=sys.stderr)
        return came

    async def _until(self, until: float, town: Town) -> None:
        """Take samples and cause incidents in turn, so that no sample is of a server that is away."""
        last_start = self._diary.began + LAST_START * self._seconds
        sample_every = 0.5 if self._lab.smoke else SAMPLE_EVERY
        strike_every = 0.4 if self._lab.smoke else STRIKE_EVERY
        before = [self._restart, self._kill, self._kill_fork_server, self._kill_child, self._fill_disk]
        after = [self._kill_child, self._fill_disk]
        early, late = itertools.cycle(before), itertools.cycle(after)
        next_strike = self._diary.began + strike_every
        next_sample = self._diary.began
        may_end = True
        while (now := time.monotonic()) < until:
            if may_end and now > last_start:
                may_end = False
                await self._strike(self._restart, town)
            elif now > next_strike:
                next_strike = now + strike_every
                await self._strike(next(early if may_end else late), town)
            elif now >= next_sample:
                next_sample = max(next_sample + sample_every, now)
                await town.look()
                if sample := await self._sample(town):
                    self._diary.add(sample)
                    if len(self._diary.samples) % TOLD_EVERY == 0:
                        _tell(sample, town)
            else:
                await asyncio.sleep(min(next_sample, next_strike, until) - now)

    # --- incidents ---

    @asynccontextmanager
    async def _started(self) -> AsyncIterator[None]:
        try:
            await self._start()
            yield
        finally:
            await self._stop()

    async def _start(self) -> None:
        retention = max(SHORTEST_RETENTION, self._seconds / 20)
        self._server = Clipwire(
            self._folder,
            self._lab.tree,
            CLIPWIRE_SERVER__PORT=str(self._port),
            CLIPWIRE_SERVER__TOKENS=f'["{ADMIN}"]',
            CLIPWIRE_ACCESS__SEPARATE_LISTS="true",
            CLIPWIRE_DOWNLOADS__MIN_FREE_DISK=str(max(0, self._floor)),
            CLIPWIRE_DOWNLOADS__RETENTION_HOURS=str(retention / 3600),
            CLIPWIRE_DOWNLOADS__RETRIES="5",
            CLIPWIRE_SUBSCRIPTIONS__MIN_INTERVAL="1s",
            CLIPWIRE_SUBSCRIPTIONS__PAUSE="0s",
        )
        await self._server.__aenter__()
        self._server.pin()
        async with client_of(self._server, ADMIN) as client:
            await ready(client)

    async def _stop(self) -> None:
        if self._server and self._server.pid:
            await self._server.stop()
            self._note_complaints()

    @property
    def _server_now(self) -> Clipwire:
        assert self._server is not None
        return self._server

    def _note_complaints(self) -> None:
        for lines in self._server_now.complaints:
            text = b"".join(lines).decode(errors="replace")
            self._complaints.append(text)
            print(f"  the log has:\n{text}", file=sys.stderr)
        self._server_now.complaints.clear()

    async def _strike(self, strike: Callable[[], Awaitable[None]], town: Town) -> None:
        name = strike.__name__.strip("_").replace("_", " ")
        self._strikes[name] = self._strikes.get(name, 0) + 1
        await strike()
        await town.look()
        self._noise = await asyncio.to_thread(noise.cpu_usage)

    async def _restart(self) -> None:
        await self._stop()
        await self._start()

    async def _kill(self) -> None:
        await self._server_now.kill()
        self._note_complaints()
        await self._start()

    async def _kill_fork_server(self) -> None:
        self._server_now.fork_server().kill()

    async def _kill_child(self) -> None:
        with contextlib.suppress(psutil.NoSuchProcess, IndexError):
            self._chance.choice(self._server_now.fork_server().children()).send_signal(signal.SIGKILL)

    async def _fill_disk(self) -> None:
        """Leave less than the floor free on the disk, for a moment."""
        ballast = self._folder / "ballast"
        size = shutil.disk_usage(self._folder).free - self._floor + (64 << 20)
        if self._floor <= 0 or not 0 < size < 3 * ROOM:
            print("  the disk changes too much for a floor", file=sys.stderr)
            return
        with ballast.open("wb") as file:
            await asyncio.to_thread(os.posix_fallocate, file.fileno(), 0, size)
        await asyncio.sleep(self._lab.seconds(NEARLY_FULL_FOR))
        ballast.unlink()

    async def _let_all_end(self, town: Town) -> None:
        """Let every accepted task end, also after a kill."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(PATIENCE * 3):
                while True:
                    await town.finish_errands()
                    await town.look()
                    if not town.is_busy:
                        break
                    await asyncio.sleep(0.2)
        for task in town.unfinished.values():
            town.trouble(f"never ended: {task.task_id}, {task.newest}, {task.kind}")

    # --- measurements ---

    async def _sample(self, town: Town) -> Sample | None:
        film, server = town.newest_film, self._server_now
        if film is None or not town.submits:
            return None
        before, self._noise = self._noise, await asyncio.to_thread(noise.cpu_usage)
        submits, town.submits = town.submits, []
        at = time.monotonic() - self._diary.began
        now = await asyncio.to_thread(vitals, server, self._folder / "data")
        count, headers = self._lab.count(ENOUGH_REQUESTS, 3), film.person.headers
        status = await self._latency(f"/api/status/{film.task_id}", count, headers)
        page = await self._latency("/api/tasks?limit=50", count // 3, headers)
        path = f"/ws/{film.task_id}"
        first = await self._lab.elsewhere(first_messages, self._port, path, film.person.token, count // 3)
        share = noise.foreign(before, self._noise)
        return Sample(
            at=round(at, 1), foreign=share, **asdict(now), unfinished=len(town.unfinished),
            status=status, submit=middle(submits) * 1e3, list=page, socket=middle(first) * 1e3,
        )  # fmt: skip

    async def _latency(self, path: str, count: int, headers: dict[str, str]) -> float:
        load = Load(self._port, (get(path, self._port, **headers),), 1, answers=count)
        outcome = await self._lab.load(load)
        assert set(outcome.statuses) == {200}, (path, outcome.statuses)
        return middle(outcome.latencies) * 1e3

    def _faults(self) -> int:
        """Return how many complaints the log has, less one for each fork server that was killed here."""
        killed = sum(_is_of_a_killed_fork_server(text) for text in self._complaints)
        return len(self._complaints) - min(killed, self._strikes.get("kill fork server", 0))

    def _figures(self, town: Town, came: dict[str, int]) -> list[Figure]:
        minutes = self._seconds / 60
        with contextlib.closing(sqlite3.connect(self._folder / "data" / "clipwire.db")) as database:
            (tasks,) = database.execute("SELECT seq FROM sqlite_sequence WHERE name = 'tasks'").fetchone()
        sockets = sum(count for name, count in came.items() if name.startswith("HTTP/1.1 "))
        strikes = sum(self._strikes.values())
        wrong = town.counts["ended otherwise"] + len(town.unfinished)
        half = self._diary.since(self._seconds / 2)
        return [
            Figure(f"in {minutes:.3g} minutes: tasks, of lists and subscriptions too", tasks, ""),
            Figure("... of them submitted", town.counts["submitted"], ""),
            Figure("sockets and event streams that came and went", sockets, ""),
            Figure("restarts, kills and nearly full disks", strikes, ""),
            Figure("accepted tasks that were lost", town.counts["lost"], "", at_most=0),
            Figure("... that did not end, or not as they should", wrong, "", at_most=0),
            Figure("answers that nobody should get", len(town.troubles), "", at_most=0),
            Figure("errors, tracebacks and warnings in the log", self._faults(), "", at_most=0),
            *(figures_of(half) if half else ()),
        ]


def _is_of_a_killed_fork_server(complaint: str) -> bool:
    first, *others = complaint.splitlines()
    return "the fork server ended" in first and not any(COMPLAINT.search(line.encode()) for line in others)


def _tell(sample: Sample, town: Town) -> None:
    print(
        f"  {sample.at:6,.0f} s  {town.counts['submitted']:,} submitted, {sample.unfinished} unfinished, "
        f"{sample.tasks:,} stored; {sample.server:.1f} + {sample.fork_server:.1f} MiB, "
        f"{sample.descriptors:,} descriptors, database {sample.database:.1f} MiB; "
        f"status {sample.status:.2f} ms, submit {sample.submit:.1f} ms",
        file=sys.stderr, flush=True,
    )  # fmt: skip
