"""Runs real jobs in children of a real fork server, the way the service does it."""

import asyncio
import contextlib
import itertools
import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from server import jobs
from server.events import CHILD_EVENT
from server.models import InfoRequest, ProcessRequest
from server.settings import DownloadSettings
from server.tasks.jobs import JobMaker
from server.tasks.tools import Tools
from tests.tools import FFMPEG

ROOT = Path(__file__).parents[1]
ENVIRONMENT = {"PATH": os.environ["PATH"], "LANG": "C.UTF-8", "YTDLP_NO_PLUGINS": "1", "HOME": "/nonexistent"}


@dataclass
class Outcome:
    """What a job said, and where it worked."""

    directory: Path
    events: list[dict[str, Any]] = field(default_factory=list)
    code: int | None = None

    @property
    def last(self) -> dict[str, Any]:
        return self.events[-1]

    @property
    def kinds(self) -> list[str]:
        """Of its events but "alive", which comes wherever the machine is slow."""
        return [event["kind"] for event in self.events if event["kind"] != "alive"]

    @property
    def described(self) -> dict[str, Any]:
        """What it said of the source before it began."""
        return next(event["video_info"] for event in self.events if event["kind"] == "described")

    @property
    def log(self) -> str:
        return self.directory.with_suffix(".log").read_text()

    def file(self, kind: str) -> Path:
        """The finished file, after a look that it is as large as was said."""
        assert self.last["kind"] == "produced", self.last
        said: dict[str, Any] = self.last["files"][kind]
        path: Path = self.directory / "out" / said["path"]
        assert path.stat().st_size == said["size"]
        return path


class Job:
    """A running one; `outcome` is what is known of it so far. Leave the context, and it is gone."""

    def __init__(self, jobs: "Jobs", name: str, sock: socket.socket, outcome: Outcome) -> None:
        self._jobs, self._name, self._sock, self.outcome = jobs, name, sock, outcome

    async def __aenter__(self) -> Self:
        self._reader, self._writer = await asyncio.open_connection(sock=self._sock)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._writer.close()
        if self.outcome.code is None:
            self.kill()

    async def run(self) -> Outcome:
        """Hear it out, each event as the server would understand it, and wait until the process is gone."""
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
    """A fork server, and jobs that use `ffmpeg`; close it, and nothing of it is left."""

    def __init__(self, ffmpeg: str = FFMPEG) -> None:
        self._ffmpeg = ffmpeg
        self._control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._control.settimeout(20)
        self._names = map(str, itertools.count(1))
        self._codes: dict[str, int] = {}
        self._one_at_a_time = threading.Lock()
        config = json.dumps({"ffmpeg": ffmpeg, "deno": None})
        program = [sys.executable, "-I", "-B", str(ROOT / "server/child/forkserver.py"), str(theirs.fileno())]
        self._process = subprocess.Popen([*program, config], pass_fds=[theirs.fileno()], env=ENVIRONMENT)
        theirs.close()
        assert self._hear()["event"] == "ready"

    def close(self) -> None:
        self._control.close()
        self._process.wait(10)

    def start(self, directory: Path, job: jobs.Job) -> Job:
        return self.send(directory, jobs.to_message(job))

    def send(self, directory: Path, message: dict[str, Any]) -> Job:
        """Have a child read `message` first."""
        ours, theirs = socket.socketpair()
        log = os.open(directory.with_suffix(".log"), os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
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

    async def download(self, directory: Path, url: str, *, seconds: float = 20, **wishes: Any) -> Outcome:
        """Run a download to its end; `wishes` are fields of the request, or settings for downloads."""
        async with asyncio.timeout(seconds), self.begin(directory, url, **wishes) as job:
            return await job.run()

    def begin(self, directory: Path, url: str, **wishes: Any) -> Job:
        return self.start(directory, download_job(directory, url, self._ffmpeg, **wishes))

    def look(self, directory: Path, url: str) -> Job:
        """Begin to look at what `url` offers."""
        job = _maker(self._ffmpeg).info(InfoRequest(url=url), directory, directory.with_suffix(".lock"))
        return self.start(directory, job)

    def _hear(self) -> dict[str, Any]:
        message: dict[str, Any] = json.loads(self._control.recv(1 << 16))
        return message


def download_job(
    directory: Path, url: str = "http://a.test/", ffmpeg: str = FFMPEG, **wishes: Any
) -> jobs.Job:
    """As the service makes it; `wishes` are fields of the request, or settings for downloads."""
    limits = {name: wishes.pop(name) for name in DownloadSettings.model_fields if name in wishes}
    request = ProcessRequest(url=url, **wishes)
    return _maker(ffmpeg, **limits).download(request, directory, directory.with_suffix(".lock"))


def wished(**wishes: Any) -> jobs.Wishes:
    """What a child is told of a request with these fields."""
    return download_job(Path("/nowhere"), **wishes).wishes


def line(message: dict[str, Any]) -> bytes:
    """What the server writes first."""
    return json.dumps(message).encode() + b"\n"


def _maker(ffmpeg: str, **limits: Any) -> JobMaker:
    settings = DownloadSettings(**{"allowed_private_hosts": ("127.0.0.1",)} | limits)
    return JobMaker(settings, Tools(ffmpeg, None))


@contextlib.contextmanager
def running_jobs(ffmpeg: str = FFMPEG) -> Iterator[Jobs]:
    jobs = Jobs(ffmpeg)
    try:
        yield jobs
    finally:
        jobs.close()


def probe(path: Path) -> str:
    """What ffmpeg says about a file while it decodes all of it; fails if that is not without fault."""
    command = [FFMPEG, "-hide_banner", "-xerror", "-i", str(path), "-f", "null", "-"]
    result = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)
    assert result.returncode == 0, result.stderr
    return result.stderr


def broken(outcome: Outcome) -> tuple[str, bool, float | None]:
    """The code, whether another attempt may help, and after how many seconds."""
    assert outcome.last["kind"] == "broken", outcome.last
    return outcome.last["code"], outcome.last["retryable"], outcome.last.get("retry_after")
