"""What `clipwire get` shows on a terminal, read back as a person sees it."""

import re
from pathlib import Path

import pytest

from tests.commands.shell import Screen, Shell
from tests.service import Service
from tests.site import Site

ENTRIES = 30


@pytest.fixture
def shell(tmp_path: Path, service: Service) -> Shell:
    here = tmp_path / "here"
    here.mkdir()
    return Shell(here).using(service)


@pytest.mark.parametrize("columns", [80, 40])
async def test_of_a_list_all_that_was_saved_stays_on_the_terminal(
    shell: Shell, site: Site, columns: int
) -> None:
    """More entries than the terminal has lines."""
    link = site.url(
        "/feed?" + "&".join(f"entry=/1mb.mp4?rate={9_000_000 + number}" for number in range(ENTRIES))
    )
    status, written = await shell.on_terminal("get", link, "--playlist", seen=lambda _: None, columns=columns)
    lines = [line for line in Screen(written, columns).lines if line]
    assert (status, len(shell.files())) == (0, ENTRIES), "\n".join(lines)
    saved = [line.removeprefix("saved ") for line in lines if line.startswith("saved ")]
    assert sorted(saved) == sorted(shell.files()), "\n".join(lines)
    assert lines[0].startswith("task ")
    assert not [line for line in lines if "%" in line], "no bar is left"


@pytest.mark.parametrize("columns", [80, 40])
async def test_of_many_links_everything_stays_on_the_terminal(shell: Shell, site: Site, columns: int) -> None:
    links = [site.url(f"/1mb.mp4?rate={9_000_000 + number}") for number in range(ENTRIES)]
    status, written = await shell.on_terminal("get", *links, seen=lambda _: None, columns=columns)
    lines = [line for line in Screen(written, columns).lines if line]
    assert (status, len(shell.files())) == (0, ENTRIES), "\n".join(lines)
    saved = [line.removeprefix("saved ") for line in lines if line.startswith("saved ")]
    assert sorted(saved) == sorted(shell.files()), "\n".join(lines)


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
