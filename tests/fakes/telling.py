"""The service, with one more extractor for its children: see `tests.fakes.told`."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from server.__main__ import run
from server.tasks import children

children.PROGRAM = Path(__file__).with_name("forkserver.py")

if __name__ == "__main__":
    sys.exit(run())
