"""The stages of a task."""

from enum import StrEnum
from typing import Literal


class Stage(StrEnum):
    """Where a task is; `status` is the coarser word, of three, that clients are promised."""

    QUEUED = "queued"
    INFO = "info"
    DOWNLOAD = "download"
    CONVERT = "convert"
    PAUSED = "paused"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"

    __hash__ = str.__hash__  # faster than `Enum.__hash__`, which is a Python function

    status: Literal["processing", "completed", "error"]
    is_final: bool
    has_failed: bool
    is_waiting: bool
    """The task has not ended and no child works on it; `max_queued` limits these tasks."""
    is_running: bool
    """A child works on the task, or did so when the server ended."""

    def __init__(self, word: str) -> None:
        self.has_failed = word in ("failed", "cancelled")
        self.is_final = self.has_failed or word == "completed"
        self.is_waiting = word in ("queued", "paused")
        self.is_running = not (self.is_final or self.is_waiting)
        self.status = "error" if self.has_failed else "completed" if self.is_final else "processing"
