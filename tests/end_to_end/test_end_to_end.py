"""A link becomes files, as a user sees it: with the real server, fork server, yt-dlp and ffmpeg."""

import asyncio
import json
import re
import zipfile
from collections.abc import Awaitable, Callable
from pathlib import Path
from uuid import UUID

import pytest

from server.core.process_request import Output
from tests.bundled import SYSTEMS
from tests.service import Payload, Service, Services
from tests.site import SECONDS, Site, probe, sha256

ISO_8601 = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ"
NAME = r"/api/download/{kind}_example_[a-z2-7]{{13}}\.{ext}"


async def test_a_link_goes_in_and_video_and_audio_come_out_of_one_download(
    service: Service, site: Site, tmp_path: Path
) -> None:
    accepted = await service.submit(site.url("/page?title=Example+示例视频&duration=4&uploader=上传者"))
    assert accepted["status"] == "processing"
    assert accepted["progress"] == 0
    assert accepted["message"] == "等待处理..."
    assert accepted["video_info"] == accepted["files"] == {}
    assert UUID(accepted["task_id"]).version == 4

    done = await service.wait(accepted["task_id"])
    assert (done["status"], done["progress"], done["message"]) == ("completed", 100, "处理完成！")
    assert re.fullmatch(ISO_8601, done["created_at"])
    assert re.fullmatch(ISO_8601, done["completed_at"])
    said = {"title": "Example 示例视频", "duration": 4, "uploader": "上传者"}
    assert said.items() <= done["video_info"].items()
    assert re.fullmatch(NAME.format(kind="video", ext="mp4"), done["files"]["video"])
    assert re.fullmatch(NAME.format(kind="audio", ext="mp3"), done["files"]["audio"])
    video = await probe(await service.fetch(done["files"]["video"], tmp_path / "video.mp4"))
    audio = await probe(await service.fetch(done["files"]["audio"], tmp_path / "audio.mp3"))
    assert (video.codecs, audio.codecs) == (["aac", "h264"], ["mp3"])
    assert video.duration == pytest.approx(SECONDS, abs=0.2)
    assert audio.duration == pytest.approx(SECONDS, abs=0.2)
    said = {kind: file["sha256"] for kind, file in done["file_info"].items()}
    assert said == {"video": sha256(tmp_path / "video.mp4"), "audio": sha256(tmp_path / "audio.mp3")}
    together = await service.fetch(f"/api/download.zip?ids={done['task_id']}", tmp_path / "all.zip")
    with zipfile.ZipFile(together) as archive:
        assert archive.testzip() is None
        assert not any(info.flag_bits & 0x08 for info in archive.infolist()), "their sums were known before"
    assert len(site.seen("/video.mp4")) == 2, "a look at what it is, then one download for both"
    assert service.complaints() == []


async def test_every_output_comes_to_be_and_has_a_type(service: Service, site: Site) -> None:
    link = site.url("/page?kind=video&thumbnail=/thumbnail.jpg&track=/texts/words.vtt")
    done = await service.wait((await service.submit(link, outputs=list(Output)))["task_id"])
    made = {kind.replace("subtitle.en", "subtitles") for kind in done["files"]}
    assert made == set(Output), "server/child/film_download.py, server/child/media/outputs.py"
    types = {kind: file["type"] for kind, file in done["file_info"].items()}
    assert "application/octet-stream" not in types.values(), types


async def test_pollers_and_sockets_see_the_same_bytes_and_never_a_step_back(
    service: Service, site: Site
) -> None:
    task_id = (await service.submit(site.url("/1mb.mp4?rate=1000000"), auto_start=False))["task_id"]
    listening = service.listen(task_id, resumes=True)
    polled, pushed = await asyncio.gather(poll(service, task_id), listening)
    by_revision = {revision(message): message for message in pushed}
    assert len(by_revision) == len(pushed)
    shared = [message for message in polled if revision(message) in by_revision]
    assert shared
    assert all(message == by_revision[revision(message)] for message in shared)
    for seen in ([json.loads(message) for message in messages] for messages in (polled, pushed)):
        assert seen[-1]["status"] == "completed"
        assert in_order(seen, "revision")
        assert in_order(seen, "progress")
    payloads = [json.loads(message) for message in pushed]
    assert {"正在下载视频...", "处理完成！"} <= {payload["message"] for payload in payloads}
    assert all(payload["progress"] < 100 for payload in payloads[:-1])


async def test_a_link_that_leads_nowhere_ends_in_the_words_of_the_document(
    service: Service, site: Site
) -> None:
    task_id = (await service.submit(site.url("/video.mp4?status=404")))["task_id"]
    failed = await service.wait(task_id, "failed")
    assert failed["status"] == "error"
    assert failed["progress"] == 0
    assert failed["message"] == "处理失败: 无法下载视频"
    assert failed["error"] == "下载失败: HTTP 404"
    assert failed["error_code"] == "http_404"
    assert re.fullmatch(ISO_8601, failed["completed_at"])
    assert failed["video_info"] == failed["files"] == {}
    assert service.complaints() == []


@pytest.mark.parametrize(
    "settings",
    [
        pytest.param({}, id="ffmpeg"),
        pytest.param({"IMAGEIO_FFMPEG_EXE": SYSTEMS or ""}, id="system's ffmpeg", marks=pytest.mark.long),
    ],
)
@pytest.mark.parametrize(
    "path",
    [
        "/video.mp4?chunked=yes",
        "/video.mp4?ranges=no",
        "/hls/ts/index.m3u8",
        "/hls/fmp4/index.m3u8",
        "/hls/aes/index.m3u8",
        "/dash/manifest.mpd",
    ],
)
async def test_every_kind_of_source_becomes_one_whole_mp4(
    services: Services, site: Site, tmp_path: Path, settings: dict[str, str], path: str
) -> None:
    async with services.lend(**settings) as service:
        task = await service.submit(site.url(path), outputs=["video"])
        done = await service.wait(task["task_id"])
        assert list(done["files"]) == ["video"]
        video = await probe(await service.fetch(done["files"]["video"], tmp_path / "video.mp4"))
    assert video.codecs == ["aac", "h264"]
    assert video.duration == pytest.approx(SECONDS, abs=0.2)


async def test_a_file_that_fits_already_is_handed_out_to_the_byte(
    service: Service, site: Site, media: Path, tmp_path: Path
) -> None:
    task = await service.submit(site.url("/1mb.mp4"), outputs=["video"])
    done = await service.wait(task["task_id"])
    fetched = await service.fetch(done["files"]["video"], tmp_path / "video.mp4")
    assert sha256(fetched) == sha256(media / "1mb.mp4")


@pytest.mark.parametrize("end", [Service.stop, pytest.param(Service.kill, marks=pytest.mark.long)])
async def test_a_service_that_ends_in_the_middle_keeps_what_is_finished_and_goes_on_from_there(
    service: Service, site: Site, media: Path, tmp_path: Path, end: Callable[[Service], Awaitable[object]]
) -> None:
    finished = await service.submit(site.url("/video.mp4"), outputs=["video"])
    before = await service.wait(finished["task_id"])
    task = await service.submit(site.url("/8mb.mp4?stall=5000000&after=1&times=1"), outputs=["video"])
    await site.stalled()
    await service.wait(task["task_id"], "download")
    await end(service)
    await service.start()
    assert await service.status(finished["task_id"]) == before
    async with service.client.get(before["files"]["video"]) as answer:
        assert (answer.status, len(await answer.read())) == (200, before["file_info"]["video"]["size"])
    done = await service.wait(task["task_id"])
    fetched = await service.fetch(done["files"]["video"], tmp_path / "video.mp4")
    assert sha256(fetched) == sha256(media / "8mb.mp4")
    assert done["attempt"] == 2
    assert any(request.range for request in site.seen("/8mb.mp4")), "it began from the start again"


async def poll(service: Service, task_id: str) -> list[str]:
    """Return every answer that differs from the one before, until the task is final, by long polling."""
    answers: list[str] = []
    tag = ""
    async with asyncio.timeout(30):
        while not answers or json.loads(answers[-1])["status"] == "processing":
            headers = {"If-None-Match": tag} if tag else {}
            async with service.client.get(f"/api/status/{task_id}?wait=10", headers=headers) as answer:
                assert answer.status == 200
                tag = answer.headers["ETag"]
                answers.append(await answer.text())
    return answers


def revision(message: str) -> int:
    return int(json.loads(message)["revision"])


def in_order(payloads: list[Payload], field: str) -> bool:
    values = [payload[field] for payload in payloads]
    return values == sorted(values)
