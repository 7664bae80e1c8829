"""Servers in processes of their own, and what they cost: our service as `make run` starts it, and
references.
"""

import asyncio
import os
import re
import signal
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Self

import psutil  # type: ignore[import-untyped]

from tests.service import gone

ROOT = Path(__file__).parents[2]
PATIENCE = 60.0  # seconds that a start or an end may take
MIB = 1 << 20
_LISTENING = re.compile(rb"listening on (http://\S+)")
COMPLAINT = re.compile(rb"Traceback|\w+Warning:|never awaited| (ERROR|CRITICAL) ")
_LINES_OF_A_COMPLAINT = 40
_CORES = sorted(os.sched_getaffinity(0))
SERVER_CORE, LOAD_CORE = _CORES[0], _CORES[-1]


class Program:
    """`async with Program("-m", "server") as program`: answers at `program.url`; gone afterwards.

    It says where it listens in a line on standard error.
    """

    def __init__(self, *arguments: str, **environment: str) -> None:
        self._arguments = arguments
        self._environment = environment
        self.url = ""
        self.cwd = ROOT
        self.pid = 0
        self.log: list[bytes] = []
        self.complaints: list[list[bytes]] = []
        """Lines that the log of a healthy run does not have, each with those that followed."""

    async def __aenter__(self) -> Self:
        self._process = await asyncio.create_subprocess_exec(
            *(sys.executable, *self._arguments),
            cwd=self.cwd,
            env=clean_environment() | self._environment,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
        )
        self.pid = self._process.pid
        listening = asyncio.get_running_loop().create_future()
        self._reader = asyncio.create_task(self._read_log(listening), name="log of a program")
        async with asyncio.timeout(PATIENCE):
            self.url = await listening
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    async def stop(self) -> float:
        """Send SIGTERM; return the seconds until the process and all that it has started have ended."""
        if self._process.returncode is not None:
            return 0.0
        started, began = self.processes(), time.monotonic()
        self._process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(PATIENCE):
            await self._process.wait()
        took = time.monotonic() - began
        await gone(started)
        await self._reader
        return took

    async def kill(self) -> None:
        """Send SIGKILL, as in a crash. Processes that the program has started must end by themselves."""
        started = self.processes()
        self._process.kill()
        async with asyncio.timeout(PATIENCE):
            await self._process.wait()
        await gone(started)
        await self._reader

    async def _read_log(self, listening: "asyncio.Future[str]") -> None:
        assert self._process.stderr is not None
        async for line in self._process.stderr:
            self.log = [*self.log[-40:], line]
            if self.complaints and len(self.complaints[-1]) < _LINES_OF_A_COMPLAINT:
                self.complaints[-1].append(line)
            elif COMPLAINT.search(line):
                self.complaints.append([line])
            if not listening.done() and (found := _LISTENING.search(line)):
                listening.set_result(found[1].decode().rstrip("/"))
        if not listening.done():
            listening.set_exception(RuntimeError(b"".join(self.log).decode(errors="replace")))

    @property
    def port(self) -> int:
        return int(self.url.rpartition(":")[2])

    def processes(self) -> list[psutil.Process]:
        """Return all processes that the program has started, and their descendants."""
        found: list[psutil.Process] = psutil.Process(self.pid).children(recursive=True)
        return found

    def fork_server(self) -> psutil.Process:
        return psutil.Process(self.pid).children()[0]

    def pin(self) -> Self:
        """Pin the threads of the process, but not its children, to the servers' core."""
        for thread in psutil.Process(self.pid).threads():
            os.sched_setaffinity(thread.id, {SERVER_CORE})
        return self

    def cpu(self) -> float:
        """Return the seconds of CPU that all threads of the process have used."""
        return cpu_of(self.pid)

    def cpu_with_children(self) -> float:
        """Return the seconds of CPU of the process and of all that it has started; ended processes count in
        hundredths of a second.
        """
        fork_server = self.fork_server()
        times = [process.cpu_times() for process in (psutil.Process(self.pid), fork_server)]
        ended: float = sum(each.children_user + each.children_system for each in times)
        return self.cpu() + cpu_of(fork_server.pid) + ended

    def memory(self) -> float:
        return memory_of(self.pid)


class Clipwire(Program):
    """The service itself, with a free port and its data under `folder`."""

    def __init__(self, folder: Path, tree: Path = ROOT, **settings: str) -> None:
        """`tree`: the checkout whose service it is."""
        folder.mkdir(parents=True, exist_ok=True)
        configuration = folder / "config.toml"
        configuration.touch()
        ours = {
            "CLIPWIRE_CONFIG": str(configuration),
            "CLIPWIRE_SERVER__PORT": "0",
            "CLIPWIRE_STORAGE__DATA_DIR": str(folder / "data"),
            "CLIPWIRE_DOWNLOADS__ALLOWED_PRIVATE_HOSTS": '["127.0.0.1"]',
            "CLIPWIRE_DOWNLOADS__MIN_FREE_DISK": "0",
            "CLIPWIRE_LOGGING__LEVEL": "info",
        }
        super().__init__("-m", "server", **ours | settings)
        self.cwd = tree


def cpu_of(pid: int) -> float:
    """Return the CPU of a process by Linux's clock for it; /proc counts in hundredths of a second only."""
    return time.clock_gettime((~pid << 3) | 2)


def memory_of(pid: int) -> float:
    """Return the memory in MiB; shared pages count in part (proportional set size)."""
    return float(psutil.Process(pid).memory_full_info().pss) / MIB


def memory_of_all(processes: Iterable[psutil.Process]) -> float:
    total = 0.0
    for process in processes:
        try:
            total += memory_of(process.pid)
        except psutil.NoSuchProcess:
            continue
    return total


def clean_environment() -> dict[str, str]:
    """Return the environment without our settings, without the development mode of tests, and with bytecode
    written.
    """
    return {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("CLIPWIRE_")
        and name not in ("PORT", "PYTHONDEVMODE", "PYTHONDONTWRITEBYTECODE")
    }
