"""The fork server of `tests.fakes.forkserver`, with all that a page needs in its memory.

A child that reads a page loads each of yt-dlp's extractors, for which the service has no memory to spare: a
third of a second of CPU that tests would pay a hundred times.
"""

import sys
from pathlib import Path
from types import ModuleType

sys.path.append(str(Path(__file__).resolve().parents[2]))

from server.child import forkserver, preload
from tests.fakes import forkserver as telling  # noqa: F401  its children know one site more

_warm = preload.warm


def warm(job: ModuleType, ffmpeg: str | None, deno: str | None) -> dict[str, str | None]:
    import yt_dlp

    with yt_dlp.YoutubeDL({"quiet": True, "no_warnings": True, "cachedir": False, "js_runtimes": {}}) as ydl:
        for extractor in ydl._ies.values():
            list(extractor.extract_from_webpage(ydl, "http://warm.invalid/", ""))
    return _warm(job, ffmpeg, deno)


preload.warm = warm

if __name__ == "__main__":
    forkserver.main()
