"""The fork server of `tests.fakes.forkserver`, with all extractors of yt-dlp loaded in advance.

A child that reads a web page loads each extractor: a third of a second of CPU, which tests would pay a
hundred times. The service does not load them in advance, to save memory.

`SILENT` in the environment is the seconds after which a recording looks whether its broadcast goes on, and
for which it looks.
"""

import os
import sys
from pathlib import Path
from types import ModuleType

sys.path.append(str(Path(__file__).resolve().parents[2]))

from server.child import forkserver, preload
from tests.fakes import forkserver as telling  # noqa: F401  adds the extractor

_warm = preload.warm


def warm(job: ModuleType, ffmpeg: str | None, deno: str | None) -> dict[str, str | None]:
    import yt_dlp

    with yt_dlp.YoutubeDL({"quiet": True, "no_warnings": True, "cachedir": False, "js_runtimes": {}}) as ydl:
        for extractor in ydl._ies.values():
            list(extractor.extract_from_webpage(ydl, "http://warm.invalid/", ""))
    if silent := os.environ.get("SILENT"):
        from server.child.extract import broadcasts
        from server.child.media import recording

        recording._SILENT = recording._SILENT_DASH = broadcasts._LONGEST_RECORDED = float(silent)  # type: ignore[misc]
    return _warm(job, ffmpeg, deno)


preload.warm = warm

if __name__ == "__main__":
    forkserver.main()
