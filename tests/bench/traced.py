"""The fork server, whose children note each function of `server/` that they enter: see `tests.bench.walked`.

A child is in a sandbox and closes what it inherits. So it notes the functions in memory that it shares with
the fork server, which writes them to the file that the environment names.
"""

import mmap
import os
import sys
from pathlib import Path
from typing import Any

sys.path.append(str(Path(__file__).resolve().parents[2]))

from server.child import forkserver
from tests.bench.function_tracer import FunctionTracer

NOTES = "ENTERED"
_shared = mmap.mmap(-1, 1 << 20)
_send = forkserver.JobForker._send


def _note() -> None:
    tracer = FunctionTracer(lambda function: _shared.write(f"{function}\n".encode()))
    tracer.begin()


def _sending(self: forkserver.JobForker, event: str, **fields: Any) -> None:
    if event == "exit":
        Path(os.environ[NOTES]).write_bytes(_shared[: _shared.find(b"\0")])
    _send(self, event, **fields)


forkserver.JobForker._send = _sending  # type: ignore[method-assign]
os.register_at_fork(after_in_child=_note)

if __name__ == "__main__":
    forkserver.main()
