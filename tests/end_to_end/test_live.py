"""Live streams in the whole service: they are refused unless asked for, recorded, finished, interrupted."""

import asyncio
import contextlib
import json
from pathlib import Path

import psutil  # type: ignore[import-untyped]
import pytest

from tests.service import Payload, Service, Told, gone
from tests.site import Site, probe
from tests.tools import FFMPEG

BROADCAST = "/hls/broadcast/index.m3u8"
ENDLESS = "/hls/live/index.m3u8"
BOTH = ["audio", "video"]


async def recording(service: Service, url: str, at_least: int = 1, **body: object) -> str:
    """Start a recording; return the id of its task once at least so many bytes are recorded."""
    task_id: str = (await service.submit(url, live="record", **body))["task_id"]
    payload = await service.wait(task_id, "download")
    while payload.get("downloaded_bytes", 0) < at_least:
        assert payload["stage"] == "download", payload
        await asyncio.sleep(0.02)
        payload = await service.status(task_id)
    return task_id


async def act(service: Service, task_id: str, action: str, expected: int = 200) -> Payload:
    async with service.client.post(f"/api/tasks/{task_id}/{action}") as answer:
        assert answer.status == expected, await answer.text()
        payload: Payload = await answer.json()
        return payload


def segments(site: Site) -> int:
    """Return how many different segments of one second were requested."""
    return len({request.path for request in site.requests if request.path.startswith("/hls/long/")})


def ffmpegs(service: Service) -> list[psutil.Process]:
    with contextlib.suppress(psutil.NoSuchProcess):
        return [process for process in service.processes() if FFMPEG in process.cmdline()]
    return ffmpegs(service)  # an ffmpeg has ended meanwhile: look again


async def seconds(service: Service, task: Payload, kind: str, folder: Path) -> float:
    """Return the length of a finished file in seconds; fail if the file has other codecs than expected."""
    film = await probe(await service.fetch(task["files"][kind], folder / kind))
    assert film.codecs == {"video": ["aac", "h264"], "audio": ["mp3"]}[kind]
    return film.duration


async def test_a_live_stream_is_refused_unless_it_is_asked_for(service: Service, site: Site) -> None:
    task = await service.submit(site.url(ENDLESS))
    failed = await service.wait(task["task_id"], "failed")
    assert failed["error_code"] == "live_rejected"
    assert not site.seen("/hls/ts/0.ts")


async def test_a_broadcast_is_recorded_to_its_end_without_a_guess_at_its_length(
    service: Service, site: Site, tmp_path: Path
) -> None:
    # ffmpeg writes nothing before it has read 7 s. So the broadcast stops there until the task shows bytes.
    url = site.url(f"{BROADCAST}?end=14&held=10")
    task = await service.submit(url, live="record", auto_start=False)
    listening = asyncio.create_task(service.listen(task["task_id"], resumes=True))
    while "downloaded_bytes" not in await service.status(task["task_id"]):
        await asyncio.sleep(0.02)
    site.release()
    seen = [json.loads(message) for message in await listening]
    running = [payload for payload in seen if payload["stage"] == "download"]
    assert {payload["progress"] for payload in running} == {20}
    sizes = [payload["downloaded_bytes"] for payload in running if "downloaded_bytes" in payload]
    assert len(sizes) > 1
    assert sizes == sorted(set(sizes))
    assert not any("total_bytes" in payload or "eta" in payload for payload in running)
    assert all(payload["video_info"]["live"] for payload in running if payload["video_info"])
    done = seen[-1]
    assert done["status"] == "completed", done
    assert sorted(done["files"]) == BOTH
    length = segments(site)
    assert done["video_info"]["duration"] == length
    assert await seconds(service, done, "video", tmp_path) == pytest.approx(length, abs=0.3)
    assert await seconds(service, done, "audio", tmp_path) == pytest.approx(length, abs=0.3)
    assert service.complaints() == []


async def test_finish_ends_a_recording_and_keeps_it(service: Service, site: Site, tmp_path: Path) -> None:
    task_id = await recording(service, site.url(ENDLESS), at_least=200_000)
    running = ffmpegs(service)
    assert len(running) == 1
    done = await act(service, task_id, "finish")
    assert (done["status"], done["progress"]) == ("completed", 100)
    assert sorted(done["files"]) == BOTH
    length = await seconds(service, done, "video", tmp_path)
    assert length > 2
    assert done["video_info"]["duration"] == round(length)
    assert (await act(service, task_id, "finish", 409))["code"] == "task_already_final"
    await gone(running)


async def test_only_a_running_recording_can_be_finished(service: Service, site: Site) -> None:
    stalled = await service.submit(site.url("/8mb.mp4?stall=500000&after=1"), live="record")
    await service.wait(stalled["task_id"], "download")
    assert (await act(service, stalled["task_id"], "finish", 409))["code"] == "wrong_stage"
    paused = await service.submit(site.url(BROADCAST), live="record", auto_start=False)
    assert (await act(service, paused["task_id"], "finish", 409))["code"] == "wrong_stage"
    assert (await act(service, "nobody", "finish", 404))["code"] == "task_not_found"


async def test_a_cancelled_recording_leaves_no_process(service: Service, site: Site) -> None:
    task_id = await recording(service, site.url(ENDLESS))
    [ffmpeg] = ffmpegs(service)
    assert (await act(service, task_id, "cancel"))["stage"] == "cancelled"
    assert not ffmpeg.is_running()
    assert ffmpegs(service) == []


@pytest.mark.long
async def test_a_recording_that_is_killed_goes_on_and_loses_nothing(
    service: Service, site: Site, tmp_path: Path
) -> None:
    task_id = await recording(service, site.url(BROADCAST), at_least=250_000)
    before = (await service.status(task_id))["downloaded_bytes"]
    earlier = segments(site)
    await service.kill()
    await service.start()
    while (await service.status(task_id)).get("downloaded_bytes", 0) <= before:
        await asyncio.sleep(0.02)
    done = await act(service, task_id, "finish")
    assert (done["status"], done["attempt"]) == ("completed", 2)
    assert segments(site) > earlier
    assert done["video_info"]["filesize"] > before
    assert await seconds(service, done, "video", tmp_path) == pytest.approx(segments(site), abs=2.5)


async def test_a_paused_recording_is_resumed_in_the_same_file(
    service: Service, site: Site, tmp_path: Path
) -> None:
    task_id = await recording(service, site.url(BROADCAST), at_least=100_000)
    assert (await act(service, task_id, "pause"))["stage"] == "paused"
    await act(service, task_id, "resume")
    done = await service.wait(task_id)
    assert await seconds(service, done, "video", tmp_path) == pytest.approx(segments(site), abs=2.5)


@pytest.mark.long
async def test_a_source_that_falls_silent_looks_stalled_and_is_tried_again(
    tmp_path: Path, site: Site
) -> None:
    limits = {"CLIPWIRE_DOWNLOADS__STALL_TIMEOUT": "4", "CLIPWIRE_DOWNLOADS__RETRIES": "0"}
    async with Service(tmp_path / "service", **limits) as service:
        task_id = await recording(service, site.url(f"{BROADCAST}?quiet=5"))
        recorded = await service.wait(task_id)
        assert recorded["attempt"] == 2
        assert any("stalled for 4.0 s" in line for line in service.log)
        assert ffmpegs(service) == []


async def waited_for(service: Service, task_id: str) -> Payload:
    """Wait until a task waits for its broadcast; return its payload."""
    payload = await service.wait(task_id, "queued")
    while payload.get("waiting") != "not_live_yet":
        assert payload["status"] == "processing", payload
        await asyncio.sleep(0.02)
        payload = await service.status(task_id)
    return payload


@pytest.mark.long
@pytest.mark.parametrize("database", ["sqlite", "postgresql"])
async def test_a_broadcast_that_is_announced_is_waited_for_over_a_crash_and_recorded(
    request: pytest.FixtureRequest, tmp_path: Path, site: Site, database: str
) -> None:
    shared = request.getfixturevalue("empty_database") if database == "postgresql" else "sqlite"
    async with Told(tmp_path / "service", CLIPWIRE_STORAGE__DATABASE=shared) as service:
        task = await service.submit(site.url("/told/announced?in=5&end=7"), live="wait")
        waiting = await waited_for(service, task["task_id"])
        assert (waiting["stage"], waiting["progress"], waiting["attempt"]) == ("queued", 10, 1)
        await service.kill()
        await service.start()
        again = await waited_for(service, task["task_id"])
        assert again["not_before"] == waiting["not_before"]
        assert again["attempt"] <= 2, "it was looked at again before it was time"
        done = await service.wait(task["task_id"])
        assert done["completed_at"] >= waiting["not_before"]
        assert "waiting" not in done
        length = segments(site)
        assert await seconds(service, done, "video", tmp_path) == pytest.approx(length, abs=0.3)
        assert service.complaints() == []
