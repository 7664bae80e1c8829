"""The warm fork server: a small program that starts a child for each job, and reports its end.

    python -I …/server/child/forkserver.py FD CONFIG

It has one thread, and has imported everything that a download needs, so that a child begins its work after
milliseconds. FD is a SOCK_SEQPACKET socket to the server, one JSON object a packet:

    in   {"op": "start", "id": …} with two descriptors: the job's channel and its log; {"op": "kill", "id": …}
         {"op": "ping"}
    out  {"event": "ready", …}, {"event": "started", …}, {"event": "exit", …}, {"event": "pong"}
         {"event": "unfit", …} instead of "ready", before it exits: this yt-dlp lacks what jobs need

No process that is started here outlives the server, the fork server or its group's leader. A child leads a
session and a process group of its own, and the kernel kills it when the fork server dies. When it has ended,
its group is killed before it is reaped: as a zombie it keeps the group id from being reused. "exit" is sent
when no process of the group is left that could still write a file.
"""

import contextlib
import faulthandler
import json
import logging
import os
import select
import signal
import socket
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

if __name__ == "__main__":  # -I omits the checkout; added last, it shadows no other module
    sys.path.append(str(Path(__file__).parents[2]))

from server.child import preload
from server.child.process import sandbox, warm_cache, yt_dlp_parts

log = logging.getLogger(__name__)

RunJob = Callable[[socket.socket], None]

_IGNORED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)  # only the server ends this process
_MAX_PACKET = 1 << 16  # bytes
_POLL_MILLISECONDS = 50  # while killed groups are dying
_CHANNEL = 3  # the child's only descriptor beside standard input, output and errors


def main() -> NoReturn:
    """Warm up, then serve; an exception here ends the process, which the server notices."""
    logging.basicConfig(format="fork server: %(message)s")
    config = json.loads(sys.argv[2])
    server = JobForker(socket.socket(fileno=int(sys.argv[1])))
    if config.get("yt_dlp"):
        preload.prefer(config["yt_dlp"])
    if config.get("cache"):
        warm_cache.folder = Path(config["cache"])
    try:
        job = preload.load("server.child.job")
    except yt_dlp_parts.UnfitYtDlp:
        server.give_up(unfit=yt_dlp_parts.report())
    versions = preload.warm(job, config["ffmpeg"], config["deno"])
    job.install()
    server.serve(job.main, **versions, landlock=sandbox.abi(), unfit=yt_dlp_parts.report())


class JobForker:
    """Starts a child for each job that comes over `control`."""

    def __init__(self, control: socket.socket) -> None:
        control.setblocking(True)  # no event may be lost because the server is busy
        self._control = control
        self._pid = os.getpid()
        self._leaders: dict[int, str] = {}  # process id -> the job's id
        self._dying: dict[int, dict[str, Any]] = {}  # group id -> fields of "exit", for when it is empty
        self._adopts = True
        try:
            sandbox.adopt_orphans()
        except OSError as exc:
            log.warning("no subreaper (%s): an orphan goes to init", exc.strerror)
            self._adopts = False
        for number in _IGNORED:
            signal.signal(number, signal.SIG_IGN)

    def serve(self, run_job: RunJob, **ready: Any) -> NoReturn:
        """Send "ready" with the fields `ready`, and run `run_job` in children until the server is gone."""
        # `wake` becomes readable when a child has died.
        wake, writing = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        poll = select.poll()
        poll.register(self._control, select.POLLIN)
        poll.register(wake, select.POLLIN)
        self._send("ready", pid=self._pid, **ready)
        while True:
            events = dict(poll.poll(_POLL_MILLISECONDS if self._dying else None))
            if wake in events:
                os.read(wake, select.PIPE_BUF)
                self._reap()
                # Kill processes that have left their group and whose parent has died. As a subreaper, this
                # process has adopted them: they are its children that lead no group of a job.
                if self._adopts:
                    for pid in _children() - self._leaders.keys():
                        os.kill(pid, signal.SIGKILL)
            for group in [group for group in self._dying if not (self._adopts and _is_alive(group))]:
                self._send("exit", **self._dying.pop(group))
            if self._control.fileno() in events:
                self._receive(run_job)

    def give_up(self, **reason: Any) -> NoReturn:
        """Send why no job can be run, and exit; the server tries again, since yt-dlp may be updated."""
        self._send("unfit", **reason)
        self._end()

    def _receive(self, run_job: RunJob) -> None:
        try:
            packet, descriptors, *_ = socket.recv_fds(
                self._control, _MAX_PACKET, maxfds=2, flags=socket.MSG_CMSG_CLOEXEC
            )
        except ConnectionResetError:
            packet, descriptors = b"", []
        if not packet:
            self._end()
        message = json.loads(packet)
        match message["op"]:
            case "start":
                self._start(run_job, message["id"], *descriptors)
            case "kill":
                job = message["id"]
                for pid, running in self._leaders.items():
                    if running == job:
                        _kill(pid)
            case "ping":
                self._send("pong")

    def _start(self, run_job: RunJob, job: str, channel: int, journal: int) -> None:
        try:
            pid = os.fork()
        except OSError as exc:
            log.error("no child for %s: %s", job, exc.strerror)
            self._send("exit", id=job, pid=0, code=-signal.SIGKILL, cpu=0.0, max_rss_kb=0)
        else:
            if pid == 0:
                code = 1
                try:
                    # Give up all that a fork inherits except memory: session, signals and descriptors.
                    os.setsid()
                    sandbox.die_with_parent(self._pid)
                    signal.set_wakeup_fd(-1)
                    for number in (signal.SIGCHLD, *_IGNORED):
                        signal.signal(number, signal.SIG_DFL)
                    self._control.detach()
                    for output in (1, 2):
                        os.dup2(journal, output)
                    os.dup2(channel, _CHANNEL, inheritable=False)
                    os.closerange(_CHANNEL + 1, os.sysconf("SC_OPEN_MAX"))
                    sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]
                    faulthandler.enable()  # log crashes in native code, too
                    run_job(socket.socket(fileno=_CHANNEL))
                    code = 0
                except BaseException:
                    traceback.print_exc()
                finally:
                    sys.stdout.flush()
                    os._exit(code)
            self._leaders[pid] = job
            self._send("started", id=job, pid=pid)
        finally:
            os.close(channel)
            os.close(journal)

    def _reap(self) -> None:
        """Reap all children that have ended: there may be only one SIGCHLD for several."""
        while (ended := _next_ended()) is not None:
            job = self._leaders.pop(ended, None)
            if job is not None:
                _kill_group(ended)
            _, status, usage = os.wait4(ended, 0)
            if job is not None:
                self._dying[ended] = {
                    "id": job,
                    "pid": ended,
                    "code": os.waitstatus_to_exitcode(status),
                    "cpu": round(usage.ru_utime + usage.ru_stime, 3),
                    "max_rss_kb": usage.ru_maxrss,
                }

    def _send(self, event: str, **fields: Any) -> None:
        try:
            self._control.send(json.dumps({"event": event, **fields}).encode())
        except (BrokenPipeError, ConnectionResetError):
            self._end()

    def _end(self) -> NoReturn:
        """Kill all jobs, and exit: the server is gone, or no job can be run."""
        for pid in self._leaders:
            _kill(pid)
        os._exit(0)


def _children() -> set[int]:
    try:
        return set(map(int, Path("/proc/thread-self/children").read_bytes().split()))
    except FileNotFoundError:  # a kernel without CONFIG_PROC_CHILDREN
        return set()


def _next_ended() -> int | None:
    """Return the id of a child that has ended, None if there is none; it stays a zombie, to keep the id."""
    try:
        ended = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return None
    return ended.si_pid if ended else None


def _kill(leader: int) -> None:
    os.kill(leader, signal.SIGKILL)  # it may not have called setsid yet
    _kill_group(leader)


def _kill_group(group: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(group, signal.SIGKILL)


def _is_alive(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


if __name__ == "__main__":
    main()
