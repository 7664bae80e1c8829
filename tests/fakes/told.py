"""A child whose yt-dlp has one more extractor, which returns the JSON of a page as its result.

It is started as `python -I -B tests/fakes/told.py FD`, like `server/child/job.py` without a fork server. So a
test can have any result that a real extractor may return, with real media behind it.
"""

import os
import socket
import sys
from pathlib import Path
from typing import Any

sys.path.append(str(Path(__file__).resolve().parents[2]))

from server.child import job
from server.child.extract import plugins, youtube_dl
from tests.fakes.extractor import ToldIE

_make = youtube_dl.Engine.__init__


def _made(self: youtube_dl.Engine, *arguments: Any, **options: Any) -> None:
    _make(self, *arguments, **options)
    self.add_info_extractor(ToldIE())


plugins.extractors["Told"] = ToldIE  # yt-dlp tries this extractor first
youtube_dl.Engine.__init__ = _made  # type: ignore[method-assign]

if __name__ == "__main__":
    os.setsid()
    job.install()
    job.main(socket.socket(fileno=int(sys.argv[1])))
