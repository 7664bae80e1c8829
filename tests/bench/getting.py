"""The first `clipwire get` in an environment just installed, against the first `yt-dlp` there."""

import asyncio
import subprocess
import sys
import venv
from pathlib import Path

from tests.bench.downloads import QUIET, command
from tests.bench.figures import Figure, alternate, middle
from tests.bench.lab import Lab
from tests.bench.programs import Clipwire
from tests.ports import free_port
from tests.project.test_package import install, lend_packages
from tests.service import ROOT

ROUNDS = 3


async def getting(lab: Lab) -> list[Figure]:
    """From the call of the command to 1 MB that is saved; each side runs once before, to fill disk caches."""
    folder = lab.new_folder("getting")
    programs = await asyncio.to_thread(_installed, folder)
    link = f"{lab.site.url}/1mb.mp4"
    async with Clipwire(folder / "service") as ours:
        own = {
            "CLIPWIRE_CONFIG": str(folder / "service" / "config.toml"),
            "CLIPWIRE_DOWNLOADS__ALLOWED_PRIVATE_HOSTS": '["127.0.0.1"]',
        }
        get = [str(programs / "clipwire"), "get", "--quiet", link]
        sides = [
            command(folder, [*get, "-o", "beside.mp4"], own | {"CLIPWIRE_SERVER__PORT": str(ours.port)}),
            command(folder, [*get, "-o", "alone.mp4"], own | {"CLIPWIRE_SERVER__PORT": str(free_port())}),
            command(folder, [str(programs / "yt-dlp"), *QUIET, link]),
        ]
        await alternate(1, *sides)
        beside, alone, theirs = (middle(runs) for runs in await alternate(lab.count(ROUNDS, 1), *sides))
    return [
        Figure("clipwire get, 1 MB, a server runs", beside, "s", theirs, at_most=0.5),
        Figure("clipwire get, 1 MB, without a server", alone, "s", theirs, at_most=1.5),
    ]


def _installed(folder: Path) -> Path:
    """The programs of an environment with this checkout's wheel, compiled as pip does it, and packages."""
    build = (sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(folder))
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True, timeout=60)
    [wheel] = folder.glob("*.whl")
    venv.create(environment := folder / "environment")
    lend_packages(environment)
    install(wheel, environment, "--compile")
    return environment / "bin"
