"""How `get` and `watch` show progress: bars on a terminal, plain lines elsewhere, JSON, or nothing.

Progress goes to standard error; what a script needs, ids and the paths of files, to standard output.
"""

import json
import shutil
import sys
import time
from typing import TYPE_CHECKING, Any, Protocol

from server.commands.remote import say
from server.commands.words import one_line, word

if TYPE_CHECKING:
    from clipwire_client import Task

STEP = 10  # percent between two plain lines of one stage
MAX_TITLE, MIN_TITLE = 40, 12  # columns
MIN_COLUMNS_FOR_BAR = 60  # columns that a terminal needs for a bar
MAX_BARS = 8  # few enough that the lines above them stay on the screen
SPEED_AFTER = 0.5  # seconds of a transfer before its speed is shown: earlier it is not reliable


class Display(Protocol):
    def accepted(self, task: "Task") -> None:
        """Show that the server has stored the task."""

    def status(self, task: "Task") -> None:
        """Show a newer status."""

    def transfer(self, task: "Task", name: str, done: int, size: int | None) -> None:
        """Show how much of a finished file has been received."""

    def saved(self, task: "Task", kind: str, path: str) -> None:
        """Show that a file is saved."""

    def ended(self, task: "Task") -> None:
        """Stop showing the task."""

    def say(self, text: str) -> None:
        """Print a line for the user, whatever the display."""

    def note(self, text: str) -> None:
        """Print a line about a temporary problem."""


def display_for(*, as_json: bool, quiet: bool) -> Display:
    if as_json:
        return Payloads(quiet=quiet)
    if quiet:
        return Silence()
    return Bars() if sys.stderr.isatty() else Lines()


class Silence:
    def accepted(self, task: "Task") -> None: ...
    def status(self, task: "Task") -> None: ...
    def transfer(self, task: "Task", name: str, done: int, size: int | None) -> None: ...
    def saved(self, task: "Task", kind: str, path: str) -> None: ...
    def ended(self, task: "Task") -> None: ...

    def say(self, text: str) -> None:
        say(text)

    def note(self, text: str) -> None: ...


class Payloads(Silence):
    """Prints each payload as the server sent it, and each saved file, one a line; no revision twice."""

    def __init__(self, *, quiet: bool) -> None:
        self._quiet = quiet
        self._revisions: dict[str, int] = {}

    def accepted(self, task: "Task") -> None:
        self.status(task)

    def status(self, task: "Task") -> None:
        if task.revision > self._revisions.get(task.task_id, 0):
            self._revisions[task.task_id] = task.revision
            print(task.raw, flush=True)

    def saved(self, task: "Task", kind: str, path: str) -> None:
        line = {"task_id": task.task_id, "kind": kind, "saved": path}
        print(json.dumps(line, ensure_ascii=False, separators=(",", ":")), flush=True)

    def ended(self, task: "Task") -> None:
        self._revisions.pop(task.task_id, None)

    def note(self, text: str) -> None:
        if not self._quiet:
            say(text)


class Lines(Silence):
    """Prints a line whenever the message changes, and for every ten percent of progress."""

    def __init__(self) -> None:
        self._shown: dict[str, tuple[str, int]] = {}

    def accepted(self, task: "Task") -> None:
        print(word("accepted", id=task.task_id, url=one_line(task.url)), flush=True)

    def status(self, task: "Task") -> None:
        now = (task.message, task.progress // STEP)
        if self._shown.get(task.task_id) != now:
            self._shown[task.task_id] = now
            parts = (f"{task.progress:3d}%", one_line(task.message), pace(task), one_line(task.title))
            print(" ".join(filter(None, parts)), file=sys.stderr, flush=True)

    def saved(self, task: "Task", kind: str, path: str) -> None:
        print(word("saved", path=one_line(path)), flush=True)

    def ended(self, task: "Task") -> None:
        self._shown.pop(task.task_id, None)

    def note(self, text: str) -> None:
        say(text)


class Bars(Silence):
    """Shows a bar for each unfinished task, at the foot of the terminal."""

    def __init__(self) -> None:
        from tqdm import tqdm  # the import takes 50 ms, so only for a terminal
        from tqdm.utils import disp_len, disp_trim

        tqdm.monitor_interval = 0  # run no monitor thread
        self._tqdm, self._length, self._cut = tqdm, disp_len, disp_trim
        self._bars: dict[str, Any] = {}
        self._transfers: dict[
            str, tuple[str, float, int]
        ] = {}  # name, time of the beginning, and bytes at that time, of each transfer

    def accepted(self, task: "Task") -> None:
        self._print(word("accepted", id=task.task_id, url=one_line(task.url)))

    def status(self, task: "Task") -> None:
        self._draw(task, task.progress, pace(task), task.title, task.message)

    def transfer(self, task: "Task", name: str, done: int, size: int | None) -> None:
        now = time.monotonic()
        began = self._transfers.get(task.task_id)
        if began is None or began[0] != name:
            began = self._transfers[task.task_id] = (name, now, done)
        seconds = now - began[1]
        speed = (done - began[2]) / seconds if seconds > SPEED_AFTER else None
        left = (size - done) / speed if size and speed else None
        percent = done * 100 // size if size else 0
        self._draw(task, percent, speed_and_time(speed, left), "", word("saving", name=name))

    def saved(self, task: "Task", kind: str, path: str) -> None:
        self._print(word("saved", path=one_line(path)))

    def ended(self, task: "Task") -> None:
        if bar := self._bars.pop(task.task_id, None):
            bar.close()
        self._transfers.pop(task.task_id, None)

    def say(self, text: str) -> None:
        with self._tqdm.external_write_mode(file=sys.stderr):
            say(text)

    note = say

    def _draw(self, task: "Task", percent: int, pace: str, title: str, text: str) -> None:
        """Put speed and time left first, since a narrow terminal cuts off the end of the line."""
        columns, rows = shutil.get_terminal_size()  # some terminals report 0
        bar = self._bars.get(task.task_id)
        if bar is None:
            bar = self._bars[task.task_id] = self._tqdm(
                total=100, bar_format="", file=sys.stderr, leave=False, mininterval=0
            )
        picture = "|{bar:20}| " if columns >= MIN_COLUMNS_FOR_BAR else ""
        bar.bar_format = f"{{percentage:3.0f}}% {picture}{{desc}}"
        room = columns - 1 - len("100% ") - (len("|| ") + 20 if picture else 0)
        text, pace = one_line(text), f"{pace}  " if pace else ""
        if title:
            room_of_title = max(MIN_TITLE, min(MAX_TITLE, room - len(pace) - self._length(text) - 2))
            text = f"{self._cut(one_line(title), room_of_title)}  {text}"
        bar.n, bar.ncols, bar.nrows = percent, columns, min(rows, MAX_BARS + 2)
        bar.set_description_str(self._cut(pace + text, room))

    def _print(self, line: str) -> None:
        """Write a line above the bars, which are drawn anew."""
        with self._tqdm.external_write_mode(file=sys.stdout):
            print(line, flush=True)


def pace(task: "Task") -> str:
    """Return speed and time left, as far as they are known: `1.4 MB/s 0:42`."""
    return speed_and_time(task.speed, task.eta)


def speed_and_time(speed: float | None, left: float | None) -> str:
    parts = []
    if speed is not None:
        parts.append(f"{amount(speed)}/s")
    if left is not None:
        minutes, seconds = divmod(int(left), 60)
        hours, minutes = divmod(minutes, 60)
        parts.append(f"{hours}:{minutes:02d}:{seconds:02d}" if hours else f"{minutes}:{seconds:02d}")
    return " ".join(parts)


def amount(size: float) -> str:
    for unit in ("B", "kB", "MB", "GB"):
        if size < 1000 or unit == "GB":
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1000
    raise AssertionError
