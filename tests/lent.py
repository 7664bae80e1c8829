"""Warm fork servers that the applications in a test's own process borrow in turn.

Most of these applications never start a job, and would still pay half a second of CPU for a fork server. The
protocol between server and fork server is real. A fork server that has died, or still has children, is not
lent again.
"""

import asyncio
import contextlib
import json
import socket
import subprocess
import sys
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from server.tasks.children import PROGRAM, ForkServer, child_environment

_CHILDREN_GONE_WITHIN = 5.0  # seconds that killed children may take to end
_OUTLASTS_A_TEST = 600.0  # seconds: a fork server that sleeps after so long does not sleep within a test


@dataclass
class Running:
    """A running fork server; `ready` is the message that it sent once it was warm."""

    process: "subprocess.Popen[bytes]"
    control: socket.socket
    ready: dict[str, Any] | None = None

    async def warm(self) -> dict[str, Any]:
        """Wait for the "ready" message and return it. May be cancelled, and called again on another event
        loop.
        """
        if self.ready is None:
            await _readable(self.control)
            self.ready = json.loads(self.control.recv(1 << 16))
        return dict(self.ready)

    def end(self) -> None:
        self.control.close()
        self.process.kill()  # the fork server's children die with it
        self.process.wait()


class ForkServers:
    def __init__(self) -> None:
        self._free: defaultdict[str, list[Running]] = defaultdict(list)

    def lend(
        self,
        ffmpeg: str | None,
        deno: str | None,
        launched: None = None,
        yt_dlp: Path | None = None,
        sleep_after: float = 0,
        cache: Path | None = None,
    ) -> ForkServer:
        """Make what stands for a `ForkServer`: a lent one, or a real one if it has to sleep within the test
        or needs another yt-dlp.
        """
        if yt_dlp or 0 < sleep_after < _OUTLASTS_A_TEST:
            return ForkServer(ffmpeg, deno, None, yt_dlp, sleep_after=sleep_after, cache=cache)
        return _Lent(self, ffmpeg, deno)

    def take(self, config: str) -> Running:
        while free := self._free[config]:
            running = free.pop()
            if running.process.poll() is None:
                return running
            running.end()
        return _start(config)

    def give_back(self, config: str, running: Running) -> None:
        self._free[config].append(running)

    def close(self) -> None:
        for running in (each for free in self._free.values() for each in free):
            running.end()


class _Lent(ForkServer):
    def __init__(self, owner: ForkServers, ffmpeg: str | None, deno: str | None) -> None:
        super().__init__(ffmpeg, deno)
        self._owner = owner

    async def _run_once(self) -> Literal["cold", "warm", "asleep"]:
        running = self._owner.take(self._config)
        try:
            self._receive(await running.warm())
            self._control = running.control
            watching = asyncio.create_task(self._kill_when_it_hangs(running.process), name="watchdog")
            try:
                await self._listen(running.control)
            finally:
                watching.cancel()
            running.end()
        except asyncio.CancelledError:
            if await self._is_without_children(running):
                self._owner.give_back(self._config, running)
            else:
                running.end()
            raise
        finally:
            self._warm.clear()
            self.ready = None
            self._control = None
            for job_id in list(self._children):
                self._child_is_gone(job_id)
        return "warm"

    async def _is_without_children(self, running: Running) -> bool:
        """Kill all children; return whether they ended in time and the fork server still runs."""
        with contextlib.suppress(TimeoutError, OSError):
            for job_id in self._children:
                await self.kill(job_id)
            async with asyncio.timeout(_CHILDREN_GONE_WITHIN):
                while self._children:
                    await _readable(running.control)
                    self._receive(json.loads(running.control.recv(1 << 16)))
            return running.process.poll() is None
        return False


def _start(config: str) -> Running:
    """Start a fork server. Call this from the main thread: a fork server dies with the thread that started
    it.
    """
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    ours.setblocking(False)
    with theirs:
        process = subprocess.Popen(
            [sys.executable, "-I", "-B", str(PROGRAM), str(theirs.fileno()), config],
            pass_fds=(theirs.fileno(),), env=child_environment(),
            stdin=subprocess.DEVNULL, start_new_session=True,
        )  # fmt: skip
    return Running(process, ours)


async def _readable(sock: socket.socket) -> None:
    """Wait until `sock` can be read. A cancelled `loop.sock_recv` might lose the message that it has read."""
    loop, readable = asyncio.get_running_loop(), asyncio.Event()
    loop.add_reader(sock, readable.set)
    try:
        await readable.wait()
    finally:
        loop.remove_reader(sock)
