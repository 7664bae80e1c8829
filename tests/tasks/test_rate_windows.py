"""`downloads.rate_windows`: which rate holds at which hour, and what happens to downloads while the rate is
0.
"""

import asyncio
import itertools
import os
import threading
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from server.child.fetch.by_ffmpeg import retry_after_holds
from server.child.process.job_failed import JobFailed
from server.child.process.log import Log
from server.child.process.progress import Throttle
from server.core.clock import Clock
from server.core.task import Stage
from server.settings import DownloadSettings
from server.tasks.rate_windows import Hours, Pacer
from tests.inside import inside
from tests.jobs import Jobs, download_job
from tests.site import Site

MIB = 1 << 20
DAY_AND_NIGHT = (("08:00", "23:00", MIB), ("23:00", "02:30", 0))


def settings(*windows: tuple[str, str, int], zone: str = "Europe/Berlin", **others: Any) -> DownloadSettings:
    listed = [{"from": begin, "to": end, "rate": rate} for begin, end, rate in windows]
    return DownloadSettings.model_validate({"rate_windows": listed, "time_zone": zone} | others)


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


@pytest.mark.parametrize(
    ("moment", "rate"),
    [
        ("2026-01-31 06:59:59", 7),  # 07:59:59 in Berlin
        ("2026-01-31 07:00:00", MIB),
        ("2026-01-31 21:59:59", MIB),
        ("2026-01-31 22:00:00", 0),
        ("2026-01-31 23:30:00", 0),  # the window goes over midnight
        ("2026-01-31 01:29:59", 0),
        ("2026-01-31 01:30:00", 7),
        ("2026-07-31 06:00:00", MIB),  # summer time
    ],
)
def test_a_window_holds_by_the_clock_of_its_zone_and_outside_the_usual_limit(moment: str, rate: int) -> None:
    assert Hours(settings(*DAY_AND_NIGHT, rate_limit=7)).rate(at(moment)) == rate


def test_without_a_usual_limit_there_is_none_outside_the_windows() -> None:
    assert Hours(settings(*DAY_AND_NIGHT)).rate(at("2026-01-31 05:00")) is None


@pytest.mark.parametrize("night", ["2026-03-29", "2026-10-25"])
def test_a_whole_day_is_one_at_every_moment_of_a_night_that_is_shorter_or_longer(night: str) -> None:
    hours = Hours(settings(("00:00", "24:00", 5), rate_limit=7))
    assert {hours.rate(at(night) + timedelta(minutes=each)) for each in range(-120, 300)} == {5}


def minutes_of(window: tuple[str, str, int], night: str) -> list[str]:
    """Return when a window begins and ends in a night, in UTC."""
    hours = Hours(settings(window, rate_limit=7))
    moments = [at(night) + timedelta(minutes=each) for each in range(-120, 300)]
    pairs = itertools.pairwise(moments)
    return [f"{after:%H:%M}" for before, after in pairs if hours.rate(before) != hours.rate(after)]


def test_where_a_beginning_is_left_out_in_spring_the_window_begins_with_the_next_minute_that_is_there() -> (
    None
):
    assert minutes_of(("02:30", "05:00", 0), "2026-03-29") == ["01:00", "03:00"]


def test_where_an_end_is_left_out_in_spring_the_window_ends_there() -> None:
    assert minutes_of(("01:00", "02:30", 0), "2026-03-29") == ["00:00", "01:00"]


def test_a_window_in_the_hour_that_is_left_out_does_not_come() -> None:
    assert minutes_of(("02:15", "02:45", 0), "2026-03-29") == []


def test_a_window_in_the_hour_that_comes_twice_comes_twice() -> None:
    assert minutes_of(("02:15", "02:45", 0), "2026-10-25") == ["00:15", "00:45", "01:15", "01:45"]


def test_a_window_over_the_hour_that_comes_twice_is_an_hour_longer() -> None:
    assert minutes_of(("01:00", "04:00", 0), "2026-10-25") == ["23:00", "03:00"]


def test_when_it_goes_on_is_known_in_the_hours_of_summer_time_too() -> None:
    assert Hours(settings(("23:00", "02:30", 0))).goes_on_at(at("2026-03-28 23:00:07")) == at(
        "2026-03-29 01:00"
    )
    assert Hours(settings(("00:00", "24:00", 0))).goes_on_at(at("2026-03-28 23:00")) is None


class Told:
    """Stands for a runner, and notes the rates that it is told."""

    def __init__(self) -> None:
        self.rates: list[Any] = []

    def limit_rate(self, rate: int | None, until: datetime | None = None) -> None:
        if (rate, until) not in self.rates[-1:]:
            self.rates.append((rate, until))


async def test_a_clock_that_jumps_is_followed_at_the_next_look() -> None:
    told, now = Told(), at("2026-01-31 12:00")
    pacer = Pacer(
        settings(("13:00", "14:00", 0), ("14:00", "15:00", 100)), told, lambda: now, lambda whole: whole // 2
    )
    for hour in ("12:30", "13:30", "05:00", "12:10", "05:00"):
        await pacer.look()
        now = at(f"2026-01-31 {hour}")
    held = (0, at("2026-01-31 13:00"))
    assert told.rates == [held, (50, None), (None, None), held]


# --- a download that is held ---


@pytest.mark.wide
@pytest.mark.parametrize("seconds", [0.1, pytest.param(5.5, marks=pytest.mark.long)])
async def test_a_download_that_is_held_stays_where_it_is_and_goes_on(
    tmp_path: Path, site: Site, monkeypatch: pytest.MonkeyPatch, seconds: float
) -> None:
    now = at("2026-01-31 12:00")
    monkeypatch.setattr(Clock, "wall", lambda _: now)
    downloads = settings(
        ("13:00", "14:00", 0),
        ("14:00", "15:00", 100 * MIB),
        zone="UTC",
        rate_limit=500_000,  # slow enough for the window to begin before the end of the download
        min_free_disk=0,
        allowed_private_hosts=("127.0.0.1",),
        stall_timeout=5,
    )
    async with inside(tmp_path, downloads=downloads) as server, asyncio.timeout(30):
        url = site.url("/8mb.mp4")
        task_id = await server.submit(url=url, outputs=["video"], auto_start=True)
        while (await server.status(task_id)).get("downloaded_bytes", 0) < 500_000:
            await asyncio.sleep(0.01)
        now = at("2026-01-31 13:59")
        while (status := await server.status(task_id)).get("waiting") != "rate_window":
            await asyncio.sleep(0.01)
        assert (status["stage"], status["not_before"]) == (Stage.DOWNLOAD, "2026-01-31T14:00:00Z")
        assert not {"speed", "eta"} & status.keys()
        await asyncio.sleep(seconds)  # the longer time exceeds the stall timeout
        held = await server.status(task_id)
        now = at("2026-01-31 14:00")
        done = await server.reached(task_id, "completed")
    assert held["downloaded_bytes"] < status["downloaded_bytes"] + 1_000_000
    assert (held["stage"], held["waiting"]) == ("download", "rate_window")
    assert (done["attempt"], "waiting" in done) == (1, False)
    assert len(site.seen("/8mb.mp4")) <= 3


async def test_a_source_that_hangs_up_on_a_held_download_is_asked_for_the_rest(
    jobs: Jobs, site: Site, tmp_path: Path
) -> None:
    """Bytes that were already sent still come, and then the end of the connection."""
    begun = jobs.begin(
        tmp_path / "t", site.url("/8mb.mp4?cut=4000000"), outputs=["video"], rate_limit=4_000_000
    )
    async with asyncio.timeout(20), begun as job:
        async for event in job.events():
            if event["kind"] == "progress":
                job.command("rate", bytes_per_second=0)
            if event["kind"] == "held":
                break
        await asyncio.sleep(0.5)
        job.command("rate", bytes_per_second=None)
        outcome = await job.run()
    assert [event["held"] for event in outcome.events if event["kind"] == "held"] == [True, False]
    assert outcome.file("video").stat().st_size == outcome.last["files"]["video"]["size"]


async def test_what_begins_while_nothing_may_come_opens_no_connection(
    jobs: Jobs, site: Site, tmp_path: Path
) -> None:
    job = replace(download_job(tmp_path / "t", site.url("/1mb.mp4"), outputs=["video"]), rate_limit=0)
    async with asyncio.timeout(20), jobs.start(tmp_path / "t", job) as running:
        events = running.events()
        async for event in events:
            if event["kind"] == "held":
                break
        assert running.outcome.kinds[-2:] == ["download_started", "held"]
        asked = len(site.requests)
        running.command("rate", bytes_per_second=None)
        outcome = await running.run()
        assert len(site.requests) == asked + 1
    assert outcome.last["kind"] == "produced"


def test_what_only_ffmpeg_can_fetch_begins_anew_if_it_was_held(tmp_path: Path) -> None:
    throttle, tries = Throttle(), []

    def fetch() -> int:
        tries.append(throttle.holds)
        if len(tries) == 1:
            throttle.set_rate(0)
            throttle.set_rate(None)
            raise JobFailed("incomplete")
        return 0

    log = Log(os.open(tmp_path / "log", os.O_RDWR | os.O_CREAT))
    assert retry_after_holds(throttle, fetch, log) == 0
    assert tries == [0, 1]

    def refuse() -> int:
        raise JobFailed("incomplete")

    with pytest.raises(JobFailed):
        retry_after_holds(throttle, refuse, log)
    log.close()


def test_a_broadcast_waits_for_nobody() -> None:
    throttle = Throttle(0)
    throttle.pace(1 << 30, stops=False)
    waiting = threading.Thread(target=throttle.pace, args=(0,), daemon=True)
    waiting.start()
    waiting.join(0.2)
    assert waiting.is_alive()
    throttle.set_rate(1)
    waiting.join(20)
    assert not waiting.is_alive()
