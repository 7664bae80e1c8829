"""The programs that tests run: the service's own ffmpeg, and what may be there or not."""

import os
import shutil
import sys
from pathlib import Path
from typing import Final, NoReturn

import pytest

from server.tasks.tools import find_tools

_FOUND = find_tools().ffmpeg
assert _FOUND, "there is no ffmpeg, neither on the PATH nor in the package imageio-ffmpeg"
FFMPEG: Final = _FOUND
FFPROBE: Final = shutil.which("ffprobe")


def find_chromium() -> str | None:
    """The system's, else the one that `requirements/install.sh tools` has put beside Python's packages."""
    names = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
    own = Path(sys.prefix, "browsers").glob("chromium*/*/*headless[-_]shell")
    return next(filter(None, map(shutil.which, (*names, *map(str, own)))), None)


def without(what: str, remedy: str) -> NoReturn:
    """Skip the test that needs `what`, which is not there; where everything has to be, fail."""
    said = f"NOT TESTED, for want of {what}: {remedy}"
    if os.environ.get("CI"):
        pytest.fail(said, pytrace=False)
    pytest.skip(said)
