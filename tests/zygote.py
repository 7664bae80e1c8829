"""Starts services and commands by a fork of a process that has imported what they import.

A service's start takes more than a second of CPU, nearly all of it for imports, of the service and of its
fork server; tests would pay that two hundred times, and a part of it for two hundred commands. So each
session of pytest has one process that has paid it once: each service is forked from this process, and the
service's first fork server from the service. Commands are forked from a second process. All else is as after
a start by `exec`: arguments, environment, working directory, standard streams, sessions, signals.

Whatever needs another start is started by `exec`: another program, a service in another folder, an
environment in which Python or yt-dlp would start differently, and the fork servers that a service starts
while it runs.
"""

import json
import os
import re
import select
import signal
import socket
import struct
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO, Final

ROOT: Final = Path(__file__).parent.parent
COMMAND: Final = (sys.executable, "-W", "default", "-m", "server")
TELLING: Final = (*COMMAND[:3], str(ROOT / "tests" / "fakes" / "telling.py"))
CHECKING: Final = (*COMMAND[:3], str(ROOT / "tests" / "fakes" / "checking.py"))
SKEWED: Final = str(ROOT / "tests" / "skewed")  # on the path from a zygote's start, for all its forks
MORTAL: Final = str(ROOT / "tests" / "mortal")  # works also if it comes on the path after the imports
CLIPWIRE: Final = (sys.executable, "-m", "server")  # a command's arguments follow
# The variables that a command's environment may have: no other changes how Python starts or what is imported.
_OF_COMMANDS: Final = re.compile(r"CLIPWIRE_\w+|HOME|LANG|PATH|PYTHONPATH|TERM|TMPDIR|XDG_\w+")
AUTHORITIES: Final = "SSL_CERT_FILE"  # a fork server reads this variable once, at its start
ROOM: Final = 1000  # bytes that a zygote reserves in its own command line, for the command line of its forks
NUMBER: Final = struct.Struct("i")


def _common(environment: Mapping[str, str]) -> dict[str, str]:
    """Return the variables that a zygote and its forks must have in common."""
    own = ("CLIPWIRE_", "PORT", "PYTEST_", "PYTHONPATH", "SKEW", "LEASE", AUTHORITIES)
    return {name: value for name, value in environment.items() if not name.startswith(own)}


class Zygotes:
    """The zygotes: one for each command and set of certificate authorities that is needed."""

    def __init__(self) -> None:
        self._running: dict[tuple[str, ...], tuple[subprocess.Popen[bytes], socket.socket]] = {}
        self._environment = dict(os.environ)

    def start(self, command: tuple[str, ...], cwd: Path, environment: dict[str, str]) -> "Process":
        """Start a service; its standard error is a pipe."""
        if (
            command not in (COMMAND, TELLING, CHECKING)
            or cwd != ROOT
            or _common(environment) != _common(self._environment)
            or environment.get("PYTHONPATH") not in (SKEWED, MORTAL, self._environment.get("PYTHONPATH"))
        ):
            return by_exec(command, cwd, environment)
        trusted = {AUTHORITIES: environment[AUTHORITIES]} if AUTHORITIES in environment else {}
        control = self._control_of(
            command, self._environment | trusted | {"PYTHONPATH": SKEWED}, *COMMAND[1:3]
        )
        errors, their_errors = os.pipe()
        with open(os.devnull, "r+b", buffering=0) as nothing, os.fdopen(their_errors, "wb") as written:
            streams = (nothing.fileno(), nothing.fileno(), written.fileno())
            return Forked(control, command, cwd, environment, streams, os.fdopen(errors, "rb"))

    def run(
        self, arguments: Sequence[str], cwd: Path, environment: dict[str, str], streams: Sequence[int]
    ) -> "Process":
        """Start `clipwire` with these arguments and standard streams."""
        ours = {"LANG": "C.UTF-8", "PYTHONPATH": str(ROOT)}
        if (
            not all(map(_OF_COMMANDS.fullmatch, environment))
            or environment | ours != environment
            or len(os.fsencode("\0".join(arguments))) >= ROOM
        ):
            return command_by_exec(arguments, cwd, environment, streams)
        control = self._control_of(CLIPWIRE, ours | {"PATH": os.environ["PATH"]})
        return Forked(control, (*CLIPWIRE, *arguments), cwd, environment, streams)

    def _control_of(
        self, command: tuple[str, ...], environment: dict[str, str], *options: str
    ) -> socket.socket:
        kind = (*command, environment.get(AUTHORITIES, ""))
        if kind not in self._running:
            ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            with theirs:
                process = subprocess.Popen(
                    (
                        *(sys.executable, *options, "-m", "tests.fakes.forking"),
                        *(str(theirs.fileno()), "-" * ROOM, *command),
                    ),
                    cwd=ROOT,
                    env=environment,
                    pass_fds=(theirs.fileno(),),
                    stdin=subprocess.DEVNULL,
                )
            self._running[kind] = process, ours
        return self._running[kind][1]

    def close(self) -> None:
        for process, control in self._running.values():
            control.close()
            process.wait()


def by_exec(command: tuple[str, ...], cwd: Path, environment: dict[str, str]) -> "subprocess.Popen[bytes]":
    return subprocess.Popen(
        command, cwd=cwd, env=environment,
        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
    )  # fmt: skip


def command_by_exec(
    arguments: Sequence[str], cwd: Path, environment: dict[str, str], streams: Sequence[int]
) -> "subprocess.Popen[bytes]":
    """Run a command by `exec`. Ctrl-C ends it even if a script runs the tests in its background, where that
    signal is ignored.
    """
    stdin, stdout, stderr = streams
    return subprocess.Popen(
        ("env", "--default-signal=INT", *CLIPWIRE, *arguments),
        cwd=cwd, env=environment, stdin=stdin, stdout=stdout, stderr=stderr,
    )  # fmt: skip


class Forked:
    """A process that a zygote has forked, with what tests use of a `subprocess.Popen`.

    The zygote, whose child it is, sends its process id, and in the end its exit status.
    """

    def __init__(
        self,
        control: socket.socket,
        command: tuple[str, ...],
        cwd: Path,
        environment: dict[str, str],
        streams: Sequence[int],
        stderr: IO[bytes] | None = None,
    ) -> None:
        self._state, their_state = os.pipe()
        start = {"command": command, "cwd": str(cwd), "environment": environment}
        socket.send_fds(control, [json.dumps(start).encode()], [*streams, their_state])
        os.close(their_state)
        self.stderr = stderr
        self.returncode: int | None = None
        (self.pid,) = NUMBER.unpack(os.read(self._state, NUMBER.size))

    def opened(self) -> int:
        """Return a descriptor that becomes readable when the service has ended; the caller closes it."""
        return os.dup(self._state)

    def poll(self) -> int | None:
        return self._look(0)

    def wait(self, timeout: float | None = None) -> int:
        status = self._look(timeout)
        if status is None:
            raise subprocess.TimeoutExpired(COMMAND, timeout or 0)
        return status

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            with suppress(ProcessLookupError):  # the process has ended, and its status is on its way
                os.kill(self.pid, number)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    def _look(self, timeout: float | None) -> int | None:
        if self.returncode is None and select.select([self._state], [], [], timeout)[0]:
            (self.returncode,) = NUMBER.unpack(os.read(self._state, NUMBER.size))
            os.close(self._state)
        return self.returncode


Process = subprocess.Popen[bytes] | Forked
