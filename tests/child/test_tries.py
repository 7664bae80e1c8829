"""How often a request is repeated within an attempt, and what the child reports in the pauses."""

import time
from pathlib import Path

import pytest

from server.child.extract import failures
from server.child.extract.failures import MAX_RETRIES, Tries


class Clock:
    """A clock that advances only when somebody sleeps."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now, self.naps = 0.0, list[float]()
        monkeypatch.setattr(time, "monotonic", lambda: self.now)
        monkeypatch.setattr(time, "sleep", self._sleep)

    def _sleep(self, seconds: float) -> None:
        self.naps.append(seconds)
        self.now += seconds


def test_pauses_grow_and_say_each_second_that_they_are_no_stall(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, ticks = Clock(monkeypatch), list[float]()
    sleep, lasted = failures.pause(0.25, 10.0, lambda: ticks.append(clock.now)), []
    for n in range(10):
        before = clock.now
        assert sleep(n) == 0
        lasted.append(clock.now - before)
    assert lasted == [0.25, 0.5, 1, 2, 4, 8, 10, 10, 10, 10]
    assert max(clock.naps) <= 1
    assert len(ticks) == len(clock.naps)


@pytest.mark.parametrize("fetched", ["film.mp4", "film.mp4.part-Frag7"])
def test_a_stream_is_tried_twice_more_before_its_first_byte_and_ten_times_after_it(
    tmp_path: Path, fetched: str
) -> None:
    patience = Tries(str(tmp_path / fetched))
    (tmp_path / "film.mp4.part").touch()
    assert patience.left(TimeoutError(), MAX_RETRIES) == 2
    (tmp_path / "film.mp4.part-Frag3").write_bytes(b"a")
    assert patience.left(TimeoutError(), MAX_RETRIES) == 10


def test_a_stream_that_was_silent_for_long_before_its_first_byte_is_not_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Clock(monkeypatch)
    patience = Tries(str(tmp_path / "film.mp4"))
    time.sleep(16)
    assert patience.left(TimeoutError(), MAX_RETRIES) == 0


def test_only_faults_in_a_row_without_a_byte_more_are_counted(tmp_path: Path) -> None:
    patience = Tries(str(tmp_path / "film.mp4"))
    assert [patience.in_a_row(size) for size in (0, 0, 5, 5, 4, 6)] == [1, 2, 1, 2, 3, 1]
    assert patience.faults == 6
