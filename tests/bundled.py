"""Puts the ffmpeg that comes with a package before the system's on the `PATH`, for tests and what they start.

It starts in 14 ms. Debian's is linked with two hundred libraries and takes 70, and tests start it some six
hundred times. What jobs do with ffmpeg is tested with the system's as well, by `make test-long`.

To be imported for this, before anything looks for an ffmpeg.
"""

import atexit
import os
import shutil
from pathlib import Path
from tempfile import mkdtemp
from typing import Final

from server.tasks.tools import _bundled_ffmpeg

# The workers of pytest-xdist inherit the PATH that is changed here: they are told what it was.
SYSTEMS_PATH: Final = os.environ.setdefault("PATH_BEFORE_TESTS", os.environ["PATH"])
SYSTEMS: Final = shutil.which("ffmpeg", path=SYSTEMS_PATH)


def _prefer(program: str) -> None:
    folder = Path(mkdtemp(prefix="clipwire-tests-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    (folder / "ffmpeg").symlink_to(program)
    os.environ["PATH"] = f"{folder}{os.pathsep}{SYSTEMS_PATH}"


if _BUNDLED := _bundled_ffmpeg():
    _prefer(_BUNDLED)
