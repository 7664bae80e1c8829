"""The fork server with real children, killed in every way there is."""

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Self

import psutil  # type: ignore[import-untyped]
import pytest

from tests.tools import FFMPEG

ROOT = Path(__file__).parents[2]
CONTROL = 60.0  # seconds after which the test stops waiting for an answer, enough for a busy machine

# The program of the children: `main` runs the function that the job names.
JOBS = '''
import ctypes, os, subprocess, sys, time
from server.child.process import sandbox as linux
from server.child.process.channel import Channel

def main(sock):
    channel = Channel(sock)
    job = channel.read_job()
    channel.watch(lambda command: channel.send("heard", command=command))
    globals()[job["do"]](channel)

def look_around(channel):
    print("to the log")
    open_now = [number for number in os.listdir("/proc/self/fd") if os.path.exists(f"/proc/self/fd/{number}")]
    ignored = [line.split()[1] for line in open("/proc/self/status") if line.startswith("SigIgn")]
    channel.send("seen", descriptors=open_now, session=os.getsid(0), stdin=os.readlink("/proc/self/fd/0"),
                 ignored=ignored[0])

def end(channel):
    channel.send("ended")

def fail(channel):
    raise LookupError("what went wrong")

def crash(channel):
    ctypes.string_at(0)

def wait(channel):
    channel.send("waiting")
    time.sleep(600)

def encode(channel):
    parent = os.getpid()
    program = subprocess.Popen(
        [FFMPEG, "-v", "quiet", "-re", "-f", "lavfi", "-i", "testsrc=size=16x16", "-f", "null", "-"],
        preexec_fn=lambda: linux.die_with_parent(parent))
    channel.send("encoding", pid=program.pid)
    time.sleep(600)

def escape(channel):
    """Leave a process behind that is in no group of ours and whose parent is gone."""
    first = subprocess.Popen([sys.executable, "-I", "-c", (
        "import subprocess, sys; p = subprocess.Popen(['sleep', '600'], start_new_session=True);"
        "print(p.pid)")], stdout=subprocess.PIPE)
    channel.send("escaped", pid=int(first.stdout.readline()))
    first.wait()
'''.replace("FFMPEG", repr(FFMPEG))

SERVE = f"""
import socket, sys
sys.path += [{str(ROOT)!r}, sys.argv[2]]
import jobs
from server.child.forkserver import JobForker
JobForker(socket.socket(fileno=int(sys.argv[1]))).serve(jobs.main, warm=True)
"""

# A server that only keeps its sockets open until it is killed.
SERVER = """
import os, socket, subprocess, sys
ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
subprocess.Popen([sys.executable, "-I", "-B", "-c", sys.argv[1], str(theirs.fileno()), sys.argv[2]],
                 pass_fds=[theirs.fileno()])
channel, childs = socket.socketpair()
print(ours.recv(9999).decode(), flush=True)
socket.send_fds(ours, [b'{"op": "start", "id": "a"}'], [childs.fileno(), os.open(os.devnull, os.O_WRONLY)])
childs.close()
print(ours.recv(9999).decode(), flush=True)
channel.sendall(b'{"do": "encode"}\\n')
print(channel.recv(9999).decode().strip(), flush=True)
sys.stdin.read()
"""


class Child:
    """The server's end of the channel of one job."""

    def __init__(self, job: str, sock: socket.socket, log: Path) -> None:
        self.job, self.log, self._sock = job, log, sock
        self._rest = b""

    async def tell(self, **line: Any) -> None:
        await asyncio.get_running_loop().sock_sendall(self._sock, json.dumps(line).encode() + b"\n")

    async def line(self) -> dict[str, Any]:
        async with asyncio.timeout(CONTROL):
            while b"\n" not in self._rest:
                data = await asyncio.get_running_loop().sock_recv(self._sock, 1 << 16)
                assert data, "the child has closed its channel"
                self._rest += data
        line, _, self._rest = self._rest.partition(b"\n")
        event: dict[str, Any] = json.loads(line)
        return event

    def close(self) -> None:
        self._sock.close()


class Control:
    """The server's end of the control socket."""

    def __init__(self, sock: socket.socket, process: subprocess.Popen[bytes], directory: Path) -> None:
        self.process, self._sock, self._directory = process, sock, directory
        self.children: list[Child] = []

    @classmethod
    def start(cls, command: list[str], directory: Path, *arguments: str) -> Self:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        ours.setblocking(False)
        with theirs:
            process = subprocess.Popen(
                [sys.executable, "-I", "-B", *command, str(theirs.fileno()), *arguments],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                env={"PATH": os.environ["PATH"], "HOME": "/nonexistent", "YTDLP_NO_PLUGINS": "1"},
            )
        return cls(ours, process, directory)

    async def event(self) -> dict[str, Any]:
        async with asyncio.timeout(CONTROL):
            packet = await asyncio.get_running_loop().sock_recv(self._sock, 1 << 16)
        event: dict[str, Any] = json.loads(packet)
        return event

    def send(self, op: str, job: str, descriptors: tuple[int, ...] = ()) -> None:
        socket.send_fds(self._sock, [json.dumps({"op": op, "id": job}).encode()], descriptors)

    def begin(self, job: str) -> Child:
        """Ask the fork server for a child, and do not wait for it."""
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        child = Child(job, ours, self._directory / f"{len(self.children)}.log")
        self.children.append(child)
        with theirs, child.log.open("ab") as log:
            self.send("start", job, (theirs.fileno(), log.fileno()))
        return child

    async def child(self, job: str, what: str) -> tuple[Child, int]:
        """Start a child that runs `what`; return the child and its process id."""
        child = self.begin(job)
        started = await self.event()
        assert (started["event"], started["id"]) == ("started", job)
        await child.tell(do=what)
        return child, started["pid"]

    def close(self) -> None:
        self._sock.close()
        for child in self.children:
            child.close()
        self.process.wait(CONTROL)


@asynccontextmanager
async def control_of(command: list[str], directory: Path, *arguments: str) -> AsyncIterator[Control]:
    control = Control.start(command, directory, *arguments)
    try:
        yield control
    finally:
        control.close()


@pytest.fixture
def jobs(tmp_path: Path) -> Path:
    (tmp_path / "jobs.py").write_text(JOBS)
    return tmp_path


@pytest.fixture
async def control(jobs: Path) -> AsyncIterator[Control]:
    async with control_of(["-c", SERVE], jobs, str(jobs)) as control:
        assert await control.event() == {"event": "ready", "pid": control.process.pid, "warm": True}
        yield control


def is_alive(pid: int) -> bool:
    try:
        status: str = psutil.Process(pid).status()
    except psutil.NoSuchProcess:
        return False
    return bool(status != psutil.STATUS_ZOMBIE)


async def all_gone(*pids: int) -> None:
    async with asyncio.timeout(CONTROL):
        while any(map(is_alive, pids)):
            await asyncio.sleep(0.01)


async def test_a_child_has_its_own_session_and_no_descriptors_but_its_own(control: Control) -> None:
    child, pid = await control.child("a", "look_around")
    seen = await child.line()
    assert sorted(seen["descriptors"]) == ["0", "1", "2", "3"]
    assert seen["session"] == pid
    assert seen["stdin"] == "/dev/null"
    left_ignored = int(seen["ignored"], 16)
    assert not left_ignored & sum(
        1 << (number - 1) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    )
    await control.event()
    assert child.log.read_text() == "to the log\n"


async def test_the_end_of_a_child_tells_what_it_used(control: Control) -> None:
    _, pid = await control.child("any string, 任何", "end")
    ended = await control.event()
    assert ended.pop("cpu") < 5
    assert 1_000 < ended.pop("max_rss_kb") < 100_000
    assert ended == {"event": "exit", "id": "any string, 任何", "pid": pid, "code": 0}


@pytest.mark.parametrize(
    ("what", "code", "trace"),
    [("fail", 1, "LookupError: what went wrong"), ("crash", -signal.SIGSEGV, "Segmentation fault")],
)
async def test_a_fault_of_a_child_is_in_its_log(control: Control, what: str, code: int, trace: str) -> None:
    child, _ = await control.child("a", what)
    assert (await control.event())["code"] == code
    assert trace in child.log.read_text()


async def test_when_the_end_is_told_all_that_the_child_started_is_gone(control: Control) -> None:
    for job in "abcde":
        child, pid = await control.child(job, "encode")
        grandchild = (await child.line())["pid"]
        control.send("kill", job)
        assert (await control.event())["code"] == -signal.SIGKILL
        assert not psutil.pid_exists(pid)
        assert not psutil.pid_exists(grandchild)


async def test_a_child_that_is_killed_by_others_takes_its_ffmpeg_along(control: Control) -> None:
    child, pid = await control.child("a", "encode")
    grandchild = (await child.line())["pid"]
    os.kill(pid, signal.SIGKILL)
    assert (await control.event())["code"] == -signal.SIGKILL
    assert not psutil.pid_exists(grandchild)


async def test_a_process_that_left_its_group_is_killed_too(control: Control) -> None:
    child, _ = await control.child("a", "escape")
    escaped = (await child.line())["pid"]
    assert (await control.event())["event"] == "exit"
    await all_gone(escaped)


async def test_a_kill_right_after_the_start_is_not_lost(control: Control) -> None:
    for number in range(30):
        control.begin(str(number))
        control.send("kill", str(number))
        assert (await control.event())["event"] == "started"
        assert (await control.event())["code"] == -signal.SIGKILL


async def test_no_end_is_lost_when_many_children_end_at_once(control: Control) -> None:
    pids = {(await control.child(str(number), "wait"))[1] for number in range(60)}
    for child in control.children:
        await child.line()
    for pid in pids:
        os.kill(pid, signal.SIGKILL)
    ended = [await control.event() for _ in pids]
    assert {event["pid"] for event in ended} == pids
    assert {event["id"] for event in ended} == {str(number) for number in range(60)}


async def test_the_fork_server_answers_while_children_run(control: Control) -> None:
    await control.child("long", "wait")
    await control.child("short", "end")
    assert (await control.event())["id"] == "short"
    control.send("kill", "long")
    assert (await control.event())["id"] == "long"


async def test_a_kill_for_a_job_that_has_ended_is_passed_over(control: Control) -> None:
    control.send("kill", "never seen")
    await control.child("a", "end")
    assert (await control.event())["event"] == "exit"
    control.send("kill", "a")
    await control.child("b", "end")
    assert (await control.event())["id"] == "b"


async def test_a_child_whose_channel_ends_kills_itself_and_what_it_started(control: Control) -> None:
    child, pid = await control.child("a", "encode")
    grandchild = (await child.line())["pid"]
    child.close()
    assert (await control.event())["code"] == -signal.SIGKILL
    await all_gone(pid, grandchild)


async def test_a_child_that_never_hears_what_to_do_ends_with_its_channel(control: Control) -> None:
    control.begin("a").close()
    assert (await control.event())["event"] == "started"
    assert (await control.event())["code"] == -signal.SIGKILL


async def test_a_child_hears_commands_while_it_works(control: Control) -> None:
    child, _ = await control.child("a", "wait")
    assert await child.line() == {"kind": "waiting"}
    for rate in (1000, None):
        command = {"command": "rate", "bytes_per_second": rate}
        await child.tell(**command)
        assert await child.line() == {"kind": "heard", "command": command}


async def test_a_child_that_can_not_understand_a_command_does_not_stay_deaf(control: Control) -> None:
    child, _ = await control.child("a", "wait")
    await asyncio.get_running_loop().sock_sendall(child._sock, b"garbage\n")
    assert (await control.event())["code"] == -signal.SIGKILL
    assert "JSONDecodeError" in child.log.read_text()


async def test_nothing_outlives_a_killed_fork_server(control: Control) -> None:
    pids = []
    for job in "abc":
        child, pid = await control.child(job, "encode")
        pids += [pid, (await child.line())["pid"]]
    control.process.kill()
    await all_gone(*pids)


async def test_nothing_outlives_the_end_of_the_control_socket(control: Control) -> None:
    child, pid = await control.child("a", "encode")
    grandchild = (await child.line())["pid"]
    control._sock.close()
    await all_gone(pid, grandchild, control.process.pid)


async def test_nothing_outlives_a_killed_server(jobs: Path) -> None:
    server = await asyncio.create_subprocess_exec(
        sys.executable, "-c", SERVER, SERVE, str(jobs), stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert server.stdout
    async with asyncio.timeout(CONTROL):
        pids = [json.loads(await server.stdout.readline())["pid"] for _ in range(3)]
    assert all(map(is_alive, pids))
    server.kill()
    async with asyncio.timeout(CONTROL):
        await server.wait()
    await all_gone(*pids)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
async def test_only_the_server_ends_the_fork_server(control: Control, number: signal.Signals) -> None:
    control.process.send_signal(number)
    await control.child("a", "end")
    assert (await control.event())["event"] == "exit"


async def test_the_warm_fork_server_says_what_it_has_and_stays_small(tmp_path: Path) -> None:
    script = str(ROOT / "server" / "child" / "forkserver.py")
    cache = tmp_path / "cache"
    config = json.dumps({"ffmpeg": FFMPEG, "deno": None, "cache": str(cache)})
    async with control_of([script], tmp_path, config) as control:
        ready = await control.event()
        assert sorted(path.name for path in cache.iterdir()) == ["extractors.json", "ffmpeg.json"]
        assert ready["pid"] == control.process.pid
        assert ready["ffmpeg"][0].isdigit()
        assert ready["yt_dlp"].startswith("20")
        assert ready["deno"] is None
        assert ready["landlock"] >= 0
        assert psutil.Process(ready["pid"]).memory_full_info().pss < 43.5 * (1 << 20)
        maps = Path(f"/proc/{ready['pid']}/maps").read_text()
        assert "_cffi_backend" not in maps, "it brings a parser of C, which costs 1.2 MB"


@pytest.mark.long
async def test_a_warm_child_speaks_long_before_an_interpreter_has_imported_yt_dlp(jobs: Path) -> None:
    warm = SERVE.replace(
        "import jobs", "from server.child import preload; jobs = preload.load('jobs')"
    ).replace("ForkServer(", "preload.warm(jobs, None, None); ForkServer(")
    now = asyncio.get_running_loop().time
    async with control_of(["-c", warm], jobs, str(jobs)) as control:
        await control.event()
        taken, imports = [], []
        for job in "abc":
            before = now()
            child, _ = await control.child(job, "end")
            await child.line()
            taken.append(now() - before)
            await control.event()
            before = now()
            await (await asyncio.create_subprocess_exec(sys.executable, "-c", "import yt_dlp")).wait()
            imports.append(now() - before)
    assert min(taken) < min(imports) / 5
