"""What all backends share: the parts of an open one, and functions that help to open it."""

from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from server.core.background import in_background
from server.core.clock import Clock, zone_of
from server.core.data_dir import DataDir
from server.core.errors import StoreUnavailable
from server.core.ports import Cookies, FileStore, Sessions, Store, Workplace
from server.core.unusable import DataDirUnusable
from server.feeds.covers import Covers
from server.feeds.feed_store import Feeds
from server.files.workplace import LocalWorkplace
from server.library.library_actions import LibraryActions
from server.library.placements import LibraryFiles, PlacementStore
from server.memory.remembering import Media
from server.notices.deliveries import Outbox
from server.settings import ConfigurationError, LibrarySettings, Settings, StorageSettings
from server.subscriptions.looker import Looker
from server.subscriptions.subscribing import Subscriptions
from server.subscriptions.subscription import SubscriptionStore
from server.tasks.disk_space import Disk
from server.tasks.fork_servers import ForkServers
from server.tasks.inspector import Inspector
from server.tasks.janitor import for_ever
from server.tasks.job_builder import JobMaker
from server.tasks.rate_windows import LOOK_EVERY, Pacer
from server.tasks.readiness import Readiness, Ready
from server.tasks.runner import Runner
from server.tasks.service import Tasks


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


class Opened(Store, Protocol):
    """A store with all that is in the database."""

    @property
    def sessions(self) -> Sessions: ...

    @property
    def outbox(self) -> Outbox: ...

    @property
    def media(self) -> Media: ...

    @property
    def feeds(self) -> Feeds: ...

    @property
    def subscriptions(self) -> SubscriptionStore: ...

    @property
    def placements(self) -> PlacementStore: ...


@dataclass(frozen=True, slots=True)
class Parts:
    """What a server of either mode is put together of."""

    settings: Settings
    store: Opened
    tasks: Tasks
    files: FileStore
    workplace: Workplace
    fork_server: ForkServers
    jobs: JobMaker
    cookies: Cookies
    library: LibraryFiles | None
    clock: Clock
    disk: Disk

    @asynccontextmanager
    async def follow(self, runner: Runner, *, exist: bool, alone: bool) -> AsyncIterator[None]:
        """Look at subscriptions, and fill the library if there is one, for as long as the block lasts.

        Unless they `exist`, there is no subscription yet; `alone`: no other server does this.
        """
        looker = Looker(
            self.store.subscriptions,
            self.tasks,
            self.fork_server,
            self.workplace,
            self.jobs,
            self.cookies,
            self.settings.downloads,
            self.settings.subscriptions,
            self.clock,
        )
        runner.refused = looker.told_of_refusal
        async with AsyncExitStack() as stack:
            looking = looker.run(exist=exist, alone=alone)
            await stack.enter_async_context(in_background(looking, "looks"))
            if self.library:
                from server.library.placer import Placer  # of no use without a library

                zone = zone_of(self.settings.library.time_zone)
                own = (self.store.placements, self.tasks, self.files, self.library, self.clock, zone)
                await stack.enter_async_context(in_background(Placer(*own).run(alone=alone), "library"))
            yield

    @asynccontextmanager
    async def keep_yt_dlp_new(self) -> AsyncIterator[None]:
        """Look for a newer yt-dlp once a day, if `updates.yt_dlp` says so; nothing is loaded else."""
        if self.settings.updates.yt_dlp != "daily":
            yield
            return
        from server.updates.daily_update import look_daily

        data_dir, downloads = self.settings.storage.data_dir, self.settings.downloads
        looking = look_daily(self.fork_server, data_dir, downloads.min_free_disk, downloads.ffmpeg)
        async with in_background(looking, "updates"):
            yield

    @asynccontextmanager
    async def describe_cookies(self) -> AsyncIterator[None]:
        """Meanwhile work out what lists tell of cookie files that a release before has stored."""

        async def describe() -> None:
            with suppress(StoreUnavailable):  # the first list does it
                async for _ in self.cookies.facts():
                    pass

        async with in_background(describe(), "cookies"):
            yield

    def readiness(self, *, fills_library: bool = True) -> Readiness:
        """What `/readyz` looks at here; at the library only where this server fills it."""
        return Readiness(
            self.store.ping,
            self.disk,
            self.fork_server,
            self.jobs.tools,
            self.files.ping,
            trouble=self.workplace.trouble,
            library=self.library if fills_library else None,
        )

    def backend(self, readiness: Ready) -> Backend:
        store, settings = self.store, self.settings
        working = (self.fork_server, self.workplace)
        return Backend(
            tasks=self.tasks,
            files=self.files,
            inspector=Inspector(*working, settings.downloads, self.jobs, self.cookies),
            readiness=readiness,
            sessions=store.sessions,
            outbox=store.outbox,
            media=store.media,
            feeds=store.feeds,
            covers=Covers(*working, self.jobs),
            subscriptions=Subscriptions(store.subscriptions, self.tasks, settings.subscriptions, self.clock),
            placements=store.placements,
            library_actions=LibraryActions(
                store.placements,
                store.subscriptions,
                store.media,
                self.library,
                self.clock,
                zone_of(settings.library.time_zone),
            ),
            clock=self.clock,
            cookies=self.cookies,
            workplace=self.workplace,
        )


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
    from server.library.library_folder import METHODS, LibraryFolder
    from server.library.placing import PlacedFiles

    methods = METHODS[settings.method]
    return PlacedFiles(LibraryFolder(settings.path, methods, settings.file_mode, settings.folder_mode))


@asynccontextmanager
async def paced(pacer: Pacer) -> AsyncIterator[None]:
    """Apply the rate windows to running downloads: once before the block begins, then while it lasts."""
    await pacer.look()
    async with in_background(for_ever(pacer.look, LOOK_EVERY), "hours"):
        yield
