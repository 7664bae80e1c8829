"""Traces which functions of the service are called, on this thread and those that start meanwhile."""

import sys
import threading
from collections.abc import Callable
from pathlib import Path
from types import CodeType, FrameType

SERVER = str(Path(__file__).resolve().parents[2] / "server") + "/"


class FunctionTracer:
    """Calls `note` with `module.py:function` for each `def` below `server/`, once; `when_written` before each
    write to a connection.

    Comprehensions and lambdas belong to the function that they stand in.
    """

    def __init__(
        self, note: Callable[[str], object], when_written: Callable[[bytes], object] | None = None
    ) -> None:
        self._note = note
        self._when_written = when_written
        self._seen: set[CodeType] = set()

    def begin(self) -> None:
        threading.setprofile(self._look)
        sys.setprofile(self._look)

    def end(self) -> None:
        sys.setprofile(None)
        threading.setprofile(None)

    def _look(self, frame: FrameType, event: str, _: object) -> None:
        if event != "call":
            return
        code = frame.f_code
        if self._when_written and code.co_name == "write" and code.co_filename.endswith("selector_events.py"):
            self._when_written(bytes(frame.f_locals["data"]))
        if code in self._seen:
            return
        self._seen.add(code)
        if code.co_filename.startswith(SERVER) and not code.co_name.startswith("<"):
            self._note(f"{code.co_filename.removeprefix(SERVER)}:{code.co_qualname}:{code.co_firstlineno}")
