"""The fork server of `tests.fakes.forkserver`, with all extractors of yt-dlp loaded in advance.

`SILENT` in the environment is the number of seconds after which a recording asks whether its broadcast goes
on, and for which it waits for the answer.
"""

import os
import sys
from pathlib import Path
from types import ModuleType

sys.path.append(str(Path(__file__).resolve().parents[2]))

from server.child import forkserver, preload
from tests.fakes import forkserver as telling  # noqa: F401  adds the extractor
from tests.fakes.extractors import load_extractors

_warm = preload.warm


def warm(job: ModuleType, ffmpeg: str | None, deno: str | None) -> dict[str, str | None]:
    load_extractors()
    if silent := os.environ.get("SILENT"):
        from server.child.extract import broadcasts
        from server.child.media import recording

        recording._SILENCE_OF_HLS = recording._SILENCE_OF_DASH = broadcasts._LONGEST_RECORDED = float(silent)  # type: ignore[misc]
    return _warm(job, ffmpeg, deno)


preload.warm = warm

if __name__ == "__main__":
    forkserver.main()
