"""Landlock and limits, seen from inside: both hold for good, so each is tried in its own interpreter."""

import asyncio
import errno
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from server.child.process import sandbox
from tests.tools import FFMPEG

ROOT = Path(__file__).parents[2]
HAS_LANDLOCK = sandbox.abi() > 0
REFUSED = "PermissionError" if HAS_LANDLOCK else "done"

# A program that evaluates expressions one after the other, and prints the outcome of each.
SCRIPT = """
import json, os, resource, signal, socket, subprocess, sys
from pathlib import Path
sys.path.append(sys.argv[1])
from server.child.process import sandbox

home = Path(sys.argv[2])

def outcome(text):
    try:
        value = eval(text)
    except BaseException as exc:
        return type(exc).__name__ if getattr(exc, "errno", None) != 27 else "too large"
    return value if isinstance(value, (int, str, list)) else "done"

print(json.dumps([outcome(text) for text in json.loads(sys.argv[3])]))
"""


async def outcomes(home: Path, *expressions: str) -> list[Any]:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-I",
        "-c",
        SCRIPT,
        str(ROOT),
        str(home),
        json.dumps(expressions),
        stdout=subprocess.PIPE,
    )
    # no timeout: the program may have lowered its own priority
    output, _ = await process.communicate()
    told: list[Any] = json.loads(output)
    return told


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A directory to which a process is confined, with a secret beside it."""
    (tmp_path / "secret").write_text("secret")
    (tmp_path / "home" / "out").mkdir(parents=True)
    return tmp_path / "home"


async def test_a_confined_process_works_in_its_directory(home: Path) -> None:
    abi, *rest = await outcomes(
        home,
        "sandbox.restrict(home)",
        "(home / 'a').write_text('whole')",
        "os.rename(home / 'a', home / 'out' / 'b')",
        "(home / 'out' / 'b').read_text()",
        "os.truncate(home / 'out' / 'b', 1)",
        "(home / 'out' / 'b').unlink()",
    )
    assert abi == sandbox.abi()
    assert rest == [5, "done", "whole", "done", "done"]


async def test_a_confined_process_reads_nothing_else_and_writes_nowhere_else(home: Path) -> None:
    _, *rest = await outcomes(
        home,
        "sandbox.restrict(home)",
        "(home.parent / 'secret').read_text() and None",
        "(home.parent / 'other').write_text('') and None",
        "os.rename(home.parent / 'secret', home / 'mine')",
        "os.listdir('/') and None",
        "Path('/etc/passwd').read_text() and None",
        "os.listdir(f'/proc/{os.getppid()}/fd') and None",
    )
    assert rest == [REFUSED] * 6


async def test_a_confined_process_has_what_it_needs_of_the_system(home: Path) -> None:
    told = await outcomes(
        home,
        f"sandbox.restrict(home, [{str(home.parent / 'secret')!r}, {FFMPEG!r}, '/no/such/file'])",
        "(home.parent / 'secret').read_text()",
        "__import__('wave') and None",
        "__import__('server.child.media.mp4') and None",
        "__import__('ssl').create_default_context() and None",
        "socket.getaddrinfo('localhost', 80) and None",
        "Path('/dev/null').write_text('x')",
        f"subprocess.run([{FFMPEG!r}, '-version'], capture_output=True).returncode",
        "subprocess.run([sys.executable, '-c', ''], capture_output=True).returncode",
    )
    assert told[1:] == ["secret", "done", "done", "done", "done", 1, 0, 0]


async def test_a_confined_process_signals_its_own_children_only(home: Path) -> None:
    abi, foreign, own = await outcomes(
        home,
        "sandbox.restrict(home)",
        "os.kill(os.getppid(), 0)",
        "(lambda child: (child.kill(), child.wait())[1])(subprocess.Popen(['sleep', '60']))",
    )
    assert foreign == ("PermissionError" if abi >= 6 else "done")
    assert own == -9


async def test_confinement_is_inherited_by_programs(home: Path) -> None:
    told = await outcomes(
        home,
        "sandbox.restrict(home)",
        "subprocess.run(['cat', home.parent / 'secret'], capture_output=True).stdout.decode()",
    )
    assert told[1] == ("" if HAS_LANDLOCK else "secret")


async def test_without_tcp_there_is_not_even_loopback(home: Path) -> None:
    async with await asyncio.start_server(lambda *_: None, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        told = await outcomes(
            home,
            "(ruleset := sandbox.no_tcp()) and sandbox.enter(ruleset)",
            f"socket.create_connection(('127.0.0.1', {port}))",
        )
    assert told[1] == ("PermissionError" if sandbox.abi() >= 4 else "done")


async def test_limits_bound_files_descriptors_memory_and_rights(home: Path) -> None:
    told = await outcomes(
        home,
        "sandbox.limit(max_filesize=1000)",
        "(home / 'a').write_bytes(bytes(1000))",
        "(home / 'b').write_bytes(bytes(1001))",
        "bytearray(1_600_000_000)",
        "len(bytearray(300_000_000))",
        "[os.open('/dev/null', 0) for _ in range(600)]",
        "resource.getrlimit(resource.RLIMIT_CORE)[1]",
        "oct((home / 'a').stat().st_mode & 0o777)",
        "os.nice(0)",
    )
    assert told[1:8] == [1000, "too large", "MemoryError", 300_000_000, "OSError", 0, "0o600"]
    assert told[8] >= 5


async def test_limits_never_raise_what_is_lower_already(home: Path) -> None:
    told = await outcomes(
        home,
        "resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))",
        "sandbox.limit()",
        "resource.getrlimit(resource.RLIMIT_NOFILE)[1]",
        "len(bytes(1001)) and (home / 'a').write_bytes(bytes(1001))",
    )
    assert told == ["done", "done", 64, 1001]


def test_a_kernel_without_landlock_is_told_and_nothing_else_happens(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unknown(*_: object) -> int:
        raise OSError(errno.ENOSYS, "Function not implemented")

    monkeypatch.setattr(sandbox, "syscall", unknown)
    monkeypatch.setattr(sandbox, "abi", sandbox.abi.__wrapped__)
    assert sandbox.abi() == 0
    assert sandbox.restrict(tmp_path) == 0
    assert sandbox.no_tcp() is None


async def test_a_directory_that_is_not_there_is_a_fault(home: Path) -> None:
    told = await outcomes(home, "sandbox.restrict(home / 'absent')")
    assert told == ["FileNotFoundError" if HAS_LANDLOCK else 0]
