"""A child whose yt-dlp has one more extractor, which returns the JSON of a page as its result.

`python -I -B tests/fakes/told.py FD`, as `server/child/job.py` runs by itself. So a test can have any result
that a real extractor may return, with real media behind it.
"""

import os
import socket
import sys
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[2]))

from server.child import job
from server.child.extract import youtube_dl
from tests.fakes.extractor import ToldIE

_all = youtube_dl._extractors
youtube_dl._extractors = lambda: (ToldIE(), *_all())  # type: ignore[assignment]

if __name__ == "__main__":
    os.setsid()
    job.install()
    job.main(socket.socket(fileno=int(sys.argv[1])))
