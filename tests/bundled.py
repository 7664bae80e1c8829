"""Puts the ffmpeg of a Python package before the system's on the `PATH`, for tests and what they start.

The package's ffmpeg starts in 14 ms. Debian's is linked with two hundred libraries and takes 70 ms, and tests
start ffmpeg some six hundred times. `make test-long` tests what jobs do with the system's ffmpeg as well.

Import this module for its effect, before anything looks for an ffmpeg.
"""

import atexit
import os
import shutil
from pathlib import Path
from tempfile import mkdtemp
from typing import Final

from server.tasks.programs_found import bundled_ffmpeg

# The workers of pytest-xdist inherit the changed PATH, so this variable tells them the original one.
SYSTEMS_PATH: Final = os.environ.setdefault("PATH_BEFORE_TESTS", os.environ["PATH"])
SYSTEMS: Final = shutil.which("ffmpeg", path=SYSTEMS_PATH)


def _prefer(program: str) -> None:
    folder = Path(mkdtemp(prefix="clipwire-tests-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    (folder / "ffmpeg").symlink_to(program)
    os.environ["PATH"] = f"{folder}{os.pathsep}{SYSTEMS_PATH}"


if _BUNDLED := bundled_ffmpeg():
    _prefer(_BUNDLED)
