"""A child whose yt-dlp knows one site more: what its pages say in JSON is what is extracted from them.

`python -I -B tests/fakes/told.py FD`, as `server/child/job.py` runs by itself. So a test can have any result
that one of the many extractors may give, with real media behind it.
"""

import os
import socket
import sys
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[2]))

from server.child import job
from server.child.source import engine
from tests.fakes.extractor import ToldIE

_all = engine._extractors
engine._extractors = lambda: (ToldIE(), *_all())  # type: ignore[assignment]

if __name__ == "__main__":
    os.setsid()
    job.main(socket.socket(fileno=int(sys.argv[1])))
