"""The program of `tests.zygote`: it imports what a service and its fork server import, and forks services.

    python -W default -m tests.fakes.forking FD ROOM COMMAND...

Each packet on FD has the command, working directory and environment of a service, with four descriptors: its
standard streams, and a pipe for its process id and exit status. COMMAND is what would start a service by
`exec`. A fork writes its own arguments over those of this process; ROOM makes the space for them long enough.

If COMMAND is `tests.zygote.CLIPWIRE`, it imports what all commands but the service import, and forks
commands.
"""

import ctypes
import gc
import json
import os
import runpy
import select
import signal
import socket
import subprocess
import sys
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from io import TextIOWrapper
from pathlib import Path
from typing import IO

from server.child import forkserver, preload
from server.tasks import children
from server.tasks.programs_found import find_tools
from tests.fakes import checking
from tests.fakes.extractors import load_extractors
from tests.zygote import CHECKING, CLIPWIRE, MORTAL, NUMBER, ROOT, TELLING

_LONGEST_PACKET = 1 << 17
_IMPORTED_LATE = (
    *("backup", "check", "config", "copy", "get", "kept_tokens", "login", "own_server", "people"),
    *("pip_index", "progress_display", "remote", "remote_client", "remote_subscriptions", "remote_tasks"),
    *("saving", "self_test", "update"),
)
_launch = children.launch


def main() -> int:
    command = tuple(sys.argv[3:])
    if command == CLIPWIRE:
        return _commands()
    if command == CHECKING:
        checking.install()
    else:
        tools = find_tools()
        job = preload.load("server.child.job")
        if command == TELLING:
            from tests.fakes import telling, told  # noqa: F401  for its children, and what its fork server adds
        preload.warm(job, tools.ffmpeg, tools.deno)
        load_extractors()
    children.launch = _launch_first  # before another module imports the name
    from server import __main__ as service
    from server.commands import serve  # noqa: F401

    gc.collect()
    gc.freeze()
    with socket.socket(fileno=int(sys.argv[1])) as control:
        start = _fork_processes(control)
    if start is None:
        return 0
    environment = start.environment
    _become(command, environment)
    _FirstForkServer.waiting = _FirstForkServer(checking.serve if command == CHECKING else forkserver.main)
    if environment.get("PYTHONPATH") == MORTAL:
        runpy.run_path(f"{MORTAL}/sitecustomize.py")
    sys.argv = [service.__file__]
    return service.main([], "python -m server")


def _commands() -> int:
    from server import __main__ as program
    from server.commands import cli

    for module in (*cli.COMMANDS.values(), *_IMPORTED_LATE):
        import_module(f"server.commands.{module}")
    gc.collect()
    gc.freeze()
    with socket.socket(fileno=int(sys.argv[1])) as control:
        start = _fork_processes(control)
    if start is None:
        return 0
    _become(start.command, start.environment)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.chdir(start.cwd)
    sys.path[0] = start.cwd  # `-m` puts the working directory here
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        setattr(sys, name, _standard_stream(number, getattr(sys, name)))
    return program.main([*start.command[len(CLIPWIRE) :]], "python -m server")


def _standard_stream(number: int, like: TextIOWrapper) -> TextIOWrapper:
    """Return a standard stream as Python makes it at its start; `like` has the wanted encoding."""
    buffer = open(number, "wb" if number else "rb", closefd=False)  # noqa: SIM115
    at_line_ends = number == 2 or os.isatty(number)
    return TextIOWrapper(buffer, like.encoding, like.errors, "\n", line_buffering=at_line_ends)


@dataclass(frozen=True)
class _Start:
    command: tuple[str, ...]
    cwd: str
    environment: dict[str, str]


def _fork_processes(control: socket.socket) -> _Start | None:
    """Fork a process for each request. Return in each fork, with what the fork is to be, and at the end of
    the requests, with None.
    """
    running: dict[int, tuple[int, int]] = {}
    while True:
        for ready in select.select([control.fileno(), *running], [], [])[0]:
            if ready in running:
                pid, state = running.pop(ready)
                os.write(state, NUMBER.pack(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])))
                os.close(state)
                os.close(ready)
                continue
            packet, descriptors, *_ = socket.recv_fds(
                control, _LONGEST_PACKET, maxfds=4, flags=socket.MSG_CMSG_CLOEXEC
            )
            if not packet:
                return None
            *streams, state = descriptors
            pid = os.fork()
            if pid == 0:
                control.detach()
                for number, descriptor in enumerate(streams):
                    os.dup2(descriptor, number)
                os.closerange(3, os.sysconf("SC_OPEN_MAX"))
                start = json.loads(packet)
                return _Start(tuple(start["command"]), start["cwd"], start["environment"])
            for each in streams:
                os.close(each)
            os.write(state, NUMBER.pack(pid))
            running[os.pidfd_open(pid)] = pid, state


class _FirstForkServer:
    """A fork of the service, made while the service has one thread; it waits for its `configuration`."""

    waiting: "_FirstForkServer | None" = None

    def __init__(self, serve: Callable[[], None]) -> None:
        ours, theirs = (each.detach() for each in socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET))
        told, tell = os.pipe()
        self._control, self._tell = ours, tell
        self._pid = os.fork()
        if self._pid:
            os.close(theirs)
            os.close(told)
            return
        try:
            os.setsid()
            theirs, told = os.dup(theirs), os.dup(told)
            os.dup2(theirs, 3)
            os.dup2(told, 4)
            os.closerange(5, os.sysconf("SC_OPEN_MAX"))
            config = os.read(4, _LONGEST_PACKET).decode()
            os.close(4)
            if config:
                command = (sys.executable, "-I", str(children.PROGRAM), "3", config)
                _become(command, children.child_environment())
                sys.argv = [*command[2:]]
                sys.path[:] = [*(place for place in sys.path if place != str(ROOT)), str(ROOT)]
                for category in (
                    DeprecationWarning,
                    PendingDeprecationWarning,
                    ImportWarning,
                    ResourceWarning,
                ):
                    # Python ignores these warnings unless it gets `-W`.
                    warnings.simplefilter("ignore", category)
                serve()
        finally:
            os._exit(1)

    def launch(self, config: str) -> children.Launched:
        os.write(self._tell, config.encode())
        os.close(self._tell)
        control = socket.socket(fileno=self._control)
        control.setblocking(False)
        return children.Launched(control, _Running(self._pid))


class _Running(subprocess.Popen[bytes]):
    """A child of this process that is running already."""

    def __init__(self, pid: int) -> None:
        self._known = pid
        super().__init__(())

    def _execute_child(self, *_: object) -> None:
        self._child_created = True
        self.pid = self._known


def _launch_first(config: str, errors: IO[bytes] | None = None) -> children.Launched:
    """Stands for `server.tasks.children.launch`: uses the fork that waits, if it fits."""
    first = _FirstForkServer.waiting
    if first is None or errors or "yt_dlp" in json.loads(config):
        return _launch(config, errors)
    _FirstForkServer.waiting = None
    return first.launch(config)


def _become(command: tuple[str, ...], environment: dict[str, str]) -> None:
    """Take `environment` for this process, and write `command` where `ps` and tests look for it."""
    os.environ.clear()
    os.environ.update(environment)
    start, end = map(int, Path("/proc/self/stat").read_text().rpartition(")")[2].split()[45:47])
    shown = b"".join(os.fsencode(argument) + b"\0" for argument in command)
    assert len(shown) <= end - start
    ctypes.memset(start, 0, end - start)
    ctypes.memmove(start, shown, len(shown))


if __name__ == "__main__":
    sys.exit(main())
