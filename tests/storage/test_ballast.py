"""The ballast: disk space that is kept free for deletions on a full disk."""

import shutil
import zlib
from pathlib import Path
from types import SimpleNamespace

import pytest

from server.storage.sqlite import ballast
from server.storage.sqlite.ballast import LEAVES_FREE, SIZE, Ballast


@pytest.fixture(autouse=True)
def whole(monkeypatch: pytest.MonkeyPatch) -> None:
    """Use a ballast as large as in the service; other tests have a small one."""
    monkeypatch.setattr(ballast, "SIZE", SIZE)


def occupied(folder: Path) -> int:
    """Return how many bytes of the disk the files occupy, whatever their lengths."""
    return sum(file.stat().st_blocks * 512 for file in folder.iterdir())


def test_it_occupies_room_until_it_is_dropped_once(tmp_path: Path) -> None:
    kept = Ballast(tmp_path)
    assert kept.is_due
    kept.take_on()
    assert (kept.is_due, occupied(tmp_path) >= SIZE) == (False, True)
    assert [kept.drop(), kept.drop()] == [True, False]
    assert list(tmp_path.iterdir()) == []


def test_it_is_not_taken_on_where_room_is_scarce_and_looked_after_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = Ballast(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=SIZE + LEAVES_FREE - 1))
        kept.take_on()
    assert list(tmp_path.iterdir()) == []
    assert not kept.is_due
    monkeypatch.setattr(ballast, "RETRY_EVERY", 0)
    assert kept.is_due


def test_it_is_not_of_zeros_which_some_file_systems_do_not_store(tmp_path: Path) -> None:
    Ballast(tmp_path).take_on()
    assert len(zlib.compress((tmp_path / "ballast").read_bytes(), 1)) >= SIZE


def test_what_a_link_leads_to_is_not_written(tmp_path: Path) -> None:
    (tmp_path / "other").write_bytes(b"mine")
    (tmp_path / "ballast").symlink_to("other")
    kept = Ballast(tmp_path)
    kept.take_on()
    assert (tmp_path / "other").read_bytes() == b"mine"
    assert not kept.drop()


def test_what_an_earlier_process_has_left_is_dropped_as_well(tmp_path: Path) -> None:
    Ballast(tmp_path).take_on()
    assert not Ballast(tmp_path).drop(), "nobody counted on it"
    assert list(tmp_path.iterdir()) == []
