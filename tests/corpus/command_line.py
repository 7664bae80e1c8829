"""Runs the `yt-dlp` command line many times: its `main` in forks of a process that has imported it.

So each run starts within some milliseconds instead of half a second.
"""

import os
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from tests.fakes.extractors import load_extractors

_PLUGINS = Path(__file__).parent / "plugins"


def warm() -> None:
    """Import yt-dlp, and let it compile and load what its first link and its first page need."""
    import yt_dlp

    sys.path.append(str(_PLUGINS))
    with yt_dlp.YoutubeDL({"quiet": True, "cachedir": False}) as ydl:
        for extractor in ydl._ies.values():
            extractor.suitable("https://warm.invalid/")
    load_extractors()


def run(folder: str, arguments: Sequence[str], environment: dict[str, str], limit: float) -> int | None:
    """Run yt-dlp in `folder` with its output in `said`; return its status, or None if it had to be killed."""
    process = os.fork()
    if not process:
        _become(folder, arguments, environment)
    deadline = time.monotonic() + limit
    while time.monotonic() < deadline:
        ended, status = os.waitpid(process, os.WNOHANG)
        if ended:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.01)
    os.killpg(process, signal.SIGKILL)
    os.waitpid(process, 0)
    return None


def _become(folder: str, arguments: Sequence[str], environment: dict[str, str]) -> NoReturn:
    import yt_dlp

    status = 1
    try:
        os.setsid()
        os.chdir(folder)
        os.environ.update(environment)
        said = os.open("said", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        for stream in (1, 2):
            os.dup2(said, stream)
        yt_dlp.main(list(arguments))
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else 1
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)
