"""Runs real jobs in children of a fork server, the way the service does it: see `tests.fakes.warm`."""

import asyncio
import atexit
import contextlib
import functools
import itertools
import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any, Self

from server.core import jobs
from server.core.action_requests import InfoRequest
from server.core.events import CHILD_EVENT
from server.core.process_request import ProcessRequest
from server.settings import DownloadSettings
from server.tasks.children import MAX_LINE
from server.tasks.job_builder import JobMaker
from server.tasks.programs_found import Tools
from tests.shelf import Shelf
from tests.tools import FFMPEG

ROOT = Path(__file__).parents[1]
ENVIRONMENT = {"PATH": os.environ["PATH"], "LANG": "C.UTF-8", "YTDLP_NO_PLUGINS": "1", "HOME": "/nonexistent"}


@dataclass
class Outcome:
    """The events and the exit code of a job, and the directory in which it worked."""

    directory: Path
    events: list[dict[str, Any]] = field(default_factory=list)
    code: int | None = None

    @property
    def last(self) -> dict[str, Any]:
        return self.events[-1]

    @property
    def kinds(self) -> list[str]:
        """Return the kinds of the job's events, without "alive", which a job sends whenever the machine is
        slow.
        """
        return [event["kind"] for event in self.events if event["kind"] != "alive"]

    @property
    def described(self) -> dict[str, Any]:
        """Return what the job said about the video before the download began."""
        return next(event["video_info"] for event in self.events if event["kind"] == "described")

    @property
    def entries(self) -> list[dict[str, Any]]:
        """Return the entries of a list, in the order of the events that named them."""
        return [entry for event in self.events if event["kind"] == "found" for entry in event["entries"]]

    @property
    def log(self) -> str:
        return self.directory.with_suffix(".log").read_text()

    def file(self, kind: str) -> Path:
        """Return the path of the finished file; fail unless its size is the one in the event."""
        assert self.last["kind"] == "produced", self.last
        said: dict[str, Any] = self.last["files"][kind]
        path: Path = self.directory / "out" / said["path"]
        assert path.stat().st_size == said["size"]
        return path


class Job:
    """A running job; `outcome` has its events so far. Leaving the context kills the job."""

    def __init__(self, jobs: "Jobs", name: str, sock: socket.socket, outcome: Outcome) -> None:
        self._jobs, self._name, self._sock, self.outcome = jobs, name, sock, outcome

    async def __aenter__(self) -> Self:
        self._reader, self._writer = await asyncio.open_connection(sock=self._sock, limit=MAX_LINE)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._writer.close()
        if self.outcome.code is None:
            self.kill()

    async def run(self) -> Outcome:
        """Read all events, validated as the server does, and wait for the end of the process."""
        async for _ in self.events():
            pass
        return await self.end()

    async def events(self) -> AsyncIterator[dict[str, Any]]:
        async for line in self._reader:
            event = json.loads(line)
            if event["kind"] != "extracted":
                CHILD_EVENT.validate_json(line, extra="forbid")
            self.outcome.events.append(event)
            yield event

    def command(self, name: str, **fields: Any) -> None:
        self._writer.write(json.dumps({"command": name, **fields}).encode() + b"\n")

    def kill(self) -> None:
        self._jobs.say(op="kill", id=self._name)

    async def end(self) -> Outcome:
        self.outcome.code = await asyncio.to_thread(self._jobs.exit_code, self._name)
        return self.outcome


class Jobs:
    """A fork server whose jobs use `ffmpeg`; `close` ends it and all of its jobs."""

    def __init__(self, ffmpeg: str = FFMPEG, **environment: str) -> None:
        self._ffmpeg = ffmpeg
        self._control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._control.settimeout(50)  # the machine may be busy
        self._names = map(str, itertools.count(1))
        self._codes: dict[str, int] = {}
        self._one_at_a_time = threading.Lock()
        config = json.dumps({"ffmpeg": ffmpeg, "deno": None})
        program = [sys.executable, "-I", "-B", str(ROOT / "tests/fakes/warm.py"), str(theirs.fileno())]
        self._process = subprocess.Popen(
            [*program, config], pass_fds=[theirs.fileno()], env=ENVIRONMENT | environment
        )
        theirs.close()
        try:
            assert self._hear()["event"] == "ready"
        except BaseException:
            self.close()  # close the sockets, or a later test would be blamed for them
            raise

    def close(self) -> None:
        self._control.close()
        self._process.wait(50)

    def start(self, directory: Path, job: jobs.Job) -> Job:
        return self.send(directory, jobs.to_message(job))

    def send(self, directory: Path, message: dict[str, Any]) -> Job:
        """Start a child whose first message is `message`."""
        ours, theirs = socket.socketpair()
        log = os.open(directory.with_suffix(".log"), os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o600)
        name = next(self._names)
        try:
            start = json.dumps({"op": "start", "id": name}).encode()
            socket.send_fds(self._control, [start], [theirs.fileno(), log])
        finally:
            theirs.close()
            os.close(log)
        ours.sendall(line(message))
        return Job(self, name, ours, Outcome(directory))

    def say(self, **message: Any) -> None:
        self._control.send(json.dumps(message).encode())

    def exit_code(self, name: str) -> int:
        """Wait for the end of a job; may be called from several threads."""
        with self._one_at_a_time:
            return self._wait_for(name)

    def _wait_for(self, name: str) -> int:
        while name not in self._codes:
            heard = self._hear()
            if heard["event"] == "exit":
                self._codes[heard["id"]] = heard["code"]
        return self._codes[name]

    async def download(self, directory: Path, url: str, *, seconds: float = 50, **wishes: Any) -> Outcome:
        """Run a download to its end. `wishes` are fields of the request, or download settings."""
        async with asyncio.timeout(seconds), self.begin(directory, url, **wishes) as job:
            return await job.run()

    def begin(self, directory: Path, url: str, **wishes: Any) -> Job:
        return self.start(directory, download_job(directory, url, self._ffmpeg, **wishes))

    async def expand(
        self, directory: Path, url: str, *, known: int = 0, seconds: float = 50, **wishes: Any
    ) -> Outcome:
        """List the entries of a list. `wishes` are fields of the request, or download settings."""
        job = list_job(directory, url, self._ffmpeg, known=known, **wishes)
        async with asyncio.timeout(seconds), self.start(directory, job) as running:
            return await running.run()

    def look(self, directory: Path, url: str, cookies: str | None = None) -> Job:
        """Start an info job for `url`."""
        lock = directory.with_suffix(".lock")
        job = _maker(self._ffmpeg).info(InfoRequest(url=url), directory, lock, cookies)
        return self.start(directory, job)

    def _hear(self) -> dict[str, Any]:
        message: dict[str, Any] = json.loads(self._control.recv(1 << 16))
        return message


async def run_by_exec(program: Path, directory: Path, job: jobs.Job, **environment: str) -> Outcome:
    """Run `job` to its end in a child that is started as `program`, without a fork server."""
    ours, theirs = socket.socketpair()
    log = os.open(directory.with_suffix(".log"), os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    outcome = Outcome(directory)
    async with asyncio.timeout(50):
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-I", "-B", str(program), str(theirs.fileno())),
            pass_fds=[theirs.fileno()], env=ENVIRONMENT | environment, stdout=log,
        )  # fmt: skip
        theirs.close()
        os.close(log)
        reader, writer = await asyncio.open_connection(sock=ours)
        writer.write(line(jobs.to_message(job)))
        outcome.events = [json.loads(event) async for event in reader]
        outcome.code = await process.wait()
        writer.close()
    return outcome


async def told(
    directory: Path,
    shelf: Shelf,
    result: dict[str, Any],
    environment: Mapping[str, str] = MappingProxyType({}),
    **wishes: Any,
) -> Outcome:
    """Download `result`, as if an extractor had returned it: see `tests.fakes.told`."""
    url = shelf.put("told/it", json.dumps(result).encode(), "application/json")
    job = download_job(directory, url, **wishes)
    if environment:
        return await run_by_exec(ROOT / "tests/fakes/told.py", directory, job, **environment)
    return await _run(directory, job)


async def told_list(directory: Path, shelf: Shelf, result: dict[str, Any], **wishes: Any) -> Outcome:
    """List the entries of `result`, as if an extractor had returned it; `shelf` also serves the links of the
    entries.
    """
    url = shelf.put("told/it", json.dumps(result).encode(), "application/json")
    return await _run(directory, list_job(directory, url, **wishes))


async def told_info(directory: Path, shelf: Shelf, result: dict[str, Any], **asked: Any) -> dict[str, Any]:
    """Return what an info job says of `result`. `asked` are fields of the request, or download settings."""
    maker = _maker(FFMPEG, **_limits(asked))
    url = shelf.put("told/it", json.dumps(result).encode(), "application/json")
    job = maker.info(InfoRequest(url=url, **asked), directory, directory.with_suffix(".lock"))
    outcome = await _run(directory, job)
    assert outcome.last["kind"] == "extracted", f"{outcome.last}\n{outcome.log}"
    info: dict[str, Any] = outcome.last["info"]
    return info


async def _run(directory: Path, job: jobs.Job) -> Outcome:
    async with asyncio.timeout(50), _common().start(directory, job) as running:
        return await running.run()


@functools.cache
def _common() -> "Jobs":
    """The fork server that all tests in this process share, unless they need special settings."""
    jobs = Jobs()
    atexit.register(jobs.close)
    return jobs


def download_job(
    directory: Path, url: str = "http://a.test/", ffmpeg: str = FFMPEG, **wishes: Any
) -> jobs.Job:
    """Make a job as the service makes it. `wishes` are fields of the request, or download settings.

    Also in `wishes`: `text`, the content of the cookie file; `item`, the entry of a list; `lists`, the lists
    that led to the entry; `accept_gaps`, whether the remedy of that name was used.
    """
    maker, text, item = _maker(ffmpeg, **_limits(wishes)), wishes.pop("text", None), wishes.pop("item", None)
    gaps, lists = wishes.pop("accept_gaps", False), wishes.pop("lists", None)
    tells_about = wishes.pop("tells_about", False)
    title = wishes.pop("title", None)
    request = ProcessRequest(url=url, **wishes)
    lock = directory.with_suffix(".lock")
    told = {"item": item, "lists": lists, "title": title, "accept_gaps": gaps, "tells_about": tells_about}
    return replace(maker.job("download", request, directory, lock, text), **told)


def list_job(directory: Path, url: str, ffmpeg: str = FFMPEG, known: int = 0, **wishes: Any) -> jobs.Job:
    """Make the job that lists the entries of a list; `known` is the number of entries that earlier attempts
    have sent.
    """
    maker = _maker(ffmpeg, **_limits(wishes))
    request = ProcessRequest(url=url, playlist=True, **wishes)
    job = maker.job("expand", request, directory, directory.with_suffix(".lock"))
    return replace(job, known=known)


def _limits(wishes: dict[str, Any]) -> dict[str, Any]:
    return {name: wishes.pop(name) for name in DownloadSettings.model_fields if name in wishes}


def wished(**wishes: Any) -> jobs.Wishes:
    """Return the wishes that a child gets for a request with the fields `wishes`."""
    return download_job(Path("/nowhere"), **wishes).wishes


def line(message: dict[str, Any]) -> bytes:
    """Encode `message` as the first line that the server writes to a child."""
    return json.dumps(message).encode() + b"\n"


def _maker(ffmpeg: str, **limits: Any) -> JobMaker:
    settings = DownloadSettings(**{"allowed_private_hosts": ("127.0.0.1",)} | limits)
    return JobMaker(settings, Tools(ffmpeg, None))


@contextlib.contextmanager
def running_jobs(ffmpeg: str = FFMPEG, **environment: str) -> Iterator[Jobs]:
    if ffmpeg == FFMPEG and not environment:
        yield _common()
        return
    jobs = Jobs(ffmpeg, **environment)
    try:
        yield jobs
    finally:
        jobs.close()


def probe(path: Path) -> str:
    """Decode all of a file with ffmpeg; return what ffmpeg prints. Fails on any error."""
    command = [FFMPEG, "-hide_banner", "-xerror", "-i", str(path), "-f", "null", "-"]
    result = subprocess.run(command, capture_output=True, text=True, timeout=50, check=False)
    assert result.returncode == 0, result.stderr
    return result.stderr


def broken(outcome: Outcome) -> tuple[str, bool, float | None]:
    """Return the error code of a failed job, whether the job may be retried, and after how many seconds."""
    assert outcome.last["kind"] == "broken", outcome.last
    return outcome.last["code"], outcome.last["retryable"], outcome.last.get("retry_after")
