"""The steps of the Dockerfile in a bare Debian folder, without a container engine, and the image that they
make.

All stages are made in one folder, so a file that is copied from one stage to another is already in its place.
"""

import asyncio
import json
import os
import re
import shlex
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.service import ROOT, Service
from tests.site import Site
from tests.tools import without

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
# Each machine has its own settings of where packages come from.
OF_THE_MACHINE = re.compile(r"PIP_|(http|https|no)_proxy$", re.IGNORECASE)
STEP_TAKES = 900  # most seconds that a step takes


class Image:
    """A folder in which each step of the Dockerfile is done."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.variables = {"PATH": PATH}
        self.place, self.user, self.health = "/", "0:0", ""
        self.entry: list[str] = []

    def make(self) -> None:
        text = re.sub(r"^#.*\n", "", (ROOT / "Dockerfile").read_text(encoding="utf-8"), flags=re.MULTILINE)
        for line in filter(None, text.replace("\\\n", " ").splitlines()):
            instruction, _, rest = line.partition(" ")
            getattr(self, f"_{instruction.lower()}")(rest)

    def command(self, *arguments: str, user: str = "") -> tuple[str, ...]:
        """Return a command that runs in the folder with a `/proc`, as in a container; the mount ends with the
        command.
        """
        inside = shlex.join(("chroot", f"--userspec={user or self.user}", str(self.folder)))
        there = f"cd {self.place} && exec {shlex.join(arguments)}"
        script = f"mount -t proc proc {self.folder}/proc && exec {inside} /bin/sh -c {shlex.quote(there)}"
        return ("unshare", "--mount", "/bin/sh", "-c", script)

    def _from(self, _base: str) -> None:
        self.place = "/"

    def _run(self, step: str) -> None:
        machine = {name: value for name, value in os.environ.items() if OF_THE_MACHINE.match(name)}
        if authority := machine.get("PIP_CERT"):
            shutil.copy(authority, self.folder / "tmp/authority.pem")
            machine["PIP_CERT"] = "/tmp/authority.pem"
        machine.pop("PIP_FIND_LINKS", None)
        subprocess.run(
            self.command("/bin/sh", "-c", step), env=machine | self.variables, check=True, timeout=STEP_TAKES
        )

    def _copy(self, what: str) -> None:
        if what.startswith("--from="):
            return
        source, target = what.split()
        path = self.folder / f"{self.place}/{target}".lstrip("/")
        path.parent.mkdir(parents=True, exist_ok=True)
        (shutil.copytree if (ROOT / source).is_dir() else shutil.copy)(ROOT / source, path)

    def _env(self, variables: str) -> None:
        for name, _, value in (each.partition("=") for each in shlex.split(variables)):
            self.variables[name] = value.replace("$PATH", self.variables["PATH"])

    def _workdir(self, place: str) -> None:
        self.place = place
        (self.folder / place.lstrip("/")).mkdir(parents=True, exist_ok=True)

    def _user(self, user: str) -> None:
        self.user = user

    def _healthcheck(self, check: str) -> None:
        self.health = check.partition("CMD ")[2]

    def _entrypoint(self, entry: str) -> None:
        self.entry = json.loads(entry)

    def _volume(self, folder: str) -> None:
        assert (self.folder / folder.lstrip("/")).stat().st_uid == int(self.user.partition(":")[0])

    def _expose(self, _port: str) -> None: ...

    def _stopsignal(self, _name: str) -> None: ...


@pytest.fixture
def debian() -> Iterator[Path]:
    """Unpack the Debian release that the image is based on, with debootstrap, and install nothing."""
    folder = Path(tempfile.mkdtemp(prefix="clipwire-debian-", dir="/var/tmp"))
    try:
        if os.geteuid() or not shutil.which("apt-get") or not shutil.which("unshare"):
            without("a bare Debian", "run the tests as root, on Debian")
        folder.chmod(0o755)
        (folder / "proc").mkdir()
        mount = ("unshare", "--mount", "mount", "-t", "proc", "proc", str(folder / "proc"))
        if subprocess.run(mount, check=False, timeout=60).returncode:
            without("a bare Debian", "run the tests where root may mount")
        fetch = "apt-get -qq download debootstrap && dpkg-deb --extract debootstrap_*.deb ."
        if subprocess.run(fetch, shell=True, cwd=folder, check=False, timeout=STEP_TAKES).returncode:
            without("debootstrap", "apt-get update; it comes from Debian's packages")
        [release] = re.findall(r"^FROM debian:(\w+)-slim", (ROOT / "Dockerfile").read_text(), re.MULTILINE)
        command = (str(folder / "usr/sbin/debootstrap"), "--variant=minbase", release, str(folder / "image"))
        variables = os.environ | {"DEBOOTSTRAP_DIR": str(folder / "usr/share/debootstrap")}
        if subprocess.run(command, env=variables, check=False, timeout=STEP_TAKES).returncode:
            without("a bare Debian", "have Debian's mirror within reach")
        yield folder / "image"
    finally:
        shutil.rmtree(folder)


@pytest.mark.long
@pytest.mark.minutes(1)
async def test_what_the_steps_of_the_image_make_serves_and_downloads(
    debian: Path, site: Site, tmp_path: Path
) -> None:
    image = Image(debian)
    image.make()
    # A container listens on all its interfaces; this machine must not.
    theirs = image.variables | {"CLIPWIRE_SERVER__HOST": "127.0.0.1", "HOME": "/data", "TMPDIR": "/tmp"}
    theirs["CLIPWIRE_CONFIG"] = "/tmp/config.toml"
    (debian / "tmp/config.toml").touch()
    service = Service(tmp_path, **theirs)
    service.data = debian / "data"
    service.command = image.command(*image.entry)
    async with service:
        await service.ready()
        task = await service.submit(site.url("/video.mp4"), outputs=["video", "audio"])
        assert set((await service.wait(task["task_id"]))["files"]) == {"video", "audio"}
        healthy = image.command(*json.loads(image.health))
        port = {"CLIPWIRE_SERVER__PORT": service.url.rpartition(":")[2]}
        await asyncio.to_thread(subprocess.run, healthy, env=theirs | port, check=True, timeout=60)
        assert service.complaints() == []
