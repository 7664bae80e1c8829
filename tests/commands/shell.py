"""Runs `clipwire` as a shell does: in a folder of its own, with pipes or on a terminal."""

import asyncio
import os
import pty
import re
import sys
import termios
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from tests.service import ROOT, Service

PATIENCE = 120  # seconds
TASK_ID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[0-9a-f]{4}-[0-9a-f]{12}")


@dataclass(frozen=True)
class Ran:
    status: int
    out: str
    err: str

    @property
    def task_id(self) -> str:
        found = TASK_ID.search(self.out)
        assert found, self.out + self.err
        return found[0]


class Shell:
    """`here` is its working directory; `environment` is all that it inherits beside PATH and LANG."""

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
        """A shell that finds `service` at the configured address."""
        port = {"CLIPWIRE_SERVER__PORT": service.url.rpartition(":")[2]}
        return Shell(self.here, **self.environment | port)

    def files(self) -> dict[str, int]:
        """Names and sizes of what is here."""
        return {
            path.relative_to(self.here).as_posix(): path.stat().st_size
            for path in self.here.rglob("*")
            if path.is_file()
        }

    async def start(self, *arguments: str) -> asyncio.subprocess.Process:
        """Ctrl-C ends it, also where a script runs the tests in its background, which ignores that signal."""
        return await asyncio.create_subprocess_exec(
            *("env", "--default-signal=INT", sys.executable, "-m", "server", *arguments),
            cwd=self.here,
            env=self.environment,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )

    async def run(self, *arguments: str, typed: str = "") -> Ran:
        return await self.end(await self.start(*arguments), typed)

    async def end(self, process: asyncio.subprocess.Process, typed: str = "") -> Ran:
        async with asyncio.timeout(PATIENCE):
            out, err = await process.communicate(typed.encode())
        assert process.returncode is not None
        return Ran(process.returncode, out.decode(), err.decode())

    async def on_terminal(
        self, *arguments: str, seen: Callable[[str], None], columns: int = 100, rows: int = 24
    ) -> tuple[int, str]:
        """Exit status, and all that was written to a terminal; `seen` gets it as it grows."""
        ours, theirs = pty.openpty()
        termios.tcsetwinsize(theirs, (rows, columns))
        try:
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "server", *arguments),
                cwd=self.here,
                env=self.environment | {"TERM": "xterm"},
                stdin=theirs,
                stdout=theirs,
                stderr=theirs,
            )
        finally:
            os.close(theirs)
        loop = asyncio.get_running_loop()
        reading = asyncio.create_task(
            asyncio.to_thread(_all_of, ours, lambda shown: loop.call_soon_threadsafe(seen, shown))
        )
        async with asyncio.timeout(PATIENCE):
            status = await process.wait()
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
    with suppress(OSError):  # EIO: nobody has it open any more
        while some := os.read(terminal, 65536):
            shown += some
            more(shown.decode(errors="ignore"))
    os.close(terminal)
    return shown


async def line_with(reader: asyncio.StreamReader | None, text: str) -> str:
    """The first line that has `text`."""
    assert reader
    async with asyncio.timeout(PATIENCE):
        while line := (await reader.readline()).decode():
            if text in line:
                return line
    raise AssertionError(f"it ended without {text!r}")
