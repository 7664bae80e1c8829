"""What all backends share: the parts of an open one, and functions that help to open it."""

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path

from server.core.background import in_background
from server.core.clock import Clock
from server.core.data_dir import DataDir
from server.core.deliveries import Outbox
from server.core.feeds import Feeds
from server.core.placements import LibraryFiles, PlacementStore
from server.core.ports import Cookies, FileStore, Sessions, Workplace
from server.core.remembering import Media
from server.core.unusable import DataDirUnusable
from server.files.workplace import LocalWorkplace
from server.settings import ConfigurationError, LibrarySettings, StorageSettings
from server.tasks.covers import Covers
from server.tasks.hours import LOOK_EVERY, Pacer
from server.tasks.inspector import Inspector
from server.tasks.janitor import for_ever
from server.tasks.library_actions import LibraryActions
from server.tasks.readiness import Ready
from server.tasks.service import Tasks
from server.tasks.subscribing import Subscriptions


@dataclass(frozen=True, slots=True)
class Backend:
    tasks: Tasks
    files: FileStore
    inspector: Inspector
    readiness: Ready
    sessions: Sessions
    outbox: Outbox
    media: Media
    feeds: Feeds
    covers: Covers
    subscriptions: Subscriptions
    placements: PlacementStore
    library_actions: LibraryActions
    clock: Clock
    cookies: Cookies
    workplace: Workplace


def make(data_dir: Path) -> None:
    """Create the data directory. Touches the disk; raises `ConfigurationError`."""
    try:
        data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as exc:
        raise ConfigurationError(f"storage.data_dir: {data_dir}: {exc.strerror}") from None


def data_dir_of(storage: StorageSettings) -> DataDir:
    """The data directory, with the folders that a server with these settings needs."""
    is_alone = storage.database == "sqlite"
    files = ("files",) if storage.files == "local" else ()
    folders = ("work", "logs", *files, "scratch", *(() if is_alone else ("nodes",)))
    if is_alone:
        return DataDir(storage.data_dir, folders)
    return DataDir(storage.data_dir, folders, later=(), files=("clipwire.lock",))


def prepare(data: DataDir) -> None:
    """Make the folders of the data directory. Touches the disk; raises `DataDirUnusable`."""
    with explained(data.path):
        data.make()
    for path, why in data.unusable() or data.unusable_files():
        raise DataDirUnusable(path, why)


def empty(workplace: LocalWorkplace) -> None:
    """Empty the scratch directory. Touches the disk; raises `DataDirUnusable`."""
    with explained(workplace.root):
        workplace.empty_scratch()


@contextmanager
def explained(data_dir: Path) -> Iterator[None]:
    """Turn an `OSError` of the disk into `DataDirUnusable`, which names the file."""
    try:
        yield
    except OSError as exc:
        raise DataDirUnusable(exc.filename or data_dir, f"cannot be written ({exc.strerror})") from exc


def library_of(settings: LibrarySettings) -> LibraryFiles | None:
    """The library's folder; None if there is no library."""
    if settings.path is None:
        return None
    # Of no use without a library.
    from server.files.library_folder import METHODS, LibraryFolder
    from server.files.placing import PlacedFiles

    methods = METHODS[settings.method]
    return PlacedFiles(LibraryFolder(settings.path, methods, settings.file_mode, settings.folder_mode))


@asynccontextmanager
async def paced(pacer: Pacer) -> AsyncIterator[None]:
    """Apply the rate windows to running downloads: once before the block begins, then while it lasts."""
    await pacer.look()
    async with in_background(for_ever(pacer.look, LOOK_EVERY), "hours"):
        yield
