"""What tests lean on: media, a site that serves them, and the real service."""

from collections.abc import AsyncIterator, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import hypothesis
import pytest

from server.backends import embedded
from server.backends.dispatcher import LocalDispatcher
from server.commands import check
from tests.bundled import SYSTEMS  # before all that look for an ffmpeg
from tests.jobs import Jobs, running_jobs
from tests.lent import ForkServers
from tests.moments import MORTAL
from tests.service import Service, Services
from tests.site import Site, make_media, open_site
from tests.tools import FFMPEG, without

hypothesis.settings.register_profile("tests", deadline=None)  # it would measure the machine, not the code
hypothesis.settings.load_profile("tests")


@pytest.fixture(scope="session")
def media(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Path:
    """Made once a session: the workers of pytest-xdist share the folder above their own."""
    base = tmp_path_factory.getbasetemp()
    return make_media((base if worker_id == "master" else base.parent) / "media")


@pytest.fixture
def nothing_begins(monkeypatch: pytest.MonkeyPatch) -> None:
    """Servers within the test's process hold their queues from the start on, until they are released."""
    original = LocalDispatcher.__init__

    def held(self: LocalDispatcher, *arguments: Any) -> None:
        original(self, *arguments)
        self.hold()

    monkeypatch.setattr(LocalDispatcher, "__init__", held)


@pytest.fixture
async def site(media: Path) -> AsyncIterator[Site]:
    async with open_site(media) as site:
        yield site


@pytest.fixture(
    scope="session",
    params=[
        pytest.param(FFMPEG, id="ffmpeg"),
        pytest.param(SYSTEMS, id="system's ffmpeg", marks=pytest.mark.long),
    ],
)
def ffmpeg(request: pytest.FixtureRequest) -> str:
    """That of a package, and then, for those who have time, the system's."""
    found: str = request.param or without("ffmpeg", "apt-get install ffmpeg")
    return found


@pytest.fixture(scope="session")
def jobs(ffmpeg: str) -> Iterator[Jobs]:
    with running_jobs(ffmpeg) as jobs:
        yield jobs


@pytest.fixture(scope="session", autouse=True)
def fork_servers() -> Iterator[None]:
    """Applications within this process take turns with one; elsewhere each starts its own."""
    with closing(ForkServers()) as owner, pytest.MonkeyPatch.context() as patch:
        for module in (embedded, check):
            patch.setattr(module, "ForkServer", owner.lend)
        yield


@pytest.fixture(scope="session")
def services(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Services]:
    services = Services(tmp_path_factory.mktemp("services"))
    yield services
    services.close()


@pytest.fixture
async def service(services: Services) -> AsyncIterator[Service]:
    """One that runs and has no tasks, with the settings of `Service`; for others a test asks `services`."""
    async with services.lend() as service:
        yield service


@pytest.fixture
async def mortal(services: Services) -> AsyncIterator[Service]:
    """One that can be told when to die: `Moment.comes`."""
    async with services.lend(**MORTAL) as service:
        yield service
