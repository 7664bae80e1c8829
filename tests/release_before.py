"""The release before this one: its source comes out of the history of this repository."""

import io
import subprocess
import tarfile
from pathlib import Path

import pytest

from tests.service import ROOT, Service

# The commit of the release before; whoever makes a release enters here what the next release follows.
COMMIT = "b0734d8511500edf5c432a97dced148baa633ff8"
POSTGRESQL, SQLITE = 10, 6  # the numbers of its newest migration scripts


class ReleaseBefore(Service):
    """A service that runs the release before, with the packages of this release, whose versions suit both."""

    def __init__(self, folder: Path, /, **settings: str) -> None:
        super().__init__(folder, **settings)
        self.cwd = folder / "release"
        command = ("git", "-C", str(ROOT), "archive", COMMIT, "server", "static")
        archive = subprocess.run(command, capture_output=True, check=False)
        if archive.returncode:
            pytest.skip("NOT TESTED, for want of the history: git fetch --unshallow")
        with tarfile.open(fileobj=io.BytesIO(archive.stdout)) as source:
            source.extractall(self.cwd, filter="data")
