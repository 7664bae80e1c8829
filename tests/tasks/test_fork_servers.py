"""Which release of yt-dlp jobs run on, while other releases are chosen, rejected, or installed."""

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import psutil  # type: ignore[import-untyped]
import pytest

from server.tasks import release_switch
from server.tasks.children import ForkServer, ForkServerReport
from server.tasks.crash_comparison import MOST_CRASHES, JobOutcome
from server.tasks.fork_servers import ForkServers
from server.tasks.programs_found import find_tools
from server.tasks.readiness import update_check
from server.tasks.yt_dlp_releases import Releases, State, installed
from tests.fakes.yt_dlp_index import NEWER, NEWEST, NO_IMPORT, Change, lay_out
from tests.service import command_of

WITHIN = 60.0  # seconds, enough for a busy machine
Choose = Callable[..., None]


@pytest.fixture
def choose(tmp_path: Path) -> Choose:
    def chosen(version: str, *changes: Change) -> None:
        releases = Releases(tmp_path)
        releases.root.mkdir(parents=True, exist_ok=True)
        lay_out(releases.folder(version), version, *changes)
        releases.change(lambda state: state.model_copy(update={"chosen": version, "previous": state.chosen}))

    return chosen


@pytest.fixture
async def servers(tmp_path: Path) -> AsyncIterator[ForkServers]:
    tools = find_tools()
    async with ForkServers(tools.ffmpeg, tools.deno, tmp_path) as servers:
        async with asyncio.timeout(WITHIN):
            await servers.warm()
        yield servers


def runs_on(servers: ForkServers) -> str | None:
    return servers.ready.yt_dlp if servers.ready else None


def count(servers: ForkServers, *outcomes: JobOutcome | None, kind: str = "download") -> bool:
    """Let jobs on the current release end with these outcomes; return whether the last job is to run
    again.
    """
    again = False
    for number, outcome in enumerate(outcomes):
        servers._crashes.note_start(str(number), servers._switch.current, kind)
        again = servers.ended(str(number), outcome)
    return again


def is_busy(servers: ForkServers) -> bool:
    """Return whether a switch, a comparison or the end of a release is under way."""
    crashes = servers._crashes
    going_back = crashes._going_back
    return bool(servers._switch._retiring or crashes._ending or (going_back and not going_back.done()))


CRASHES: list[JobOutcome] = ["crashed"] * (MOST_CRASHES - 1)


async def test_without_an_update_nothing_is_written_or_looked_for(
    servers: ForkServers, tmp_path: Path
) -> None:
    await servers.follow_choice()
    assert (runs_on(servers), await servers.state()) == (installed(), None)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.wide
async def test_whoever_is_cancelled_while_another_release_gets_warm_ends_nothing(
    servers: ForkServers, choose: Choose, monkeypatch: pytest.MonkeyPatch
) -> None:
    held, reached, first_ready = asyncio.Event(), asyncio.Event(), ForkServer.first_ready

    async def slowly(self: ForkServer, *arguments: Any) -> ForkServerReport | None:
        reached.set()
        await held.wait()
        return await first_ready(self, *arguments)

    monkeypatch.setattr(ForkServer, "first_ready", slowly)
    choose(NEWER)
    one = asyncio.create_task(servers.follow_choice())
    await reached.wait()
    other = asyncio.create_task(servers.follow_choice())
    one.cancel()
    await asyncio.wait([one])
    assert one.cancelled()
    assert runs_on(servers) == installed(), "until the new one is warm"
    held.set()
    await other
    assert runs_on(servers) == NEWER


@pytest.mark.wide
async def test_a_stop_during_a_switch_leaves_no_process(
    tmp_path: Path, choose: Choose, monkeypatch: pytest.MonkeyPatch
) -> None:
    reached = asyncio.Event()

    async def never(self: ForkServer, *arguments: Any) -> ForkServerReport | None:
        reached.set()
        await asyncio.Event().wait()
        return None

    monkeypatch.setattr(ForkServer, "first_ready", never)
    before = psutil.Process().children()
    async with asyncio.timeout(WITHIN), ForkServers(None, None, tmp_path) as servers:
        choose(NEWER)
        looking = asyncio.create_task(servers.follow_choice())
        await reached.wait()
    await asyncio.wait([looking])
    mine = [each for each in psutil.Process().children() if each not in before]
    assert not any(NEWER in " ".join(command_of(each)) for each in mine)


async def test_only_crashes_in_a_row_count(servers: ForkServers, choose: Choose) -> None:
    choose(NEWER)
    await servers.follow_choice()
    for _ in range(2):
        assert not count(servers, *CRASHES, "refused")
        assert not count(servers, *CRASHES, "worked")
    assert not count(servers, *CRASHES, None), "what was killed says nothing"
    assert not count(servers, "worked", kind="info"), "nor do other kinds of jobs"
    assert count(servers, "crashed")


@pytest.mark.wide
@pytest.mark.parametrize(("outcome", "runs"), [("worked", installed()), ("crashed", NEWER), (None, NEWER)])
async def test_the_release_before_decides(
    servers: ForkServers, choose: Choose, outcome: JobOutcome | None, runs: str
) -> None:
    choose(NEWER)
    await servers.follow_choice()
    assert count(servers, *CRASHES, "crashed")
    job_id = str(MOST_CRASHES - 1)
    async with asyncio.timeout(WITHIN):
        before = await servers._crashes.release_before(job_id)
    assert before
    assert before.server.ready
    assert before.server.ready.yt_dlp == installed()
    assert not servers.ended(job_id, outcome)
    async with asyncio.timeout(WITHIN):
        while is_busy(servers):
            await asyncio.sleep(0.01)
    assert runs_on(servers) == runs
    assert len(servers._switch._open) == 1


@pytest.mark.wide
async def test_two_that_crash_at_once_are_compared_together(servers: ForkServers, choose: Choose) -> None:
    choose(NEWER)
    await servers.follow_choice()
    for number in range(MOST_CRASHES + 1):
        servers._crashes.note_start(str(number), servers._switch.current, "download")
    again = [servers.ended(str(number), "crashed") for number in range(MOST_CRASHES + 1)]
    assert again == [False] * (MOST_CRASHES - 1) + [True, True]
    async with asyncio.timeout(WITHIN):
        one, other = await asyncio.gather(
            servers._crashes.release_before("2"), servers._crashes.release_before("3")
        )
    assert one is other is not None
    assert len(servers._switch._open) == 2
    servers.ended("2", "worked")
    servers.ended("3", "worked")
    async with asyncio.timeout(WITHIN):
        while runs_on(servers) != installed() or is_busy(servers):
            await asyncio.sleep(0.01)


@pytest.mark.wide
async def test_a_stop_during_a_comparison_leaves_no_process(
    tmp_path: Path, choose: Choose, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The real class: a lent fork server would outlive the test.
    monkeypatch.setattr(release_switch, "ForkServer", ForkServer)
    before = psutil.Process().children()
    choose(NEWER)
    async with asyncio.timeout(WITHIN), ForkServers(None, None, tmp_path) as servers:
        await servers.warm()
        assert count(servers, *CRASHES, "crashed")
        while len(servers._switch._open) < 2:
            await asyncio.sleep(0.01)
    assert [each for each in psutil.Process().children() if each not in before] == []


async def test_crashes_of_the_installed_release_change_nothing(servers: ForkServers) -> None:
    for number in range(2 * MOST_CRASHES):
        assert not servers.ended(str(number), "crashed")
    assert (servers._crashes._going_back, await servers.state()) == (None, None)


@pytest.mark.wide
async def test_from_the_second_release_the_way_back_leads_to_the_first(
    servers: ForkServers, choose: Choose
) -> None:
    choose(NEWER)
    await servers.follow_choice()
    choose(NEWEST, NO_IMPORT)
    await servers.follow_choice()
    assert runs_on(servers) == NEWER
    state = await servers.state()
    assert state
    assert (state.chosen, state.refused, state.outcome) == (NEWER, {NEWEST: "start"}, "went_back")


@pytest.mark.wide
async def test_a_release_on_which_jobs_run_is_not_deleted(servers: ForkServers, choose: Choose) -> None:
    choose(NEWER)
    await servers.follow_choice()
    releases = servers._switch.releases
    releases.change(lambda state: State())
    with releases.update():
        assert releases.folder(NEWER).is_dir()
    await servers.follow_choice()
    async with asyncio.timeout(WITHIN):
        while is_busy(servers):
            await asyncio.sleep(0.01)
    with releases.update():
        assert not releases.folder(NEWER).exists()


@pytest.mark.parametrize(
    ("state", "said", "ok"),
    [
        (State(), "nothing newer", True),
        (State(outcome="switched", version=NEWER, chosen=NEWER), "new tasks run on it", True),
        (State(outcome="failed"), "failed", False),
        (State(outcome="refused", version=NEWER), "did not pass its test", False),
        (
            State(outcome="went_back", version=NEWER, refused={NEWER: "internal"}),
            "three times",
            False,
        ),
        (State(outcome="went_back", version=NEWER, refused={NEWER: "start"}), "does not start", False),
    ],
)
def test_what_an_update_came_to_is_a_check_that_nothing_depends_on(state: State, said: str, ok: bool) -> None:
    check = update_check(state)
    assert (check.ok, check.needed) == (ok, False)
    assert said in str(check.detail)
