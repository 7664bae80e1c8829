"""Kills processes of a service at random, while it runs all kinds of downloads and clients watch each task.

`test_kills` does this for as long as CI can wait, `bench.kills` for as long as its user wants. A seed repeats
all random choices, but not the timing of the machine.
"""

import asyncio
import itertools
import json
import random
import shutil
import sqlite3
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, closing, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import psutil  # type: ignore[import-untyped]
import pytest

from server.core.events import Requeued
from server.core.task import TaskStatus
from server.tasks.next_attempt import after_loss
from tests.service import FINAL, Payload, Service, Told, children_of
from tests.site import SECONDS, Film, Site, probe, sha256
from tests.subtitles import cues, streams
from tests.tools import FFMPEG

LONG = 30  # repeats the site's film of four seconds: an encoder needs long enough for the test to kill it
FRAMES = 25  # frames a second of the site's film
A_SECOND = 110_000  # most bytes of one second of film
WAITING = 8  # tasks that are unfinished at any time
WORDS = [(0.0, 3.0, "Words")]
"""The cues of the site's subtitles."""


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of download and its expected result: an exact file (`same_as`), or a film of some `seconds`.

    The recording of a broadcast has at most `recorded` seconds, and one more for each interruption. The test
    finishes a broadcast without an end once `finish_at` bytes are recorded. `path` may be a full URL, in
    which `{n}` is the number of the task. A list has `entries` and no files. `texts` are the languages of
    subtitle files, `within` of the subtitles in the film.
    """

    path: str
    outputs: tuple[str, ...] = ("video",)
    same_as: str | None = None
    seconds: float = SECONDS
    body: Mapping[str, object] = field(default_factory=dict)
    recorded: float | None = None
    finish_at: int | None = None
    entries: tuple["Kind", ...] = ()
    texts: tuple[str, ...] = ()
    within: tuple[str, ...] = ()

    @property
    def files(self) -> list[str]:
        if self.entries:
            return []
        return sorted([*self.outputs, *(f"subtitle.{language}" for language in self.texts)])

    @property
    def wishes(self) -> dict[str, object]:
        outputs = [*self.outputs, *(["subtitles"] if self.texts else [])]
        return {"outputs": outputs, **self.body}


KINDS = (
    Kind("/8mb.mp4?rate=6000000", same_as="8mb.mp4"),
    Kind("/1mb.mp4?rate=700000", same_as="1mb.mp4"),
    Kind("/1mb.mp4?ranges=no&rate=2000000", same_as="1mb.mp4"),
    Kind("/1mb.mp4?wait=0.6", same_as="1mb.mp4"),
    Kind("/hls/ts/index.m3u8?rate=80000"),
    Kind("/hls/fmp4/index.m3u8?rate=80000"),
    Kind("/hls/aes/index.m3u8?rate=80000"),
    Kind("/dash/manifest.mpd?rate=80000"),
    Kind("/long.mp4?rate=12000000", ("video", "audio"), "long.mp4", LONG * SECONDS),
)


def make_film(media: Path, folder: Path) -> Path:
    """Copy the site's media into a folder, and add the longer film `long.mp4`."""
    shutil.copytree(media, folder)
    command = [FFMPEG, "-v", "error", "-nostdin", "-y", "-stream_loop", str(LONG - 1), "-i", "video.mp4"]
    subprocess.run([*command, "-c", "copy", "-movflags", "+faststart", "long.mp4"], cwd=folder, check=True)
    return folder


class Witness:
    """All payloads of one task that any client received."""

    def __init__(self, task_id: str, kind: Kind) -> None:
        self.task_id = task_id
        self.kind = kind
        self.texts: dict[int, str] = {}
        self.most = 0  # largest `downloaded_bytes` that was reported
        self.newest: Payload = {"revision": 0, "attempt": 0, "stage": "queued"}

    @property
    def done(self) -> bool:
        return self.newest["stage"] in FINAL

    def saw(self, text: str, floor: int) -> Payload:
        """Keep a payload; fail if it is older than `floor`, the newest revision that was known before the
        request.
        """
        payload: Payload = json.loads(text)
        revision = payload["revision"]
        self.most = max(self.most, payload.get("downloaded_bytes", 0))
        assert revision >= floor, f"taken back: {payload}, after {self.newest}"
        assert self.texts.setdefault(revision, text) == text, "two payloads of one revision"
        if revision > self.newest["revision"]:
            self.newest = payload
        return payload

    def check(self) -> None:
        """Fail unless the task completed, progress never fell within an attempt, and attempts only grew."""
        assert self.newest["stage"] == "completed", self.newest
        seen = [json.loads(self.texts[revision]) for revision in sorted(self.texts)]
        for before, after in itertools.pairwise(seen):
            assert after["attempt"] >= before["attempt"], (before, after)
            if after["attempt"] == before["attempt"]:
                assert after["progress"] >= before["progress"], (before, after)
        assert all(payload["progress"] < 100 for payload in seen if payload["stage"] != "completed")


@dataclass
class Toll:
    """How many processes of each kind were killed."""

    killed: dict[str, int] = field(default_factory=dict)

    @property
    def total(self) -> int:
        return sum(self.killed.values())

    def add(self, victim: str, count: int = 1) -> None:
        self.killed[victim] = self.killed.get(victim, 0) + count


class Rampage:
    """Kills processes of `service` while the service works on tasks that this class submits."""

    def __init__(
        self, service: Service, site: Site, media: Path, seed: int, kinds: Sequence[Kind] = KINDS
    ) -> None:
        self._kinds = itertools.cycle(kinds)
        self._numbers = itertools.count()
        self.ways = dict(_ODDS)
        self.service = service
        self.witnesses: list[Witness] = []
        self.toll = Toll()
        self._site = site
        self._media = media
        self._random = random.Random(seed)
        self._watchers: list[asyncio.Task[None]] = []
        self._up = asyncio.Event()
        self._up.set()

    async def run(self, kills: int) -> None:
        """Kill once in each way, then in random ways until `kills` processes are killed. The queue is always
        full.
        """
        for strike in self._random.sample(list(self.ways), len(self.ways)):
            await self._strike(strike)
        while self.toll.total < kills:
            await self._strike(self._random.choices(list(self.ways), list(self.ways.values()))[0])

    async def settle(self, within: float) -> None:
        """Wait until every task has ended, and all its watchers have seen that."""
        async with asyncio.timeout(within):
            await asyncio.gather(*self._watchers)

    def check(self) -> None:
        """Check all tasks; call it when all have ended."""
        for witness in self.witnesses:
            with self.explaining(witness):
                witness.check()

    @contextmanager
    def explaining(self, witness: Witness) -> Iterator[None]:
        """Show the log of the task if a check of the task fails."""
        try:
            yield
        except AssertionError:
            print((self.service.data / "logs" / f"{witness.task_id}.log").read_text(errors="replace"))
            raise

    async def close(self) -> None:
        for watcher in self._watchers:
            watcher.cancel()
        await asyncio.gather(*self._watchers, return_exceptions=True)

    # --- what is killed ---

    async def _strike(self, strike: "Strike") -> None:
        await self._fill()
        await self._until(lambda: any(self._may_be_lost(task) for _, task in self._children()))
        await asyncio.sleep(self._random.uniform(0, 0.4))
        await strike(self)

    async def _kill_child(self) -> None:
        children = [(child, task) for child, task in self._children() if self._may_be_lost(task)]
        if children:
            self._kill_some([self._random.choice(children)])

    async def _kill_children(self) -> None:
        self._kill_some(list(self._children()))

    def _kill_some(self, children: Sequence[tuple[psutil.Process, Witness]]) -> None:
        self._kill("child", [child for child, task in children if self._may_be_lost(task)])

    async def _kill_fork_server(self) -> None:
        """Kill the fork server: all running children die with it."""
        await self._until_all_may_be_lost()
        self._kill("fork server", self._fork_servers())

    async def _kill_server(self) -> None:
        self._up.clear()
        self.toll.add("server")
        await self.service.kill()
        await self.service.start()
        self._up.set()

    async def _kill_server_and_others(self) -> None:
        """Kill some processes and the server at the same time: the kernel decides which process notices which
        death first.
        """
        await self._until_all_may_be_lost()
        processes = self.service.processes()
        self._kill("others", self._random.sample(processes, min(2, len(processes))))
        await self._kill_server()

    async def _kill_server_after_202(self) -> None:
        await self._submit()
        await self._kill_server()

    async def _kill_ffmpeg(self) -> None:
        """Kill an ffmpeg at work, if one starts within two seconds."""
        with suppress(TimeoutError):
            async with asyncio.timeout(2):
                while not (programs := self._programs()):
                    await asyncio.sleep(0.01)
                program, task = programs[0]
                if self._may_be_lost(task):
                    self._kill("ffmpeg", [program])

    def _kill(self, victim: str, processes: Sequence[psutil.Process]) -> None:
        for process in processes:
            with suppress(psutil.NoSuchProcess):
                process.kill()
                self.toll.add(victim)

    # --- which processes there are ---

    def _fork_servers(self) -> list[psutil.Process]:
        return [process for process in self.service.processes() if _is(process, "forkserver.py", fork=False)]

    def _children(self) -> Iterator[tuple[psutil.Process, Witness]]:
        """Yield each child with its task: the child's standard output is the log file of its task."""
        by_id = {witness.task_id: witness for witness in self.witnesses}
        for process in self.service.processes():
            with suppress(OSError, psutil.Error):
                if _is(process, "forkserver.py", fork=True):
                    log = Path(f"/proc/{process.pid}/fd/1").readlink()
                    if witness := by_id.get(log.stem):
                        yield process, witness

    def _programs(self) -> list[tuple[psutil.Process, Witness]]:
        return [
            (program, task)
            for child, task in self._children()
            for program in children_of(child.pid)
            if _is(program, FFMPEG, fork=None)
        ]

    async def _until_all_may_be_lost(self) -> None:
        async with asyncio.timeout(60):
            while True:
                if all(task.done or self._may_be_lost(task) for task in self.witnesses):
                    return
                await asyncio.sleep(0.05)

    def _may_be_lost(self, task: Witness) -> bool:
        """Return whether the task survives one more lost child, of its current or next attempt.

        The API does not tell how many children were lost, so this reads the database.
        """
        with closing(sqlite3.connect(self.service.data / "clipwire.db")) as database:
            sql = "SELECT status FROM tasks WHERE task_id = ?"
            (row,) = database.execute(sql, (task.task_id,)).fetchone()
        status = TaskStatus.model_validate_json(row)
        return not status.stage.is_final and isinstance(after_loss(status), Requeued)

    async def _until(self, wanted: Callable[[], bool]) -> None:
        async with asyncio.timeout(30):
            while not wanted():
                await self._fill()
                await asyncio.sleep(0.02)

    # --- the clients that watch ---

    async def _fill(self) -> None:
        while sum(not witness.done for witness in self.witnesses) < WAITING:
            await self._submit()

    async def _submit(self) -> None:
        kind, request = self._next()
        self._accepted(await self.service.submit(**request), kind)

    def _next(self) -> tuple[Kind, dict[str, Any]]:
        """Return the next kind of download, and the request for it."""
        kind = next(self._kinds)
        path = kind.path.format(n=next(self._numbers))
        url = path if "://" in path.partition("?")[0] else self._site.url(path)
        return kind, {"url": url, **kind.wishes}

    def _accepted(self, payload: Payload, kind: Kind) -> None:
        witness = Witness(payload["task_id"], kind)
        witness.saw(json.dumps(payload, ensure_ascii=False, separators=(",", ":")), 1)
        self._watch(witness)

    def _watch(self, witness: Witness) -> None:
        self.witnesses.append(witness)
        for watch in (self._poll, self._listen):
            self._watchers.append(asyncio.create_task(watch(witness), name=f"watch {witness.task_id}"))

    async def _poll(self, witness: Witness) -> None:
        payload = witness.newest
        while payload["stage"] not in FINAL:
            await asyncio.sleep(0.25)
            with suppress(aiohttp.ClientError, ConnectionError):
                await self._up.wait()
                payload = await self._ask(witness)
                await self._finish_if_enough(witness, payload)

    async def _finish_if_enough(self, witness: Witness, payload: Payload) -> None:
        """Ask the service to finish the recording, at each poll: a child that is killed forgets that it was
        asked.
        """
        enough = witness.kind.finish_at
        if enough is not None and payload.get("downloaded_bytes", 0) >= enough:
            async with self.service.client.post(f"/api/tasks/{witness.task_id}/finish") as answer:
                assert answer.status in (200, 409, 503), await answer.text()

    async def _ask(self, witness: Witness) -> Payload:
        floor = witness.newest["revision"]
        async with self.service.client.get(f"/api/status/{witness.task_id}") as answer:
            assert answer.status == 200, await answer.text()
            return witness.saw(await answer.text(), floor)

    async def _listen(self, witness: Witness) -> None:
        payload = witness.newest
        while payload["stage"] not in FINAL:
            with suppress(aiohttp.ClientError, ConnectionError):
                await self._up.wait()
                floor = witness.newest["revision"]
                async with self.service.client.ws_connect(f"/ws/{witness.task_id}") as socket:
                    async for message in socket:
                        payload = witness.saw(message.data, floor)
                        floor = payload["revision"] + 1
            await asyncio.sleep(0.05)


Strike = Callable[[Any], Awaitable[None]]  # a method of `Rampage`
_ODDS: dict[Strike, int] = {
    Rampage._kill_child: 30,
    Rampage._kill_children: 5,
    Rampage._kill_fork_server: 7,
    Rampage._kill_ffmpeg: 8,
    Rampage._kill_server: 4,
    Rampage._kill_server_and_others: 2,
    Rampage._kill_server_after_202: 2,
}


def _is(process: psutil.Process, program: str, *, fork: bool | None) -> bool:
    """Return whether `process` runs `program`. If `fork` is given, also whether its parent runs `program`,
    too.
    """
    try:
        if not any(word.endswith(program) for word in process.cmdline()):
            return False
        return fork is None or fork is any(word.endswith(program) for word in process.parent().cmdline())
    except (psutil.Error, AttributeError):  # the process or its parent is gone
        return False


async def check_files(rampage: Rampage, folder: Path) -> None:
    """Fail unless every file of every task is complete and correct."""
    for witness in rampage.witnesses:
        done = witness.newest
        with rampage.explaining(witness):
            assert done["stage"] == "completed", f"{done}\n" + "\n".join(rampage.service.log[-40:])
            assert sorted(done["files"]) == witness.kind.files
            for name, link in done["files"].items():
                await _check_file(
                    rampage, witness, name, await rampage.service.fetch(link, folder / "fetched")
                )


async def _check_file(rampage: Rampage, witness: Witness, name: str, file: Path) -> None:
    kind, done = witness.kind, witness.newest
    if name.startswith("subtitle."):
        assert await asyncio.to_thread(cues, file) == WORDS, done
        return
    film = await probe(file)
    if kind.within:
        found = await asyncio.to_thread(streams, file)
        assert [language for language, _ in found] == list(kind.within), done
    if kind.recorded is not None:
        pieces = await pieces_of(rampage.service, done["task_id"])
        check_recording(witness, kind.recorded, film, file.stat().st_size, pieces)
        return
    if name == "video" and kind.same_as:
        assert sha256(file) == sha256(rampage._media / kind.same_as), done
    else:
        assert film.duration == pytest.approx(kind.seconds, abs=0.2, rel=0.02), done
    if name == "video":  # only the number of pictures reveals a missing or repeated segment
        assert film.pictures == kind.seconds * FRAMES, done


async def pieces_of(service: Service, task_id: str) -> int:
    """Return how often the recording began: if only ffmpeg was killed, the attempt begins the recording
    again.
    """
    async with service.client.get(f"/api/tasks/{task_id}/log") as answer:
        return (await answer.text()).count("recording into ")


def check_recording(witness: Witness, most: float, film: Film, size: int, pieces: int) -> None:
    """Fail if a recording lacks or repeats more than one second for each interruption."""
    begun = max(witness.newest["attempt"], pieces)
    assert 0.5 < film.duration < most + begun + 0.5, witness.newest
    assert film.pictures >= FRAMES * (film.duration - begun - 1), witness.newest
    assert size > 0.9 * witness.most - begun * A_SECOND, f"{size} of {witness.most}: {witness.newest}"


async def swept(data: Path, within: float = 20) -> None:
    """Wait until the service has removed the files that killed processes left; it does so soon after its
    start.
    """
    with suppress(TimeoutError):
        async with asyncio.timeout(within):
            while list((data / "work").iterdir()):
                await asyncio.sleep(0.05)


async def check_end(running: Rampage) -> None:
    """Fail if the service's log has complaints, or if killed processes have left anything."""
    service = running.service
    assert service.complaints() == []
    await service.restart()
    await swept(service.data)
    assert await service.stop() == 0
    check_data(service.data, running.witnesses)


def check_data(data: Path, witnesses: Sequence[Witness]) -> None:
    """Fail if there are files without a task, or if the database is damaged."""
    ids = {witness.task_id for witness in witnesses}
    lists = {witness.task_id for witness in witnesses if witness.kind.entries}
    assert list((data / "work").iterdir()) == []
    assert {path.name for path in (data / "files").iterdir()} == ids - lists
    assert {path.stem for path in (data / "logs").iterdir()} == ids
    assert not list(data.glob("clipwire.db-*")), "side files after a polite stop"
    scratch = data / "scratch"
    assert not scratch.exists() or not list(scratch.iterdir())
    with sqlite3.connect(data / "clipwire.db") as database:
        assert database.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        assert {row[0] for row in database.execute("SELECT task_id FROM tasks")} == ids
    database.close()


@asynccontextmanager
async def rampage(
    folder: Path,
    site: Site,
    media: Path,
    seed: int,
    kinds: Sequence[Kind] = KINDS,
    **settings: str,
) -> AsyncIterator[Rampage]:
    async with Told(folder, CLIPWIRE_DOWNLOADS__MAX_CONCURRENT="5", **settings) as service:
        running = Rampage(service, site, media, seed, kinds)
        try:
            yield running
        finally:
            await running.close()
