"""A download begins only if the disk has room for it, and the same room is promised to one download only."""

import asyncio
from pathlib import Path

import pytest

from server.tasks.disk_space import Disk, Reserve
from tests.jobs import Jobs
from tests.site import Site

MIB = 1 << 20


class Free(Disk):
    """A disk whose free space a test sets."""

    bytes = 0

    def free(self) -> int:
        return self.bytes


@pytest.fixture
def disk(tmp_path: Path) -> Free:
    return Free(tmp_path, floor=10 * MIB)


async def test_those_who_begin_at_once_do_not_count_the_same_bytes(disk: Free, tmp_path: Path) -> None:
    reserve, disk.bytes = Reserve(disk), 30 * MIB
    asking = (reserve.take(str(each), tmp_path / str(each), 8 * MIB) for each in range(5))
    assert await asyncio.gather(*asking) == [True, True, False, False, False]
    assert reserve.is_short()
    reserve.give_back("0")
    assert not await reserve.take("5", tmp_path / "5", 13 * MIB)
    assert await reserve.take("2", tmp_path / "2", 8 * MIB)


async def test_what_is_on_the_disk_already_is_not_counted_twice(disk: Free, tmp_path: Path) -> None:
    reserve, disk.bytes = Reserve(disk), 20 * MIB
    one, other = tmp_path / "one", tmp_path / "other"
    one.mkdir()
    assert await reserve.take("one", one, 8 * MIB)
    (one / "a.part").write_bytes(bytes(6 * MIB))
    disk.bytes -= 6 * MIB
    assert await reserve.take("other", other, 2 * MIB)
    assert not await reserve.take("third", tmp_path / "third", 1)


async def test_one_that_asks_again_is_not_in_its_own_way(disk: Free, tmp_path: Path) -> None:
    reserve, disk.bytes = Reserve(disk), 20 * MIB
    assert await reserve.take("a", tmp_path / "a", 8 * MIB)
    assert await reserve.take("a", tmp_path / "a", 9 * MIB)


async def test_nobody_is_helped_who_waits_no_more(
    disk: Free, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reserve = Reserve(disk)
    assert not await reserve.take("a", tmp_path / "a", MIB)
    assert reserve.is_short()
    disk.bytes = 11 * MIB
    assert not reserve.is_short()
    disk.bytes = 0
    monkeypatch.setattr("server.tasks.disk_space.SHORT_FOR", 0)
    assert not reserve.is_short()


async def test_for_what_could_never_fit_nothing_is_given_up(disk: Free, tmp_path: Path) -> None:
    reserve = Reserve(disk)
    assert not await reserve.take("a", tmp_path / "a", disk.size())
    assert not reserve.is_short()


async def test_what_could_be_nowhere_is_known_where_all_have_the_same_disk(disk: Free) -> None:
    most = disk.size() - disk.floor
    assert not Reserve(disk).is_in_vain(most)
    assert Reserve(disk).is_in_vain(most + 1)
    assert not Reserve(disk, elsewhere=True).is_in_vain(most + 1)


async def test_a_child_says_what_it_needs_as_soon_as_its_source_does(
    jobs: Jobs, site: Site, tmp_path: Path
) -> None:
    outcome = await jobs.download(tmp_path / "t", site.url("/1mb.mp4"), outputs=["video"])
    said = [event["needs"] for event in outcome.events if event["kind"] == "needs"]
    assert said == [outcome.last["files"]["video"]["size"]]
