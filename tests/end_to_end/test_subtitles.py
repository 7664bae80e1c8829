"""Subtitles in the whole service: their links, types and names, in archives, and after kills."""

import io
import zipfile
from pathlib import Path

import pytest

from tests.cluster.s3 import S3
from tests.service import Service, Services
from tests.site import Site
from tests.subtitles import cues, streams

pytestmark = pytest.mark.long

TRACKS = "track=/texts/words.vtt&track=/texts/words.vtt:zh-CN&track=/texts/none.vtt:fr"
WISHES = {"outputs": ["video", "subtitles"], "subtitles": {"embed": True, "format": "vtt"}}


async def check_all_is_to_be_had(service: Service, site: Site, tmp_path: Path) -> None:
    link = site.url(f"/page?kind=video&title=Film&{TRACKS}")
    done = await service.wait((await service.submit(link, **WISHES))["task_id"])
    assert set(done["files"]) == set(done["file_info"]) == {"video", "subtitle.en", "subtitle.zh-CN"}
    assert done["file_info"]["subtitle.en"]["type"] == "text/vtt"
    async with service.client.get(done["files"]["subtitle.zh-CN"] + "?inline=1") as answer:
        assert answer.content_type == "text/vtt"
        assert answer.headers["Content-Disposition"].startswith("inline")
        assert "Film.zh-CN.vtt" in answer.headers["Content-Disposition"]
        assert (await answer.text()).startswith("WEBVTT")
    film = await service.fetch(done["files"]["video"], tmp_path / "film.mp4")
    assert [language for language, _ in streams(film)] == ["eng", "zho"]
    assert cues(film, 1) == [(0.0, 3.0, "Words")]
    async with service.client.get(f"/api/download.zip?ids={done['task_id']}") as answer:
        archive = zipfile.ZipFile(io.BytesIO(await answer.read()))
    assert sorted(archive.namelist()) == ["Film.en.vtt", "Film.mp4", "Film.zh-CN.vtt"]
    assert archive.testzip() is None
    async with service.client.get(f"/api/tasks/{done['task_id']}/log") as answer:
        assert "no subtitles in fr: HTTP Error 404" in await answer.text()


async def test_subtitles_are_files_like_others(service: Service, site: Site, tmp_path: Path) -> None:
    await check_all_is_to_be_had(service, site, tmp_path)
    assert service.complaints() == []


async def test_subtitles_in_a_bucket_are_files_like_others(
    services: Services, s3: S3, site: Site, tmp_path: Path
) -> None:
    async with services.lend(**s3.settings("subtitles")) as service:
        await check_all_is_to_be_had(service, site, tmp_path)


async def test_a_kill_between_the_subtitles_and_the_film_loses_nothing(
    services: Services, site: Site, tmp_path: Path
) -> None:
    async with services.lend() as service:
        link = site.url(f"/page?kind=video&src=/8mb.mp4?stall=4000000%26times=1&{TRACKS}")
        task_id = (await service.submit(link, **WISHES))["task_id"]
        await site.stalled()
        assert len(site.seen("/texts/words.vtt")) == 2
        await service.kill()
        site.release()
        await service.start()
        done = await service.wait(task_id)
    assert set(done["files"]) == {"video", "subtitle.en", "subtitle.zh-CN"}
    assert len(site.seen("/texts/words.vtt")) == 2, "what came before the kill was kept"
