"""What this process has counted since its start, for `GET /metrics`: plain numbers, which cost little."""

from bisect import bisect_left
from collections import Counter
from datetime import datetime

from server.core.task import TaskStatus

SECONDS = (0.1, 0.5, 1.0, 5.0, 15.0, 60.0, 300.0, 900.0, 3600.0, 14_400.0, 86_400.0)
# Most names of extractors, or of error codes, that are counted; further ones count as `other`.
MOST_NAMES = 100


class Histogram:
    """`counts` has a number for each of `SECONDS`, and one for all that took longer."""

    def __init__(self) -> None:
        self.counts = [0] * (len(SECONDS) + 1)
        self.sum = 0.0

    def add(self, seconds: float) -> None:
        self.counts[bisect_left(SECONDS, seconds)] += 1
        self.sum += max(0.0, seconds)


class Names:
    """The first `MOST_NAMES` different names: the labels of a metric must not grow without end."""

    def __init__(self) -> None:
        self._known: set[str] = set()

    def of(self, name: str) -> str:
        if name in self._known or len(self._known) < MOST_NAMES:
            self._known.add(name)
            return name
        return "other"


class Counts:
    def __init__(self) -> None:
        self.requests: Counter[tuple[str, str, int]] = Counter()  # by method, route and status
        self.ends: Counter[tuple[str, str, str]] = Counter()  # by stage, error code and extractor
        self.child_starts = 0
        self.file_bytes = 0
        self.downloaded_bytes = 0
        self.commits = 0  # transactions of the writer of the database
        self.changes = 0  # changes in these transactions
        self.durations = Histogram()
        self.waits = Histogram()
        self.codes, self.extractors = Names(), Names()

    def began(self, status: TaskStatus, now: datetime) -> None:
        """Count the begin of an attempt on this machine."""
        self.child_starts += 1
        if status.attempt == 1:
            self.waits.add((now - status.created_at).total_seconds())

    def changed(self, before: TaskStatus, after: TaskStatus, now: datetime) -> None:
        """Count a saved change of a status: the bytes that have been received, and the end of a task."""
        if after.got > before.got:
            self.downloaded_bytes += after.got - before.got
        if after.stage.is_final and not before.stage.is_final:
            code = self.codes.of(after.error_code or "")
            self.ends[after.stage.value, code, self.extractors.of(after.video_info.extractor or "")] += 1
            self.durations.add((now - after.created_at).total_seconds())
            self.file_bytes += sum(file.size for file in after.files.values())
