"""The fork server, with one more extractor for its children: see `tests.fakes.told`."""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[2]))

from server.child import forkserver, preload

_load = preload.load


def load(job: str) -> object:
    module = _load(job)
    import tests.fakes.told  # noqa: F401  only now, so that `load` imports yt-dlp first, as in the service

    return module


preload.load = load  # type: ignore[assignment]

if __name__ == "__main__":
    forkserver.main()
