"""What `clipwire get` shows on a terminal, read back as a person sees it."""

import re
import signal
from pathlib import Path

import pytest
from clipwire_client.patience import SILENT_AFTER

from server.commands import remote_client
from tests.commands.shell import Screen, Shell, line_with
from tests.service import Service, Services
from tests.site import Site

ENTRIES = 30
ROWS = 24


@pytest.fixture
def shell(tmp_path: Path, service: Service) -> Shell:
    here = tmp_path / "here"
    here.mkdir()
    return Shell(here).using(service)


@pytest.mark.wide
@pytest.mark.parametrize("columns", [80, 40])
async def test_of_a_list_all_that_was_saved_stays_on_the_terminal(
    shell: Shell, site: Site, columns: int
) -> None:
    """The list has more entries than the terminal has lines."""
    link = site.url(
        "/feed?" + "&".join(f"entry=/1mb.mp4?rate={9_000_000 + number}" for number in range(ENTRIES))
    )
    status, written = await shell.on_terminal("get", link, "--playlist", seen=lambda _: None, columns=columns)
    screen = Screen(written, columns)
    lines = [line for line in screen.lines if line]
    assert (status, len(shell.files())) == (0, ENTRIES), "\n".join(lines)
    saved = [line.removeprefix("saved ") for line in lines if line.startswith("saved ")]
    assert sorted(saved) == sorted(shell.files()), "\n".join(lines)
    assert sum(line.startswith("saved ") for line in screen.shown) >= ROWS // 2, screen.shown
    assert lines[0].startswith("task ")
    assert not [line for line in lines if "%" in line], "no bar is left"


@pytest.mark.wide
@pytest.mark.parametrize("columns", [80, 40])
async def test_of_many_links_everything_stays_on_the_terminal(shell: Shell, site: Site, columns: int) -> None:
    links = [site.url(f"/1mb.mp4?rate={9_000_000 + number}") for number in range(ENTRIES)]
    status, written = await shell.on_terminal("get", *links, seen=lambda _: None, columns=columns)
    screen = Screen(written, columns)
    lines = [line for line in screen.lines if line]
    assert (status, len(shell.files())) == (0, ENTRIES), "\n".join(lines)
    saved = [line.removeprefix("saved ") for line in lines if line.startswith("saved ")]
    assert sorted(saved) == sorted(shell.files()), "\n".join(lines)
    # The screen also shows tasks that were submitted late.
    assert sum(map(bool, screen.shown)) >= ROWS // 2, screen.shown


@pytest.mark.wide
@pytest.mark.parametrize("columns", [80, 40])
async def test_speed_and_time_left_stand_before_a_long_title(shell: Shell, site: Site, columns: int) -> None:
    found: list[str] = []

    def let_go(written: str) -> None:
        shown = [line for line in Screen(written, columns).lines if re.search(r"[kM]B/s 0:0\d  A very", line)]
        if shown and not found:
            found.append(shown[0])
            site.release()

    title = "A%20very%20" + "long%20" * 20 + "title"
    link = site.url(
        f"/page?title={title}&src=" + "/1mb.mp4%3Frate%3D400000%26stall%3D700000%26after%3D1%26times%3D1"
    )
    status, written = await shell.on_terminal("get", link, seen=let_go, columns=columns)
    assert status == 0
    assert found, written
    assert len(found[0]) <= columns


async def test_a_server_that_has_gone_is_said_soon(services: Services, tmp_path: Path, site: Site) -> None:
    """A server that hangs closes no connection: only a ping without an answer reveals it."""
    assert max(1.5 * remote_client.HEARTBEAT, SILENT_AFTER) < 10
    async with services.lend() as service:
        process = await Shell(tmp_path).using(service).start("get", site.url("/1mb.mp4?stall=100000&times=1"))
        await line_with(process.stderr, "20%")
        service.send_signal(signal.SIGSTOP)
        line = await line_with(process.stderr, "trying again")
        service.send_signal(signal.SIGCONT)
        site.release()
        ran = await process.end()
    assert service.url in line
    assert (ran.status, [path.name for path in tmp_path.glob("*.mp4")]) == (0, ["1mb.mp4"]), ran
