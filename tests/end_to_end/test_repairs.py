"""Each remedy repairs a task that failed, with real sources and real files."""

import asyncio
import json
import wave
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from server.locales import LANGUAGES
from server.settings import DownloadSettings, StorageSettings
from server.tasks import remedies
from tests.inside import Inside, inside
from tests.service import Told
from tests.shelf import Shelf
from tests.site import SECONDS, Site, open_site, probe, sha256
from tests.subtitles import HELLO, SRT, cues

FINAL = ("completed", "error")
MOST = 2_000_000  # bytes that a file may have in these tests


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.long)])
async def opened(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Inside]:
    shared = request.param == "postgresql"
    database = request.getfixturevalue("clean_database") if shared else "sqlite"
    storage = StorageSettings(data_dir=tmp_path / "data", database=database)
    downloads = DownloadSettings(
        min_free_disk=0, allowed_private_hosts=("127.0.0.1",), retries=0, max_filesize=MOST
    )
    async with inside(tmp_path, downloads=downloads, storage=storage) as opened:
        yield opened


async def ended(opened: Inside, task_id: str) -> dict[str, Any]:
    while (found := await opened.status(task_id))["status"] not in FINAL:
        await asyncio.sleep(0.02)
    return found


async def failed(opened: Inside, code: str, url: str, **asked: Any) -> dict[str, Any]:
    task = await ended(
        opened, await opened.submit(url=url, auto_start=True, **{"outputs": ["video"], **asked})
    )
    assert task.get("error_code") == code, task
    return task


async def repair(opened: Inside, task: dict[str, Any], name: str, **body: Any) -> dict[str, Any]:
    """Apply a remedy to a failed task; return the payload of the answer."""
    assert name in task["remedies"]
    path = f"/api/tasks/{task['task_id']}/remedies/{name}"
    async with opened.client.post(path, json=body or None) as answer:
        assert answer.status == 200, await answer.text()
        again: dict[str, Any] = await answer.json()
    assert (again["stage"], again["progress"]) == ("queued", 0)
    assert not {"error_code", "hint", "remedies", "completed_at"} & again.keys()
    return again


async def repaired(opened: Inside, task: dict[str, Any], name: str, **body: Any) -> dict[str, Any]:
    await repair(opened, task, name, **body)
    done = await ended(opened, task["task_id"])
    assert done["stage"] == "completed", done
    assert done["attempt"] == task["attempt"] + 1
    return done


async def file(opened: Inside, done: dict[str, Any], kind: str, folder: Path) -> Path:
    async with opened.client.get(done["files"][kind]) as answer:
        (folder / kind).write_bytes(await answer.read())
    return folder / kind


async def put_cookies(opened: Inside, value: str) -> None:
    text = f"127.0.0.1\tFALSE\t/\tFALSE\t0\tsession\t{value}\n"
    async with opened.client.put(
        "/api/cookies/main", data=text, headers={"Content-Type": "text/plain"}
    ) as put:
        assert put.status == 204


@pytest.mark.wide
async def test_use_cookies(opened: Inside, site: Site, media: Path, tmp_path: Path) -> None:
    task = await failed(opened, "http_403", site.url("/1mb.mp4?login=secret"))
    await put_cookies(opened, "secret")
    done = await repaired(opened, task, "use_cookies", cookies="main")
    assert done["cookies"] == "main"
    assert sha256(await file(opened, done, "video", tmp_path)) == sha256(media / "1mb.mp4")


@pytest.mark.wide
async def test_use_cookies_that_were_renewed(opened: Inside, site: Site) -> None:
    await put_cookies(opened, "old")
    task = await failed(opened, "http_403", site.url("/1mb.mp4?login=secret"), cookies="main")
    await put_cookies(opened, "secret")
    await repaired(opened, task, "use_cookies", cookies="main")


async def test_without_cookies(opened: Inside, site: Site) -> None:
    await put_cookies(opened, "x")
    task_id = await opened.submit(url=site.url("/1mb.mp4"), outputs=["video"], cookies="main")
    async with opened.client.delete("/api/cookies/main") as answer:
        assert answer.status == 204
    async with opened.client.post(f"/api/tasks/{task_id}/resume") as answer:
        assert answer.status == 200
    task = await ended(opened, task_id)
    assert task["error_code"] == "cookies_missing"
    assert "cookies" not in await repaired(opened, task, "without_cookies")


@pytest.mark.wide
async def test_without_clip(opened: Inside, site: Site, media: Path, tmp_path: Path) -> None:
    clip = {"start": 100, "end": 101}
    task = await failed(opened, "clip_out_of_range", site.url("/page?src=/1mb.mp4&duration=4"), clip=clip)
    assert task["video_info"]["duration"] == SECONDS, "the film's, of which there is no such part"
    done = await repaired(opened, task, "without_clip")
    assert sha256(await file(opened, done, "video", tmp_path)) == sha256(media / "1mb.mp4")


@pytest.mark.wide
async def test_retry_later(opened: Inside, site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remedies, "RETRY_LATER_AFTER", 2)
    task = await failed(opened, "http_503", site.url("/1mb.mp4?status=503&times=1"))
    asked = len(site.requests)
    again = await repair(opened, task, "retry_later")
    assert again["waiting"] == "scheduled"
    assert again["not_before"]
    assert len(site.requests) == asked, "it is not time yet"
    done = await ended(opened, task["task_id"])
    assert done["stage"] == "completed"
    assert len(site.requests) > asked


@pytest.mark.wide
async def test_take_audio_of_what_is_too_large_is_offered_only_if_less_is_fetched(
    opened: Inside, shelf: Shelf, site: Site, media: Path, tmp_path: Path
) -> None:
    muxed = await failed(opened, "too_large", site.url("/8mb.mp4"))
    assert "remedies" not in muxed, "there is one quality, and the sound only with the picture"
    streams = (("video", "avc1.42c00d", site.url("/8mb.mp4")), ("audio", "mp4a.40.2", site.url("/audio.m4a")))
    sets = "".join(
        f'<AdaptationSet mimeType="{kind}/mp4"><Representation id="{kind}" bandwidth="9" codecs="{codec}">'
        f"<BaseURL>{link}</BaseURL></Representation></AdaptationSet>"
        for kind, codec, link in streams
    )
    length = 'type="static" mediaPresentationDuration="PT4S"'
    manifest = f'<MPD xmlns="urn:mpeg:dash:schema:mpd:2011" {length}><Period>{sets}</Period></MPD>'
    url = shelf.put("film.mpd", manifest.encode(), "application/dash+xml")
    apart = await failed(opened, "too_large", url)
    assert apart["remedies"] == ["take_audio"], "one quality of each"
    done = await repaired(opened, apart, "take_audio")
    assert (await probe(await file(opened, done, "audio", tmp_path))).codecs == ["mp3"]


async def test_lower_quality(opened: Inside, site: Site) -> None:
    url = site.url("/smil?best=/8mb.mp4&next=/1mb.mp4")
    task = await failed(opened, "too_large", url)
    done = await repaired(opened, task, "lower_quality")
    assert done["file_info"]["video"]["size"] < MOST


async def test_any_format(opened: Inside, site: Site) -> None:
    task = await failed(opened, "format_unavailable", site.url("/1mb.mp4"), format="betamax")
    await repaired(opened, task, "any_format")


@pytest.mark.long
async def test_accept_gaps(opened: Inside, site: Site, tmp_path: Path) -> None:
    task = await failed(opened, "http_404", site.url("/hls/ts/index.m3u8?missing=2"))
    assert task["remedies"] == ["accept_gaps"]
    done = await repaired(opened, task, "accept_gaps")
    film = await probe(await file(opened, done, "video", tmp_path))
    assert film.pictures == 75, "of 100: the film less a second"
    assert done["hint"] == LANGUAGES["zh"].hint("with_gaps")
    async with opened.client.get(f"/api/tasks/{task['task_id']}/log") as log:
        assert "fragment 3 is left out: the source does not have it" in await log.text()


@pytest.mark.wide
async def test_keep_original(opened: Inside, tmp_path: Path) -> None:
    """No encoder takes a sound of 23 channels whose positions are unknown."""
    folder = tmp_path / "odd"
    folder.mkdir()
    with wave.open(str(folder / "odd.wav"), "wb") as sound:
        sound.setparams((23, 2, 8000, 0, "NONE", "NONE"))
        sound.writeframes(bytes(46 * 8000))
    async with open_site(folder) as site:
        task = await failed(opened, "conversion_failed", site.url("/odd.wav"), outputs=["audio"])
        done = await repaired(opened, task, "keep_original")
    assert sha256(await file(opened, done, "audio", tmp_path)) == sha256(folder / "odd.wav")


@pytest.mark.wide
async def test_take_audio(opened: Inside, site: Site, tmp_path: Path) -> None:
    task = await failed(opened, "no_video", site.url("/audio.m4a"))
    done = await repaired(opened, task, "take_audio")
    assert (await probe(await file(opened, done, "audio", tmp_path))).codecs == ["mp3"]


async def test_take_video(opened: Inside, site: Site, tmp_path: Path) -> None:
    task = await failed(opened, "no_audio", site.url("/silent.mp4"), outputs=["audio"])
    done = await repaired(opened, task, "take_video")
    assert (await probe(await file(opened, done, "video", tmp_path))).codecs == ["h264"]


@pytest.mark.wide
async def test_take_list(opened: Inside, site: Site) -> None:
    task = await failed(opened, "is_playlist", site.url("/feed?entry=/1mb.mp4&entry=/silent.mp4"))
    again = await repair(opened, task, "take_list")
    assert again["entries"] == {"total": 0, "completed": 0, "failed": 0}
    done = await ended(opened, task["task_id"])
    assert (done["stage"], done["files"]) == ("completed", {})
    assert done["entries"] == {"total": 2, "completed": 2, "failed": 0}
    async with opened.client.get(f"/api/tasks?playlist_id={task['task_id']}") as answer:
        found = (await answer.json())["tasks"]
    assert [list(entry["files"]) for entry in found] == [["video"], ["video"]]


async def test_take_first(opened: Inside, site: Site, media: Path, tmp_path: Path) -> None:
    task = await failed(opened, "is_playlist", site.url("/feed?entry=/1mb.mp4&entry=/silent.mp4"))
    done = await repaired(opened, task, "take_first")
    assert "entries" not in done
    assert sha256(await file(opened, done, "video", tmp_path)) == sha256(media / "1mb.mp4")
    assert not site.seen("/silent.mp4")


async def test_record_live(opened: Inside, site: Site, tmp_path: Path) -> None:
    task = await failed(opened, "live_rejected", site.url("/hls/broadcast/index.m3u8?step=1&end=12"))
    done = await repaired(opened, task, "record_live")
    film = await probe(await file(opened, done, "video", tmp_path))
    assert 0 < film.duration <= 12.5


@pytest.mark.long
async def test_wait_for_live(tmp_path: Path, site: Site) -> None:
    async with Told(tmp_path / "service", CLIPWIRE_DOWNLOADS__RETRIES="0") as service:
        submitted = await service.submit(site.url("/told/announced?in=3&end=6"), outputs=["video"])
        task = await service.wait(submitted["task_id"], "failed")
        assert (task["error_code"], task["remedies"]) == ("not_live", ["wait_for_live"])
        path = f"/api/tasks/{task['task_id']}/remedies/wait_for_live"
        async with service.client.post(path) as answer:
            assert answer.status == 200
        done = await service.wait(task["task_id"])
        film = await probe(await service.fetch(done["files"]["video"], tmp_path / "film"))
        assert 0 < film.duration <= SECONDS + 3


@pytest.mark.long
async def test_automatic_subtitles(tmp_path: Path, shelf: Shelf) -> None:
    captions = [{"url": shelf.put("words.srt", SRT.encode()), "ext": "srt"}]
    formats = [{"format_id": "0", "url": shelf.url("film.mp4")}]
    film = {"id": "a", "title": "Film", "formats": formats, "automatic_captions": {"en-orig": captions}}
    url = shelf.put("told/it", json.dumps(film).encode(), "application/json")
    async with Told(tmp_path / "service") as service:
        submitted = await service.submit(url, outputs=["subtitles"])
        task = await service.wait(submitted["task_id"], "failed")
        assert (task["error_code"], task["remedies"]) == ("no_subtitles", ["automatic_subtitles"])
        path = f"/api/tasks/{task['task_id']}/remedies/automatic_subtitles"
        async with service.client.post(path) as answer:
            assert answer.status == 200
        done = await service.wait(task["task_id"])
        [link] = done["files"].values()
        assert cues(await service.fetch(link, tmp_path / "words.srt")) == HELLO
