"""The parts that all backends have, and functions that open them."""

from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from server.core.background import in_background
from server.core.clock import Clock
from server.core.counts import Counts
from server.core.data_dir import DataDir
from server.core.errors import StoreUnavailable
from server.core.hooks import Hooks
from server.core.ports import Cookies, FileStore, Workplace
from server.core.shares import Shares
from server.core.task import Task
from server.core.unusable import DataDirUnusable
from server.feature import Added, Database, Feature, Kernel
from server.files.workplace import LocalWorkplace
from server.settings import ConfigurationError, Settings, StorageSettings
from server.storage.statements import StoreHooks
from server.tasks.children import Launched
from server.tasks.disk_space import Disk, Reserve
from server.tasks.fork_servers import ForkServers
from server.tasks.hub import Hub
from server.tasks.inspector import Inspector
from server.tasks.janitor import for_ever
from server.tasks.job_builder import JobMaker
from server.tasks.plugin_trials import plugins_of
from server.tasks.rate_windows import CHECK_EVERY, Pacer
from server.tasks.readiness import Readiness, Ready
from server.tasks.recorder import Recorder
from server.tasks.runner import Runner
from server.tasks.service import Tasks


@dataclass(frozen=True, slots=True)
class Backend:
    """The running kernel, parts that only its routes need, and what features have added."""

    kernel: Kernel
    hub: Hub
    inspector: Inspector
    readiness: Ready
    added: Sequence[Added]


@dataclass(frozen=True, slots=True)
class BaseParts:
    """The parts that one machine and a node of a cluster make differently; all other parts are made from
    these.
    """

    settings: Settings
    store: Database
    hub: Hub
    clock: Clock
    files: FileStore
    workplace: Workplace
    cookies: Cookies
    jobs: JobMaker
    disk: Disk
    hooks: Hooks
    counts: Counts | None

    def kernel(
        self, fork_server: ForkServers, tasks: Tasks, shares: Shares, *, is_alone: bool, runs_tasks: bool
    ) -> Kernel:
        return Kernel(
            settings=self.settings,
            store=self.store,
            tasks=tasks,
            files=self.files,
            workplace=self.workplace,
            fork_server=fork_server,
            jobs=self.jobs,
            cookies=self.cookies,
            clock=self.clock,
            disk=self.disk,
            hooks=self.hooks,
            shares=shares,
            is_alone=is_alone,
            runs_tasks=runs_tasks,
        )


@dataclass(frozen=True, slots=True)
class AttemptParts:
    """The parts that run attempts, the same on one machine and on a node."""

    recorder: Recorder
    fork_server: ForkServers
    runner: Runner


async def open_attempt_parts(
    stack: AsyncExitStack,
    base: BaseParts,
    reserve: Reserve,
    entry_taken: Callable[[Task], None],
    launched: Launched | None = None,
) -> AttemptParts:
    """Make the parts; the fork server runs until `stack` closes."""
    downloads, tools = base.settings.downloads, base.jobs.tools
    data_dir = base.settings.storage.data_dir
    plugins = plugins_of(base.jobs, lambda: base.workplace.scratch)
    fork_server = await stack.enter_async_context(
        ForkServers(tools.ffmpeg, tools.deno, data_dir, launched, plugins, downloads.sleep_after)
    )
    recorder = Recorder(base.store, base.hub, base.clock, base.files, base.counts, entry_taken)
    runner = Runner(
        base.store,
        recorder,
        fork_server,
        base.workplace,
        base.files,
        downloads,
        base.jobs,
        base.cookies,
        base.clock,
        reserve,
        base.hooks.attempt_failed,
        base.hooks.before_attempt,
    )
    return AttemptParts(recorder, fork_server, runner)


async def open_features(stack: AsyncExitStack, features: Iterable[Feature], kernel: Kernel) -> list[Added]:
    """Open the features; they stay open until `stack` closes."""
    added = [await stack.enter_async_context(feature.open(kernel)) for feature in features]
    kernel.hooks.are_complete.set()
    kernel.shares.are_complete()
    return added


def readiness_of(kernel: Kernel, added: Iterable[Added]) -> Readiness:
    """Return the checks of `/readyz`."""
    return Readiness(
        kernel.store.ping,
        kernel.disk,
        kernel.fork_server,
        kernel.jobs.tools,
        kernel.files.ping,
        trouble=kernel.workplace.trouble,
        others=[check for each in added for check in each.checks],
    )


def backend_of(kernel: Kernel, hub: Hub, added: Sequence[Added], readiness: Ready) -> Backend:
    inspector = Inspector(
        kernel.fork_server, kernel.workplace, kernel.settings.downloads, kernel.jobs, kernel.cookies
    )
    return Backend(kernel, hub, inspector, readiness, added)


def store_hooks(features: Iterable[Feature], settings: Settings) -> list[StoreHooks]:
    return [feature.store_hooks(settings) for feature in features if feature.store_hooks]


@asynccontextmanager
async def cookies_described(cookies: Cookies) -> AsyncIterator[None]:
    """While this is open, compute in the background the facts about cookie files that an earlier release has
    stored without them: lists of cookie files show these facts.
    """

    async def describe() -> None:
        with suppress(StoreUnavailable):  # the next list of cookie files tries again
            async for _ in cookies.facts():
                pass

    async with in_background(describe(), "cookies"):
        yield


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
    with explain_errors(data.path):
        data.make()
    for path, why in data.unusable() or data.unusable_files():
        raise DataDirUnusable(path, why)


def empty(workplace: LocalWorkplace) -> None:
    """Empty the scratch directory. Touches the disk; raises `DataDirUnusable`."""
    with explain_errors(workplace.root):
        workplace.empty_scratch()


@contextmanager
def explain_errors(data_dir: Path) -> Iterator[None]:
    """Turn an `OSError` of the disk into `DataDirUnusable`, which names the file."""
    try:
        yield
    except OSError as exc:
        raise DataDirUnusable(exc.filename or data_dir, f"cannot be written ({exc.strerror})") from exc


@asynccontextmanager
async def paced(pacer: Pacer) -> AsyncIterator[None]:
    """Apply the rate windows to running downloads: once before the block begins, then while it lasts."""
    await pacer.look()
    async with in_background(for_ever(pacer.look, CHECK_EVERY), "hours"):
        yield
