"""The server's side of the fork server: one warm process that forks a child for each job.

The protocol is JSON: packets on the control socket, lines on each child's channel (see
`docs/architecture.md`). The server itself never imports yt-dlp, and a child inherits nothing of it:
the fork server is a fresh program with a scrubbed environment and two descriptors of its own.

Decisions: docs/decisions/children.md
"""

import asyncio
import contextlib
import json
import logging
import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import IO, Literal

from server.core.jobs import Job, to_message
from server.core.shielding import to_the_end

log = logging.getLogger(__name__)

PROGRAM = Path(__file__).parent.parent / "child" / "forkserver.py"
ENVIRONMENT_OF_CHILDREN = ("PATH", "LANG", "LC_ALL", "TZ", "SSL_CERT_FILE", "SSL_CERT_DIR")
MAX_PACKET = 64 * 1024
MAX_LINE = 8 * 1024 * 1024
GRACE = 0.7  # seconds a child has to end by itself before its group is killed
# Seconds the fork server then has to kill the child; a cancel must not wait for one that hangs.
KILLED_WITHIN = 0.6
DIES_WITHIN = 0.3  # seconds for a child to die that was killed without the fork server
WARM_WITHIN = 120.0  # seconds from its start
PING_EVERY = 5.0  # seconds between pings while children run
PING_EVERY_WHILE_IDLE = 30.0  # seconds between pings while none does
PING_ANSWERED_WITHIN = 15.0  # seconds, after which the fork server is killed, and its children with it
RESTART_DELAYS = (0.1, 0.5, 2.0, 10.0)  # seconds before a new fork server; longer after each that ended cold


@dataclass(frozen=True, slots=True)
class ForkServerReport:
    """What a fork server reports once it is warm.

    `unfit` has a sentence for each part of yt-dlp that is unlike what children expect, and so is not patched.
    """

    pid: int
    yt_dlp: str
    ffmpeg: str | None
    deno: str | None
    landlock: int
    unfit: list[str]


@dataclass(frozen=True, slots=True)
class Launched:
    """A fork server that is warming up, and the server's end of its control socket."""

    control: socket.socket
    process: "subprocess.Popen[bytes]"

    def end(self) -> None:
        self.process.kill()
        self.process.wait()
        self.control.close()


def cache_of(data_dir: Path) -> Path:
    """The folder in which fork servers keep what later ones need not find out again; it may be deleted."""
    return data_dir / "cache"


def configuration(
    ffmpeg: str | None, deno: str | None, yt_dlp: Path | None = None, cache: Path | None = None
) -> str:
    """Return a fork server's argument: where programs are, the folder of yt-dlp unless the installed one is
    used, and a `cache_of` a data directory.
    """
    folders = {"yt_dlp": yt_dlp, "cache": cache and cache.absolute()}
    chosen = {name: str(folder) for name, folder in folders.items() if folder}
    return json.dumps({"ffmpeg": ffmpeg, "deno": deno} | chosen)


def launch(config: str, errors: IO[bytes] | None = None) -> Launched:
    """Start a fork server with a `configuration`; it ends when `control` is closed. Raises `OSError`."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    ours.setblocking(False)
    with theirs:
        try:
            process = subprocess.Popen(  # noqa: S603
                (sys.executable, "-I", str(PROGRAM), str(theirs.fileno()), config),
                pass_fds=(theirs.fileno(),), env=child_environment(),
                stdin=subprocess.DEVNULL, stderr=errors, start_new_session=True,
            )  # fmt: skip
        except OSError:
            ours.close()
            raise
    return Launched(ours, process)


class Child:
    """One job in a process of its own; `exited` resolves when it and all its descendants are gone."""

    def __init__(self, server: "ForkServer", job_id: str) -> None:
        self._server = server
        self._id = job_id
        self.pid: int | None = None  # None until the fork server has said that the child began
        self._reader: asyncio.StreamReader
        self._writer: asyncio.StreamWriter
        self.exited: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def connect(self, channel: socket.socket, job: Job) -> None:
        self._reader, self._writer = await asyncio.open_connection(sock=channel, limit=MAX_LINE)
        self._writer.write(_line(to_message(job)))

    async def read_line(self) -> bytes:
        """Return the next event, or `b""` after the last. Raises `ValueError` if it exceeds `MAX_LINE`."""
        try:
            line = await self._reader.readline()
        except ConnectionError:
            return b""
        return line if line.endswith(b"\n") else b""  # killed in the middle of a line

    def command(self, command: str, **values: object) -> None:
        with contextlib.suppress(ConnectionError):
            self._writer.write(_line({"command": command, **values}))

    async def stop(self) -> None:
        """Ask the child to stop, and kill it after `GRACE`; return when all its processes are gone.

        Only the fork server sees all processes end. If it hangs, return when the child itself is dead: the
        programs that it has started die with it.
        """
        if not self.exited.done():
            self.command("stop")
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(asyncio.shield(self.exited), GRACE)
        if not self.exited.done():
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(KILLED_WITHIN):
                    await self._server.kill(self._id)
                    await asyncio.shield(self.exited)
        if not self.exited.done() and self.pid is not None:
            for kill in (os.kill, os.killpg):  # the pid is still this child's, which was not reaped yet
                with contextlib.suppress(ProcessLookupError):
                    kill(self.pid, signal.SIGKILL)
            with contextlib.suppress(TimeoutError, ConnectionError):
                async with asyncio.timeout(DIES_WITHIN):
                    while await self._reader.read(MAX_PACKET):
                        pass
        # A child that has yet to begin ends at once. `close` would first send it the rest of a long job.
        self._writer.transport.abort()


async def stopped(starting: asyncio.Future[Child]) -> None:
    """Stop a child, even if it has not started yet."""
    await (await starting).stop()


@contextlib.asynccontextmanager
async def child_in_scratch(
    start: Callable[[str, Job, Path], Awaitable[Child]],
    job: Job,
    folder: Path,
    files: Mapping[str, bytes] = MappingProxyType({}),
) -> AsyncIterator[Child]:
    """Run a child for one answer. It finds `files` in its directory; afterwards it and `folder` are gone.

    Raises `OSError` if it cannot start.
    """

    def make() -> None:
        folder.mkdir(mode=0o700)
        for name, content in files.items():
            (folder / "work").mkdir(mode=0o700, exist_ok=True)
            (folder / "work" / name).write_bytes(content)

    async def begin() -> Child:
        await asyncio.to_thread(make)
        return await start(folder.name, job, folder / "log")

    async def stop_and_delete() -> None:
        with contextlib.suppress(OSError):  # the child never started
            await stopped(starting)
        await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)

    starting = asyncio.ensure_future(begin())
    try:
        # Shielded: a cancel during the start would leave a child that nobody stops.
        yield await asyncio.shield(starting)
    finally:
        await to_the_end(stop_and_delete())


class ForkServer:
    """Keeps one fork server running, and starts jobs in it.

    `lacks` has a sentence for each part of yt-dlp that is unlike what children expect; if they need one of
    these parts, `ready` stays None. `yt_dlp` is the folder of a release that is used in place of the
    installed one. Its stderr goes to `errors`, by default to the stderr of this process.

    It "sleeps": its process ends once no job has needed it for `sleep_after` seconds (0: never), and starts
    again at `wake`, `warm` and `start`. While it sleeps, `ready` keeps its value.
    """

    def __init__(
        self,
        ffmpeg: str | None,
        deno: str | None,
        launched: Launched | None = None,
        yt_dlp: Path | None = None,
        errors: IO[bytes] | None = None,
        sleep_after: float = 0,
        cache: Path | None = None,
    ) -> None:
        """The first process may be `launched` already."""
        self._config = configuration(ffmpeg, deno, yt_dlp, cache)
        self._launched = launched
        self._errors = errors
        self._sleep_after = sleep_after
        self._needed_at = 0.0  # the event loop's time
        self._awake = asyncio.Event()
        self._awake.set()
        self._cold_ends = 0  # how often in a row it has ended without having been warm
        self._failed = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()
        self._children: dict[str, Child] = {}
        self._control: socket.socket | None = None
        self._warm = asyncio.Event()
        self._known = asyncio.Event()
        self._ping_wanted = asyncio.Event()
        self._pong = asyncio.Event()
        self._supervision: asyncio.Task[None] | None = None
        self.ready: ForkServerReport | None = None
        self.lacks: list[str] = []

    async def __aenter__(self) -> "ForkServer":
        self._supervision = asyncio.create_task(self._supervise(), name="fork server")
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._supervision
        self._supervision.cancel()
        await asyncio.wait([self._supervision])

    def wake(self) -> None:
        """Start the fork server if it sleeps, and keep it awake for `sleep_after` seconds: a job
        is coming.
        """
        self._needed_at = asyncio.get_running_loop().time()
        self._awake.set()

    async def warm(self) -> None:
        """Return once jobs can be started."""
        self.wake()
        await self._warm.wait()

    async def known(self) -> None:
        """Return once jobs can be started, or once it is known why they cannot: see `lacks`."""
        await self._known.wait()

    async def failed(self, times: int) -> None:
        """Return once the fork server has ended that many `times` in a row without having been warm."""
        while self._cold_ends < times:
            self._failed.clear()
            await self._failed.wait()

    async def first_ready(self, within: float, starts: int = 1) -> ForkServerReport | None:
        """Return its report once it is warm; None after that many failed `starts`, or after
        `within` seconds.
        """
        waiting = [asyncio.ensure_future(self.known()), asyncio.ensure_future(self.failed(starts))]
        try:
            await asyncio.wait(waiting, timeout=within, return_when=asyncio.FIRST_COMPLETED)
            return self.ready
        finally:
            for each in waiting:
                each.cancel()

    @property
    def is_idle(self) -> bool:
        return self._idle.is_set()

    @property
    def is_warm(self) -> bool:
        return self._warm.is_set()

    @property
    def is_asleep(self) -> bool:
        return not self._awake.is_set()

    @property
    def _is_waking(self) -> bool:
        """Whether the fork server works, but is not warm: it is starting again, or asleep."""
        return self.ready is not None and not self.is_warm

    async def answers(self, within: float) -> bool:
        """Say whether it is warm, or wakes, and answers a ping in time; if it does not, it is
        replaced soon.
        """
        if not self.is_warm and not self._is_waking:
            return False
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(within):
                await self._warm.wait()
                self._pong.clear()
                self._ping_wanted.set()
                await self._pong.wait()
                return True
        return False

    async def idle(self) -> None:
        """Return once no child runs."""
        await self._idle.wait()

    async def start(self, job_id: str, job: Job, log_file: Path) -> Child:
        """Start `job` in a child that writes its output to `log_file`; a child that cannot start has
        `exited`.

        Raises `OSError` if there is no room for the log.
        """
        with await asyncio.to_thread(_open_log, log_file) as output:
            while self._is_waking:  # it may have fallen asleep after the caller waited for it
                await self.warm()
            ours, theirs = socket.socketpair()
            ours.setblocking(False)
            # No await from here to the send: the child must be registered for the fork server that gets it.
            # When that fork server ends, `_run_once` reports its registered children as gone.
            child = self._children[job_id] = Child(self, job_id)
            self._idle.clear()
            self._ping_wanted.set()
            with theirs:
                try:
                    await self._send({"op": "start", "id": job_id}, theirs.fileno(), output.fileno())
                except OSError:
                    self._child_is_gone(job_id)
        await child.connect(ours, job)
        return child

    async def kill(self, job_id: str) -> None:
        with contextlib.suppress(OSError):  # the fork server is dead, and its children with it
            await self._send({"op": "kill", "id": job_id})

    async def _supervise(self) -> None:
        failures = 0
        while True:
            await self._awake.wait()
            try:
                end = await self._run_once()
                failures = failures + 1 if end == "cold" else 0
                self._cold_ends = self._cold_ends + 1 if end == "cold" else 0
                self._failed.set()
                if end == "asleep":
                    continue
            except OSError as exc:  # out of processes, memory or descriptors: try again later
                log.error("no fork server can be started: %s", exc)
                failures += 1
            pause = RESTART_DELAYS[min(failures, len(RESTART_DELAYS) - 1)]
            log.error("the fork server ended; a new one starts in %s s", pause)
            await asyncio.sleep(pause)

    async def _run_once(self) -> Literal["cold", "warm", "asleep"]:
        """Start a fork server and listen to it until it and all its children are gone.

        Return the state in which it ended.
        """
        end: Literal["cold", "warm", "asleep"] = "cold"
        launched, self._launched = self._launched or launch(self._config, self._errors), None
        process = launched.process
        with launched.control as ours:
            self._control = ours
            watching = asyncio.create_task(self._kill_when_it_hangs(process), name="watchdog")
            sleeping = asyncio.create_task(self._sleep_when_unneeded(process), name="sleep")
            try:
                await self._listen(ours)
                end = "asleep" if sleeping.done() else "warm" if self.is_warm else "cold"
            finally:
                watching.cancel()
                sleeping.cancel()
                self._warm.clear()
                self._control = None
                if end != "asleep":
                    self.ready = None
                process.kill()  # it may be busy warming; its children die with it
                # A fork server may end by itself just before the service does.
                await to_the_end(asyncio.to_thread(process.wait))
                for job_id in list(self._children):
                    self._child_is_gone(job_id)
        return end

    async def _sleep_when_unneeded(self, process: "subprocess.Popen[bytes]") -> None:
        """End the fork server once no job has needed it for `sleep_after` seconds."""
        loop = asyncio.get_running_loop()
        await self._warm.wait()
        if not self._sleep_after:
            await asyncio.Event().wait()
        while True:
            await self._idle.wait()
            left = self._needed_at + self._sleep_after - loop.time()
            if left <= 0:
                break
            await asyncio.sleep(left)
        # No await since the last check: a job that starts from now on waits for the next fork server.
        self._awake.clear()
        self._warm.clear()
        self._control = None
        process.kill()
        log.info("the fork server sleeps until there is work")

    async def _listen(self, control: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        with contextlib.suppress(ConnectionError):
            while packet := await loop.sock_recv(control, MAX_PACKET):
                self._receive(json.loads(packet))

    async def _kill_when_it_hangs(self, process: "subprocess.Popen[bytes]") -> None:
        """Kill a fork server that answers no ping: one that was stopped, or waits for a dead disk, would
        block all tasks for ever.
        """
        try:
            async with asyncio.timeout(WARM_WITHIN):
                await self._warm.wait()
            while True:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(PING_EVERY if self._children else PING_EVERY_WHILE_IDLE):
                        await self._ping_wanted.wait()
                self._ping_wanted.clear()
                self._pong.clear()
                async with asyncio.timeout(PING_ANSWERED_WITHIN):
                    await self._send({"op": "ping"})
                    await self._pong.wait()
        except TimeoutError:  # before `OSError`, its base class
            log.error("the fork server does not answer")
            process.kill()
        except OSError:
            pass  # the fork server is gone, which `_listen` notices

    def _receive(self, message: dict[str, object]) -> None:
        match message.pop("event"):
            case "ready":
                self.ready = ForkServerReport(**message)  # type: ignore[arg-type]
                self.lacks = self.ready.unfit
                self._needed_at = asyncio.get_running_loop().time()
                self._warm.set()
                self._known.set()
            case "unfit":
                self.lacks = [str(each) for each in message["unfit"]]  # type: ignore[attr-defined]
                self._known.set()
                log.error("this yt-dlp is of no use: %s", "; ".join(self.lacks))
            case "started":
                if child := self._children.get(str(message["id"])):
                    child.pid = int(str(message["pid"]))
            case "pong":
                self._pong.set()
            case "exit":
                self._child_is_gone(str(message["id"]))

    def _child_is_gone(self, job_id: str) -> None:
        child = self._children.pop(job_id, None)
        self._needed_at = asyncio.get_running_loop().time()
        if not self._children:
            self._idle.set()
        if child and not child.exited.done():
            child.exited.set_result(None)

    async def _send(self, message: dict[str, object], *descriptors: int) -> None:
        packet, control = json.dumps(message).encode(), self._control
        if control is None:
            raise ConnectionResetError("the fork server is gone")
        while True:
            try:
                socket.send_fds(control, [packet], list(descriptors))
            except BlockingIOError:  # the socket's buffer is full: hundreds of starts at once
                await asyncio.sleep(0.005)
            else:
                return


def child_environment() -> dict[str, str]:
    """Pass on only a few variables: the server's own environment holds tokens and passwords."""
    passed_on = {name: os.environ[name] for name in ENVIRONMENT_OF_CHILDREN if name in os.environ}
    return passed_on | {"YTDLP_NO_PLUGINS": "1", "HOME": "/nonexistent"}


def _open_log(path: Path) -> IO[bytes]:
    """Open the log for writing and reading: a child shortens its log when it gets too long."""

    def for_us(name: str, flags: int) -> int:
        return os.open(name, flags | os.O_NOFOLLOW, 0o600)

    return open(path, "a+b", buffering=0, opener=for_us)


def _line(message: Mapping[str, object]) -> bytes:
    return json.dumps(message, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"
