"""The programs that tests run: the service's own ffmpeg, and programs that may be missing."""

import os
import shutil
import sys
from pathlib import Path
from typing import Final, NoReturn

import pytest

from server.tasks.programs_found import bundled_ffmpeg, find_tools

_FOUND = find_tools().ffmpeg
assert _FOUND, "there is no ffmpeg, neither on the PATH nor in the package imageio-ffmpeg"
FFMPEG: Final = _FOUND
BUNDLED: Final = bundled_ffmpeg() or FFMPEG
"""Has every encoder, and starts faster than a distribution's."""
FFPROBE: Final = shutil.which("ffprobe")
_PATH = f"{os.environ.get('PATH', os.defpath)}:/usr/sbin"
SQUID: Final = shutil.which("squid", path=_PATH)
NGINX: Final = shutil.which("nginx", path=f"{_PATH}:{sys.prefix}/programs/nginx/usr/sbin")
CADDY: Final = shutil.which("caddy", path=f"{_PATH}:{sys.prefix}/programs/caddy/usr/bin")


def npm_tool(name: str) -> Path:
    """Return the path of `name` from the packages in `requirements/tools`; skip the test if it is not
    installed.
    """
    package = Path(sys.prefix, "tools/node_modules", name)
    return package if package.is_dir() else without(f"{name} from npm", "apt-get install npm, make tools")


def without(what: str, remedy: str, *, is_everywhere: bool = True) -> NoReturn:
    """Skip the test, because `what` is missing; in CI, where nothing may be missing, fail the test.

    `is_everywhere`: no system that CI runs on may lack it.
    """
    said = f"NOT TESTED, for want of {what}: {remedy}"
    if is_everywhere and os.environ.get("CI"):
        pytest.fail(said, pytrace=False)
    pytest.skip(said)
