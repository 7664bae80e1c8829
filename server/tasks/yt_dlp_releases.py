"""The releases of yt-dlp in the data folder: which there are, which one new jobs run on, and why.

yt-dlp/<python>/            as in cpython-313-x86_64: packages may be compiled for one Python
  state.json                what was decided; written as a whole, so a kill leaves the old or the new state
  lock                      held (flock) by the update under way
  new-…/                    a release being installed; what a kill leaves of it, the next update deletes
  <version>/                complete, and tested: the packages of this release, as in a site-packages
  <version>.lock            held (flock, shared) by servers that use this release, so that it is not deleted

The release that is installed with the service is always available; the chosen one is compared with it.

Decisions: docs/decisions/updates.md
"""

import fcntl
import logging
import os
import platform
import re
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as installed_version
from pathlib import Path
from typing import Literal
from uuid import uuid4

from pydantic import BaseModel, ConfigDict, ValidationError

log = logging.getLogger(__name__)

FOLDER = "yt-dlp"
VERSION = re.compile(r"[0-9][0-9A-Za-z.+]{0,63}")

Outcome = Literal["none_newer", "switched", "refused", "failed", "went_back"]
Why = Literal["self_test", "internal", "start"]


class State(BaseModel):
    """`chosen` is None for the installed release, and `previous` what `chosen` has replaced.

    `refused`: version that new jobs must not run on -> why. `outcome` is that of the last update, at
    `looked_at` (UTC), to `version`; `detail` explains a failure in English.
    """

    model_config = ConfigDict(frozen=True, extra="ignore", defer_build=True)

    chosen: str | None = None
    previous: str | None = None
    refused: dict[str, Why] = {}
    outcome: Outcome | None = None
    looked_at: str | None = None
    version: str | None = None
    detail: str | None = None


class Releases:
    """Every method touches the disk: call it in a thread."""

    def __init__(self, data_dir: Path) -> None:
        self.root = data_dir.absolute() / FOLDER / f"{sys.implementation.cache_tag}-{platform.machine()}"
        self._file = self.root / "state.json"

    def changed_at(self) -> tuple[int, int] | None:
        """Return a value that differs after every change of the state; None if there never was an update."""
        try:
            found = self._file.stat()
        except OSError:
            return None
        # The inode, too: each change makes a new file, and the clocks of file systems are coarse.
        return (
            found.st_mtime_ns,
            found.st_ino,
        )

    def read(self) -> State:
        try:
            return State.model_validate_json(self._file.read_bytes())
        except (FileNotFoundError, NotADirectoryError):
            return State()
        except (OSError, ValidationError) as exc:  # then the installed release is used
            log.error("%s cannot be read: %s", self._file, str(exc).splitlines()[0])
            return State()

    def change(self, change: Callable[[State], State]) -> State:
        """Replace the state by the result of `change`, one change at a time. Raises `OSError`."""
        self.root.mkdir(mode=0o700, parents=True, exist_ok=True)
        with _locked(self.root / "state.lock"):
            state = change(self.read())
            part = self.root / "state.json.part"
            with part.open("w", encoding="utf-8") as file:
                file.write(state.model_dump_json())
                file.flush()
                os.fsync(file.fileno())
            part.replace(self._file)
            _flush(self.root)
        return state

    def chosen(self) -> str | None:
        """Return the version that new jobs run on; None for the installed one, also if that is
        newer by now.
        """
        return self._usable(self.read().chosen)

    def before(self, version: str) -> str | None:
        """Return the version that `go_back` from `version` leads to; None for the installed one."""
        return self._usable(_before(self.read(), version))

    def _usable(self, chosen: str | None) -> str | None:
        if chosen is None or not self.folder(chosen).is_dir() or not is_newer(chosen, installed()):
            return None
        return chosen

    def folder(self, version: str) -> Path:
        if not VERSION.fullmatch(version):
            raise ValueError(f"{version!r} is no version")
        return self.root / version

    def go_back(self, version: str, why: Why, at: str) -> State:
        """Refuse `version`, and choose what it has replaced. Raises `OSError`."""

        def change(state: State) -> State:
            others = (
                {"chosen": _before(state, version), "previous": None, "outcome": "went_back", "looked_at": at,
                 "version": version, "detail": None}
                if state.chosen == version
                else {}
            )  # fmt: skip
            return state.model_copy(update={"refused": {**state.refused, version: why}, **others})

        return self.change(change)

    @contextmanager
    def update(self) -> Iterator[Path]:
        """Yield an empty folder for a new release. Raises `OSError`, `BlockingIOError` during
        another update.
        """
        self.root.mkdir(mode=0o700, parents=True, exist_ok=True)
        with _locked(self.root / "lock", fcntl.LOCK_NB):
            self._delete_unused()
            new = self.root / f"new-{uuid4().hex}"
            new.mkdir(mode=0o700)
            try:
                yield new
            finally:
                shutil.rmtree(new, ignore_errors=True)

    def put(self, tested: Path, version: str) -> None:
        """Make the folder `tested` the release `version`, which is not there yet. Raises `OSError`."""
        os.sync()  # the release's files, some thousand, were not flushed yet
        tested.rename(self.folder(version))
        _flush(self.root)

    def hold(self, version: str) -> int:
        """Return a descriptor; until it is closed, the release is not deleted. Raises `OSError`."""
        descriptor = os.open(self.root / f"{version}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        fcntl.flock(descriptor, fcntl.LOCK_SH)
        return descriptor

    def _delete_unused(self) -> None:
        """Delete the leftovers of killed updates, and releases that are neither in use nor a way back."""
        state = self.read()
        for path in list(self.root.iterdir()):
            if path.name.startswith("new-"):
                shutil.rmtree(path, ignore_errors=True)
            elif path.is_dir() and path.name not in (state.chosen, state.previous):
                with suppress(OSError), _locked(self.root / f"{path.name}.lock", fcntl.LOCK_NB):
                    shutil.rmtree(path, ignore_errors=True)
                    (self.root / f"{path.name}.lock").unlink()


def installed() -> str:
    """The version that was installed with the service; empty if there is none."""
    try:
        return installed_version("yt-dlp")
    except PackageNotFoundError:
        return ""


def moment() -> str:
    """Return the present as `State.looked_at` has it."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _before(state: State, version: str) -> str | None:
    return state.previous if state.previous not in (*state.refused, version) else None


def is_newer(version: str, than: str) -> bool:
    """Compare versions such as `2026.10.26` or, of a nightly release, `2026.10.27.232827.dev0`."""
    return _numbers(version) > _numbers(than)


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(map(int, re.findall(r"\d+", version.partition(".dev")[0])))


@contextmanager
def _locked(path: Path, how: int = 0) -> Iterator[None]:
    """Hold the lock of the file `path`. With `LOCK_NB` as `how`, raises `BlockingIOError` instead
    of waiting.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | how)
        yield
    finally:
        os.close(descriptor)


def _flush(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
