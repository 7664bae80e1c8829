"""The fixtures that tests share: media, a site that serves them, and the real service."""

import asyncio
import functools
import gc
import importlib
import inspect
import os
import shutil
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, closing, suppress
from pathlib import Path
from typing import Any

import aiosqlite
import hypothesis
import pytest
from aiohttp.test_utils import TestClient

from server.commands import check
from server.storage.sqlite import ballast, migrations, store
from server.storage.sqlite.connection import connect_writer
from server.tasks import release_switch
from server.tasks.dispatcher import LocalDispatcher
from tests import scratch  # noqa: F401  # before modules that make a folder

# Before other modules: some look for an ffmpeg as soon as they are imported.
from tests.bundled import SYSTEMS
from tests.clips import make as make_films
from tests.cluster.postgres import Cleaner, database, make_tables
from tests.cluster.s3 import S3
from tests.cluster.shared import DOOR, Servers, lender_of, servers_of, stop_lending
from tests.commands.shell import Shell
from tests.jobs import Jobs, running_jobs
from tests.lasting import some_of
from tests.lent import ForkServers
from tests.moments import MORTAL
from tests.service import Service, Services
from tests.shelf import Shelf, open_shelf
from tests.site import Site, make_media, open_site
from tests.tools import FFMPEG, without
from tests.zygote import Zygotes

ROOT = Path(__file__).parents[1]
# Seconds that a test may take, or as many for each minute of its mark `minutes`: a busy machine is ten times
# as slow.
LIMIT = 300.0
SYSTEMS_FFMPEG = "system's ffmpeg"  # part of the names of tests that run with the system's ffmpeg

# Each run uses the same examples, so that a test that fails points to a change of the code;
# `--hypothesis-profile=random` draws others. There is no deadline for an example: it would measure the
# machine.
hypothesis.settings.register_profile(
    "random", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.register_profile("same", hypothesis.settings.get_profile("random"), derandomize=True)
hypothesis.settings.load_profile("same")

# Pytest keeps all collected tests until the end of the run. The garbage collector's passes over them would
# take two fifths of the time of the collection.
gc.disable()


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """Tell each worker of pytest-xdist where to borrow servers, before the controller starts it."""
    node.workerinput[DOOR] = lender_of(node.config).door


@pytest.hookimpl(tryfirst=True)
def pytest_collection(session: pytest.Session) -> None:
    """Import the modules of tests before pytest does so, in an order that differs from worker to worker.

    In a new checkout pytest rewrites and compiles each module, and caches the result. Workers that imported
    the modules in the same order would each compile all of them.
    """
    worker: dict[str, Any] | None = getattr(session.config, "workerinput", None)
    if worker is None:
        return
    modules = [module for place in session.config.args for module in sorted(Path(place).rglob("test_*.py"))]
    first = len(modules) * int(worker["workerid"].removeprefix("gw")) // worker["workercount"]
    for module in modules[first:] + modules[:first]:
        # Pytest imports the module again, and reports the error.
        with suppress(Exception, pytest.skip.Exception):
            importlib.import_module(".".join(module.resolve().relative_to(ROOT).with_suffix("").parts))


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    _leave_out(config, items)
    _deal(items)


def _leave_out(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Deselect part of the tests that run a second time with the system's ffmpeg, if this run does only a
    part of all.
    """
    again = [item for item in items if SYSTEMS_FFMPEG in item.name]
    if left := set(again) - set(some_of(again)):
        items[:] = [item for item in items if item not in left]
        config.hook.pytest_deselected(items=list(left))


def _deal(items: list[pytest.Item]) -> None:
    """Deal the tests that take minutes: each worker begins with about as many minutes of them as the others.

    A test of minutes that began last would keep the whole run waiting. xdist gives each worker one part of
    the list, and lets the others take from the end of it.
    """
    minutes = {item: count for item in items if (count := _minutes(item))}
    others = [item for item in items if item not in minutes]
    workers = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    begins: list[list[pytest.Item]] = [[] for _ in range(workers)]
    for item in sorted(minutes, key=minutes.__getitem__, reverse=True):
        min(begins, key=lambda part: sum(minutes[each] for each in part)).append(item)
    count = len(items)
    items.clear()
    for number, part in enumerate(begins):
        more = max(0, (count - len(items)) // (workers - number) - len(part))
        items += [*part, *others[:more]]
        del others[:more]


def pytest_collection_finish() -> None:
    """From here on the garbage collector looks only at objects that the tests make."""
    gc.freeze()
    gc.enable()


@pytest.hookimpl(trylast=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Let no test wait for ever: a test that hangs fails, and shows at which `await`."""
    if isinstance(item, pytest.Function) and inspect.iscoroutinefunction(item.obj):
        item.obj = _limited(item.obj, LIMIT * max(1, _minutes(item)))


def _limited(test: Callable[..., Coroutine[Any, Any, None]], seconds: float) -> Callable[..., Any]:
    @functools.wraps(test)
    async def limited(**fixtures: Any) -> None:
        async with asyncio.timeout(seconds):
            await test(**fixtures)

    return limited


def _minutes(item: pytest.Item) -> float:
    mark = item.get_closest_marker("minutes")
    return float(mark.args[0]) if mark else 0


def pytest_unconfigure(config: pytest.Config) -> None:
    stop_lending(config)


class ClosedIfNotStarted(TestClient[Any, Any]):
    """A client that closes its session if its server does not start: a later test would be blamed for the
    open session.
    """

    async def start_server(self) -> None:
        try:
            await super().start_server()
        except BaseException:
            await self.close()
            raise


@pytest.fixture
def aiohttp_client_cls() -> type[TestClient[Any, Any]]:
    return ClosedIfNotStarted


@pytest.fixture(scope="session")
def media(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Path:
    """Return the folder of the media, made once in a session: the workers of pytest-xdist share it."""
    base = tmp_path_factory.getbasetemp()
    return make_media((base if worker_id == "master" else base.parent) / "media")


@pytest.fixture(scope="session")
def films(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Path:
    """Return the folder with the films of `tests.clips`, made once in a session, too."""
    base = tmp_path_factory.getbasetemp()
    return make_films((base if worker_id == "master" else base.parent) / "films")


@pytest.fixture
def nothing_begins(monkeypatch: pytest.MonkeyPatch) -> None:
    """Start each server in the test's own process with a paused queue, which stays paused until the test
    releases it.
    """
    original = LocalDispatcher.__init__

    def held(self: LocalDispatcher, *arguments: Any, **named: Any) -> None:
        original(self, *arguments, **named)
        self.hold()

    monkeypatch.setattr(LocalDispatcher, "__init__", held)


@pytest.fixture
async def site(media: Path) -> AsyncIterator[Site]:
    async with open_site(media) as site:
        yield site


@pytest.fixture
async def shelf() -> AsyncIterator[Shelf]:
    async with open_shelf() as shelf:
        yield shelf


@pytest.fixture(
    scope="session",
    params=[
        pytest.param(FFMPEG, id="ffmpeg"),
        pytest.param(SYSTEMS, id=SYSTEMS_FFMPEG, marks=pytest.mark.long),
    ],
)
def ffmpeg(request: pytest.FixtureRequest) -> str:
    """Return the path of the package's ffmpeg; in long test runs, run the test a second time with the
    system's ffmpeg.
    """
    found: str = request.param or without("ffmpeg", "apt-get install ffmpeg")
    return found


@pytest.fixture(scope="session")
def jobs(ffmpeg: str) -> Iterator[Jobs]:
    with running_jobs(ffmpeg) as jobs:
        yield jobs


@pytest.fixture(scope="session", autouse=True)
def fork_servers() -> Iterator[None]:
    """Lend warm fork servers to the applications in this process; in other processes each starts its own."""
    with closing(ForkServers()) as owner, pytest.MonkeyPatch.context() as patch:
        for module in (release_switch, check):
            patch.setattr(module, "ForkServer", owner.lend)
        yield


@pytest.fixture(scope="session", autouse=True)
def zygotes() -> Iterator[None]:
    """Fork services and commands from warm processes: this takes a sixth of the CPU of a start by `exec`."""
    with closing(Zygotes()) as zygotes, pytest.MonkeyPatch.context() as patch:
        patch.setattr(Service, "begin", staticmethod(zygotes.start))
        patch.setattr(Shell, "begin", staticmethod(zygotes.run))
        yield


@pytest.fixture(scope="session", autouse=True)
def small_ballast() -> Iterator[None]:
    """Shrink the space that a database reserves for deletions on a full disk: hundreds of tests open a
    database.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ballast, "SIZE", ballast.BLOCK)
        yield


@pytest.fixture(scope="session", autouse=True)
def tables_at_hand(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Let each new database in this process be a copy of one that was migrated once.

    Migrating an empty database takes 30 ms of CPU and some thirty commits, and thousands of tests need one.
    """
    migrated = tmp_path_factory.mktemp("migrated") / "clipwire.db"

    async def migrate() -> None:
        async with connect_writer(migrated) as db:
            await migrations.migrate(db, migrated, migrations.released_scripts())

    @asynccontextmanager
    async def connect(path: Path) -> AsyncIterator[aiosqlite.Connection]:
        if not path.exists():
            with suppress(OSError):  # then the service meets the same and says it
                shutil.copy(migrated, path)
        async with connect_writer(path) as db:
            yield db

    # `asyncio.run` needs another thread: this one may already run the event loop of a test.
    with ThreadPoolExecutor(1) as aside:
        aside.submit(asyncio.run, migrate()).result()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(store, "connect_writer", connect)
        yield


@pytest.fixture(scope="session")
def services(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Services]:
    services = Services(tmp_path_factory.mktemp("services"))
    yield services
    services.close()


@pytest.fixture(scope="session")
def servers(request: pytest.FixtureRequest) -> Iterator[Servers]:
    """The PostgreSQL and S3 servers of this run."""
    with closing(servers_of(request.config)) as servers:
        yield servers


@pytest.fixture(scope="session")
def postgres(servers: Servers) -> str:
    return servers.postgres()


@pytest.fixture
def empty_database(postgres: str) -> Iterator[str]:
    """The URL of an empty database for this test alone."""
    with database(postgres) as url:
        yield url


@pytest.fixture(scope="session")
def tables(postgres: str) -> Iterator[tuple[str, Cleaner]]:
    with database(postgres) as url:
        # `asyncio.run` needs another thread: this one may already run the event loop of a test.
        with ThreadPoolExecutor(1) as aside:
            aside.submit(asyncio.run, make_tables(url)).result()
        with closing(Cleaner(url)) as cleaner:
            yield url, cleaner


@pytest.fixture
def clean_database(tables: tuple[str, Cleaner]) -> str:
    """The URL of a shared database with this server's tables, all empty; tests must not change the schema."""
    url, cleaner = tables
    cleaner.clear()
    return url


@pytest.fixture
async def service(services: Services) -> AsyncIterator[Service]:
    """A running service without tasks, with the default settings; for others a test uses `services`."""
    async with services.lend() as service:
        yield service


@pytest.fixture(scope="session")
def s3(servers: Servers) -> S3:
    """Tests share the bucket; each uses a prefix of its own."""
    return servers.s3()


@pytest.fixture
async def mortal(services: Services) -> AsyncIterator[Service]:
    """A service that can be told when to kill itself: `Moment.comes`."""
    async with services.lend(**MORTAL) as service:
        yield service
