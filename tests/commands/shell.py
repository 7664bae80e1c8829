"""Runs `clipwire` as a shell does: in a separate folder, with pipes or on a terminal."""

import asyncio
import os
import pty
import re
import signal
import subprocess
import termios
from asyncio import StreamReader
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import NamedTuple

from tests.service import ROOT, Service, exit_status
from tests.zygote import CLIPWIRE, Process, command_by_exec

PATIENCE = 120  # seconds that a command may take
TASK_ID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[0-9a-f]{4}-[0-9a-f]{12}")


class Ran(NamedTuple):
    status: int
    out: str
    err: str

    @property
    def task_id(self) -> str:
        found = TASK_ID.search(self.out)
        assert found, self.out + self.err
        return found[0]


class Running:
    """A command that was started, with pipes as its standard streams."""

    def __init__(self, process: Process, stdin: int, stdout: StreamReader, stderr: StreamReader) -> None:
        self._process = process
        self._stdin: int | None = stdin
        self.stdout = stdout
        self.stderr = stderr
        self.pid = process.pid

    @property
    def has_ended(self) -> bool:
        return self._process.poll() is not None

    def send_signal(self, number: signal.Signals) -> None:
        """Send a signal, unless the command has ended."""
        self._process.send_signal(number)

    async def end(self, typed: str = "", within: float = PATIENCE) -> Ran:
        """Type `typed`, which must fit into a pipe, then end the input; wait until the command ends."""
        async with asyncio.timeout(within):
            self._type(typed)
            out, err = await asyncio.gather(self.stdout.read(), self.stderr.read())
            return Ran(await exit_status(self._process), out.decode(), err.decode())

    def _type(self, typed: str) -> None:
        if (stdin := self._stdin) is not None:
            self._stdin = None
            with suppress(BrokenPipeError):
                os.write(stdin, typed.encode())
            os.close(stdin)


class Shell:
    """Runs commands. `here` is the working directory; `environment` is all that commands inherit beside PATH
    and LANG.
    """

    begin = staticmethod(command_by_exec)

    def __init__(self, here: Path, **environment: str) -> None:
        self.here = here
        self.environment = {
            "PATH": os.environ["PATH"],
            "LANG": "C.UTF-8",
            "PYTHONPATH": str(ROOT),
            "HOME": str(here),
            **environment,
        }

    def using(self, service: Service) -> "Shell":
        """Return a shell whose configured address is that of `service`."""
        port = {"CLIPWIRE_SERVER__PORT": service.url.rpartition(":")[2]}
        return Shell(self.here, **self.environment | port)

    def files(self) -> dict[str, int]:
        """Return the names and the sizes of the files in the working directory."""
        return {
            path.relative_to(self.here).as_posix(): path.stat().st_size
            for path in self.here.rglob("*")
            if path.is_file()
        }

    async def start(self, *arguments: str) -> Running:
        return await _with_pipes(partial(self.begin, arguments, self.here, self.environment))

    async def in_sh(self, script: str, *arguments: str, typed: str = "") -> Ran:
        """Run `script`, in which `"$@"` is our command."""
        process = await _with_pipes(
            lambda streams: subprocess.Popen(
                ("sh", "-c", script, "sh", *CLIPWIRE, *arguments),
                cwd=self.here, env=self.environment, stdin=streams[0], stdout=streams[1], stderr=streams[2],
            )
        )  # fmt: skip
        return await process.end(typed)

    async def run(self, *arguments: str, typed: str = "") -> Ran:
        return await (await self.start(*arguments)).end(typed)

    async def on_terminal(
        self, *arguments: str, seen: Callable[[str], None], columns: int = 100, rows: int = 24
    ) -> tuple[int, str]:
        """Run a command on a terminal; return the exit status and all that was written. `seen` is called with
        what was written so far.
        """
        ours, theirs = pty.openpty()
        termios.tcsetwinsize(theirs, (rows, columns))
        try:
            environment = self.environment | {"TERM": "xterm"}
            process = self.begin(arguments, self.here, environment, (theirs, theirs, theirs))
        finally:
            os.close(theirs)
        loop = asyncio.get_running_loop()
        reading = asyncio.create_task(
            asyncio.to_thread(_all_of, ours, lambda shown: loop.call_soon_threadsafe(seen, shown))
        )
        async with asyncio.timeout(PATIENCE):
            status = await exit_status(process)
            shown = await reading
        return status, shown.decode()


class Screen:
    """The lines that a terminal shows for what was written to it, and those that scrolled off its top."""

    def __init__(self, written: str, columns: int, rows: int = 24) -> None:
        self.lines = [""]
        at, column = 0, 0
        for sign in re.findall(r"\x1b\[[0-9;?]*[A-Za-z]|.", written, re.DOTALL):
            if sign == "\x1b[A":
                at = max(at - 1, len(self.lines) - rows, 0)
            elif sign == "\r":
                column = 0
            elif sign == "\n" or column == columns:
                at, column = at + 1, column if sign == "\n" else 0
                if at == len(self.lines):
                    self.lines.append("")
            if sign.isprintable():
                line = self.lines[at].ljust(column)
                self.lines[at] = line[:column] + sign + line[column + 1 :]
                column += 1
        self.lines = [line.rstrip() for line in self.lines]
        self.shown = self.lines[-rows:]


def _all_of(terminal: int, more: Callable[[str], object]) -> bytes:
    shown = b""
    with suppress(OSError):  # EIO: no process has the terminal open any more
        while some := os.read(terminal, 65536):
            shown += some
            more(shown.decode(errors="ignore"))
    os.close(terminal)
    return shown


async def _with_pipes(begin: Callable[[tuple[int, int, int]], Process]) -> Running:
    stdin, typing = os.pipe()
    reading, stdout = os.pipe()
    reading_errors, stderr = os.pipe()
    try:
        process = begin((stdin, stdout, stderr))
    finally:
        for each in (stdin, stdout, stderr):
            os.close(each)
    return Running(process, typing, await _reader(reading), await _reader(reading_errors))


async def _reader(descriptor: int) -> StreamReader:
    reader = StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(descriptor, "rb", buffering=0)
    )
    return reader


async def line_with(reader: StreamReader, text: str) -> str:
    """Return the first line that contains `text`."""
    async with asyncio.timeout(PATIENCE):
        while line := (await reader.readline()).decode():
            if text in line:
                return line
    raise AssertionError(f"it ended without {text!r}")
