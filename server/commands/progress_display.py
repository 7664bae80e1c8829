"""How `get` and `watch` show what they are told: bars on a terminal, plain lines elsewhere, JSON, or nothing.

What somebody waits for goes to standard error; what a script wants, ids and the places of files, to standard
output.
"""

import shutil
import sys
from typing import TYPE_CHECKING, Any, Protocol

from server.commands.words import one_line, word

if TYPE_CHECKING:
    from clipwire_client import Task

STEP = 10  # percent between two plain lines of one stage
TITLE = 40  # characters of it that are shown


class Display(Protocol):
    def accepted(self, task: "Task") -> None:
        """The server has stored the task."""

    def status(self, task: "Task") -> None:
        """There is a newer status."""

    def transfer(self, task: "Task", name: str, done: int, size: int | None) -> None:
        """Bytes of a finished file have come."""

    def saved(self, task: "Task", path: str) -> None:
        """A file is here."""

    def ended(self, task: "Task") -> None:
        """Nothing more comes of the task."""


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
    def saved(self, task: "Task", path: str) -> None: ...
    def ended(self, task: "Task") -> None: ...


class Payloads(Silence):
    """Each payload as the server sent it, one a line."""

    def __init__(self, *, quiet: bool) -> None:
        self._quiet = quiet

    def accepted(self, task: "Task") -> None:
        self.status(task)

    def status(self, task: "Task") -> None:
        print(task.raw, flush=True)

    def saved(self, task: "Task", path: str) -> None:
        if not self._quiet:
            print(word("saved", path=one_line(path)), file=sys.stderr, flush=True)


class Lines(Silence):
    """A line whenever the message changes, and for every tenth of the way."""

    def __init__(self) -> None:
        self._told: dict[str, tuple[str, int]] = {}

    def accepted(self, task: "Task") -> None:
        print(word("accepted", id=task.task_id, url=one_line(task.url)), flush=True)

    def status(self, task: "Task") -> None:
        now = (task.message, task.progress // STEP)
        if self._told.get(task.task_id) != now:
            self._told[task.task_id] = now
            parts = (f"{task.progress:3d}%", one_line(task.message), pace(task), one_line(task.title))
            print(" ".join(filter(None, parts)), file=sys.stderr, flush=True)

    def saved(self, task: "Task", path: str) -> None:
        print(word("saved", path=one_line(path)), flush=True)


class Bars(Silence):
    """A bar for each task that is not over, at the foot of the terminal."""

    def __init__(self) -> None:
        from tqdm import tqdm  # 50 ms: where there is a terminal

        tqdm.monitor_interval = 0  # no thread
        self._tqdm = tqdm
        self._bars: dict[str, Any] = {}

    def accepted(self, task: "Task") -> None:
        self._print(word("accepted", id=task.task_id, url=one_line(task.url)))

    def status(self, task: "Task") -> None:
        self._draw(task, task.progress, f"{one_line(task.message)} {pace(task)}")

    def transfer(self, task: "Task", name: str, done: int, size: int | None) -> None:
        self._draw(task, done * 100 // size if size else 0, word("saving", name=one_line(name)[:TITLE]))

    def saved(self, task: "Task", path: str) -> None:
        self._print(word("saved", path=one_line(path)))

    def ended(self, task: "Task") -> None:
        if bar := self._bars.pop(task.task_id, None):
            bar.close()

    def _draw(self, task: "Task", percent: int, text: str) -> None:
        bar = self._bars.get(task.task_id)
        if bar is None:
            form = "{percentage:3.0f}% |{bar:20}| {desc}"
            bar = self._bars[task.task_id] = self._tqdm(
                total=100, bar_format=form, file=sys.stderr, leave=False, mininterval=0
            )
        bar.n = percent
        bar.ncols, bar.nrows = shutil.get_terminal_size()  # some terminals say that they have neither
        bar.set_description_str(f"{one_line(task.title)[:TITLE]}  {text.strip()}")

    def _print(self, line: str) -> None:
        """Above the bars, which are drawn anew."""
        with self._tqdm.external_write_mode(file=sys.stdout):
            print(line, flush=True)


def pace(task: "Task") -> str:
    """Speed and time left, as far as they are known: `1.4 MB/s 0:42`."""
    parts = []
    if task.speed is not None:
        parts.append(f"{amount(task.speed)}/s")
    if task.eta is not None:
        minutes, seconds = divmod(int(task.eta), 60)
        hours, minutes = divmod(minutes, 60)
        parts.append(f"{hours}:{minutes:02d}:{seconds:02d}" if hours else f"{minutes}:{seconds:02d}")
    return " ".join(parts)


def amount(size: float) -> str:
    for unit in ("B", "kB", "MB", "GB"):
        if size < 1000 or unit == "GB":
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1000
    raise AssertionError
