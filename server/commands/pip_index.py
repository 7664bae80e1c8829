"""Downloads a release of yt-dlp from the index that this machine's pip is configured with.

Only pip knows where packages come from here (its files and variables, proxies, certificates, passwords), so
pip does everything, with its usual environment. Only wheels are taken: nothing of a release runs
before its test. Each wheel must have the hash that the index names; a wheel without one is refused.
"""

import asyncio
import json
import os
import re
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from signal import SIGKILL

from server.core.redaction import clean
from server.tasks.yt_dlp_releases import VERSION

ASK_WITHIN = 120.0  # seconds
DOWNLOAD_WITHIN = 600.0  # seconds
NAME = "yt-dlp"
# The extras that children use, as in pyproject.toml; deno, another dependency, is found by its path.
EXTRAS = "default,curl-cffi"
_OPTIONS = (
    "--disable-pip-version-check", "--no-input", "--no-cache-dir", "--timeout", "15", "--retries", "2",
    "--only-binary=:all:", "--progress-bar", "off", "--quiet",
    "--no-user", "--prefix=", "--root=/",  # override a configuration that installs elsewhere
)  # fmt: skip
# The kernel kills pip when the update dies: it would go on writing into a folder that the next update
# deletes.
_PROGRAM = """
import ctypes, os, runpy, signal, sys
try:
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG
except (OSError, AttributeError):
    pass  # another system
if os.getppid() != int(sys.argv.pop(1)):
    sys.exit(1)
runpy.run_module("pip", run_name="__main__", alter_sys=True)
"""
_MATCHES = re.compile(r"Checked \d+ links for project '([^']+)' against \d+ hashes \([1-9]\d* matches")
_NO_PIP = (
    "pip is not installed in this environment; its packages are updated from outside, "
    "for instance by pipx upgrade or with a newer image"
)


class NoNewRelease(Exception):
    """No newer release could be downloaded; the text is the reason, in one sentence."""


@dataclass(frozen=True, slots=True)
class Wheel:
    name: str
    version: str
    sha256: str

    @property
    def requirement(self) -> str:
        return f"{self.name}=={self.version} --hash=sha256:{self.sha256}\n"


async def newest(scratch: Path) -> str:
    """Return the newest version that fits this Python; pip writes to `scratch`. Raises `NoNewRelease`."""
    wheel, *_ = await _report(scratch, "--ignore-installed", "--no-deps", NAME)
    if not VERSION.fullmatch(wheel.version):
        raise NoNewRelease(f"the index names a version that is none of yt-dlp's: {clean(wheel.version)}")
    return wheel.version


async def download(version: str, scratch: Path) -> Path:
    """Return a folder below `scratch` with this release, and with requirements that are not installed as
    needed.

    Raises `NoNewRelease`.
    """
    wheels = await _report(scratch, "--upgrade", f"{NAME}[{EXTRAS}]=={version}")
    requirements, log, target = scratch / "requirements.txt", scratch / "pip.log", scratch / "packages"
    requirements.write_text("".join(wheel.requirement for wheel in wheels), encoding="utf-8")
    await _pip(
        DOWNLOAD_WITHIN, scratch, "install", "--log", str(log), "--target", str(target), "--no-deps",
        "--require-hashes", "--compile", "--requirement", str(requirements),
    )  # fmt: skip
    hashed = {name.lower().replace("_", "-") for name in _MATCHES.findall(log.read_text(errors="replace"))}
    for wheel in wheels:
        if wheel.name.lower().replace("_", "-") not in hashed:
            raise NoNewRelease(f"the index names no hash of {wheel.name} {wheel.version}")
    return target


async def _report(scratch: Path, *arguments: str) -> list[Wheel]:
    """Return pip's report of what it would install."""
    report = scratch / "report.json"
    await _pip(ASK_WITHIN, scratch, "install", "--dry-run", "--report", str(report), *arguments)
    try:
        found = json.loads(report.read_text(encoding="utf-8"))["install"]
        return [
            Wheel(
                one["metadata"]["name"],
                one["metadata"]["version"],
                one["download_info"]["archive_info"]["hashes"]["sha256"],
            )
            for one in found
        ]
    except (OSError, ValueError, KeyError, TypeError):
        raise NoNewRelease("pip's report cannot be read; a pip from 22.3 on is needed") from None


async def _pip(within: float, scratch: Path, *arguments: str) -> None:
    if find_spec("pip") is None:
        raise NoNewRelease(_NO_PIP)
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-P", "-c", _PROGRAM, str(os.getpid()), *arguments[:1], *_OPTIONS, *arguments[1:]),
        env=_environment(scratch), cwd=scratch,
        stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    try:
        async with asyncio.timeout(within):
            output, _ = await process.communicate()
    except TimeoutError:
        raise NoNewRelease(f"the index did not answer within {within:.0f} seconds") from None
    finally:
        with suppress(ProcessLookupError):
            os.kill(process.pid, SIGKILL)
        await process.wait()
    if process.returncode != 0:
        raise NoNewRelease(_cause(output.decode(errors="replace").splitlines()))


def _environment(scratch: Path) -> dict[str, str]:
    """Return the server's environment, where pip finds its configuration, without settings that
    hold secrets.
    """
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("CLIPWIRE_")}
    ours = {"TMPDIR": str(scratch), "PYTHONNOUSERSITE": "1", "LC_ALL": "C.UTF-8", "NO_COLOR": "1"}
    # `--require-hashes` in pip's configuration would refuse the first call, which only asks for the hashes.
    return inherited | ours | {"PIP_REQUIRE_HASHES": "0"}


def _cause(lines: Sequence[str]) -> str:
    text = "\n".join(lines)
    if "DO NOT MATCH THE HASHES" in text:
        return "a file is not the one whose hash the index names"
    if "No space left on device" in text:
        return "there is no room left on the disk"
    errors = [line.removeprefix("ERROR: ") for line in lines if line.startswith("ERROR: ")]
    if any("No matching distribution" in line for line in errors):
        return "the index does not answer, or has no wheel of yt-dlp for this Python"
    return clean((errors or lines or ["pip ended without output"])[-1])
