"""The progress of a job, as computed from the calls of yt-dlp's hooks."""

import threading
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.child.process.progress import Meter, Reporter, StreamProgress, Throttle, progress_of_streams


class Clock:
    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 1000.0
        monkeypatch.setattr("server.child.process.progress.time.monotonic", lambda: self.now)


class Heard:
    def __init__(self) -> None:
        self.events: list[dict[str, Any]] = []

    def send(self, kind: str, **fields: Any) -> None:
        self.events.append({"kind": kind, **fields})


def loading(done: int, **more: Any) -> dict[str, Any]:
    return {"status": "downloading", "downloaded_bytes": done, **more}


def finished(size: int) -> dict[str, Any]:
    return {"status": "finished", "downloaded_bytes": size, "total_bytes": size}


HOOKS = st.lists(
    st.fixed_dictionaries(
        {"status": st.sampled_from(["downloading", "finished"])},
        optional={
            "downloaded_bytes": st.integers(0, 10**12),
            "total_bytes": st.none() | st.integers(0, 10**12),
            "fragment_index": st.integers(0, 100),
            "fragment_count": st.none() | st.integers(1, 100),
            "speed": st.none() | st.floats(0, 1e12),
        },
    )
)


@pytest.mark.wide
@given(HOOKS, HOOKS, st.floats(0, 1))
def test_whatever_hooks_say_the_number_stays_between_20_and_99(
    first: list[dict[str, Any]], second: list[dict[str, Any]], convert: float
) -> None:
    meter = Meter([StreamProgress(3.0), StreamProgress(1.0)], convert)
    values = []
    for stream, hooks in zip(meter.streams, (first, second), strict=True):
        for hook in hooks:
            assert stream.update(hook) >= 0
            values.append(meter.of_download())
    assert values == sorted(values)
    assert all(20 <= value <= 99 for value in [*values, meter.of_convert(0), meter.of_convert(2)])
    assert meter.total is None or meter.total >= meter.downloaded


def test_streams_count_by_their_weight() -> None:
    meter = Meter([StreamProgress(3.0), StreamProgress(1.0)])
    meter.streams[0].update(finished(300))
    assert meter.of_download() == pytest.approx(20 + 79 * 0.75)
    meter.streams[1].update(loading(50, total_bytes=100))
    assert meter.of_download() == pytest.approx(20 + 79 * 0.875)


def test_the_total_is_that_of_all_streams_or_none() -> None:
    meter = Meter([StreamProgress(), StreamProgress()])
    meter.streams[0].update(loading(10, total_bytes=100))
    assert meter.total is None
    meter.streams[1].update(loading(5, total_bytes=50))
    assert meter.downloaded == 15
    assert meter.total == 150


def test_an_estimate_is_no_total() -> None:
    stream = StreamProgress()
    stream.update(loading(10, total_bytes_estimate=100, fragment_index=1, fragment_count=4))
    assert stream.size is None
    assert stream.share == 0.25


def test_more_than_was_promised_is_no_total_any_more() -> None:
    stream = StreamProgress(size=100)
    stream.update(loading(150, total_bytes=100))
    assert stream.size is None
    stream.update({"status": "finished", "downloaded_bytes": 200, "total_bytes": 200})
    assert stream.share == 1.0


def test_what_an_earlier_attempt_left_does_not_come_in_now() -> None:
    stream = StreamProgress()
    assert stream.update(loading(1_000_000)) == 0
    assert stream.update(loading(1_000_500)) == 500


def test_weights_come_from_sizes_else_from_bit_rates_else_are_equal() -> None:
    sizes = progress_of_streams([{"filesize": 300}, {"filesize_approx": 100}], None)
    assert [(stream.weight, stream.size) for stream in sizes] == [(300, 300), (100, None)]
    assert [stream.weight for stream in progress_of_streams([{"tbr": 8}, {}], 10)] == [10_000, 10_000]
    assert [stream.weight for stream in progress_of_streams([{}, {}], None)] == [1, 1]


def test_at_most_four_reports_a_second_are_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, heard = Clock(monkeypatch), Heard()
    reporter, meter = Reporter(heard), Meter([StreamProgress()])
    reporter.send("download_started")
    for done in range(1000):
        clock.now += 0.01
        hook = loading(done, total_bytes=1000, speed=100.0)
        meter.streams[0].update(hook)
        reporter.download(meter, hook)
    said = [event for event in heard.events if event["kind"] == "progress"]
    assert 36 <= len(said) <= 41
    assert said[-1]["total_bytes"] == 1000
    assert said[-1]["eta"] == (1000 - said[-1]["downloaded_bytes"]) // 100


def test_a_speed_is_told_in_whole_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, heard = Clock(monkeypatch), Heard()
    reporter = Reporter(heard)
    for speed in (1234567.8901, 0.2, None):
        clock.now += 1
        reporter.download(Meter([StreamProgress()]), loading(1, speed=speed))
    assert [event.get("speed") for event in heard.events] == [1234568, None, None]
    assert isinstance(heard.events[0]["speed"], int)


def test_a_speed_below_zero_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    """yt-dlp subtracts the bytes of one fragment on disk from those received of another."""
    clock, heard = Clock(monkeypatch), Heard()
    reporter, meter = Reporter(heard), Meter([StreamProgress(size=1000)])
    clock.now += 1
    meter.streams[0].update(loading(10, total_bytes=1000))
    reporter.download(meter, loading(10, speed=-5.0))
    [said] = heard.events
    assert "speed" not in said
    assert "eta" not in said


def test_bytes_are_told_though_nothing_more_comes_after_them() -> None:
    heard, meter = Heard(), Meter([StreamProgress()])
    reporter = Reporter(heard)
    reporter.send("download_started")
    meter.streams[0].update(loading(7))
    reporter.download(meter, loading(7))
    while len(heard.events) < 2:
        time.sleep(0.01)
    assert heard.events[1]["downloaded_bytes"] == 7


def test_the_last_bytes_are_told_at_once() -> None:
    heard, meter = Heard(), Meter([StreamProgress()])
    reporter = Reporter(heard)
    reporter.send("download_started")
    meter.streams[0].update(loading(7))
    reporter.download(meter, loading(7))
    reporter.send_pending()
    assert [event.get("downloaded_bytes") for event in heard.events] == [None, 7]


def test_the_change_to_converting_is_sent_at_once_and_for_good(monkeypatch: pytest.MonkeyPatch) -> None:
    Clock(monkeypatch)
    heard = Heard()
    reporter, meter = Reporter(heard), Meter([StreamProgress()])
    reporter.send("download_started")
    reporter.convert(95.0)
    reporter.convert(96.0)
    reporter.download(meter, loading(1))
    assert heard.events[1:] == [{"kind": "progress", "progress": 95.0, "stage": "convert"}]


def test_a_lower_number_is_not_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, heard = Clock(monkeypatch), Heard()
    reporter = Reporter(heard)
    for value in (90.0, 50.0, 100.0):
        clock.now += 1
        reporter.convert(value)
    assert [event["progress"] for event in heard.events] == [90.0, 90.0, 99.0]


def test_alive_is_said_only_after_two_silent_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, heard = Clock(monkeypatch), Heard()
    reporter = Reporter(heard)
    for _ in range(10):
        clock.now += 0.5
        reporter.report_alive()
    assert [event["kind"] for event in heard.events] == ["alive", "alive"]


def test_a_throttle_lets_go_at_once_when_its_limit_is_lifted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("server.child.process.progress._LONGEST_NAP", 60.0)
    throttle, asleep = Throttle(1), threading.Event()
    really_wait = throttle._changed.wait

    def wait(seconds: float) -> bool:
        asleep.set()
        return really_wait(seconds)

    monkeypatch.setattr(throttle._changed, "wait", wait)
    waiting = threading.Thread(target=throttle.pace, args=(1_000_000,))
    waiting.start()
    assert asleep.wait(20)
    throttle.set_rate(None)
    waiting.join(20)
    assert not waiting.is_alive()


def test_a_throttle_pays_a_debt_at_the_rate_of_the_moment(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, naps = Clock(monkeypatch), []
    throttle = Throttle(100, lambda: naps.append(clock.now))

    def wait(seconds: float) -> None:
        clock.now += seconds
        if len(naps) == 1:
            throttle._rate = 10_000

    monkeypatch.setattr(throttle._changed, "wait", wait)
    throttle.pace(1000)
    # The debt is paid for two seconds at a rate of 100, the rest at 10,000.
    assert 2.0 <= clock.now - 1000.0 <= 2.2
    assert throttle.block_size(1 << 20) == 2500
