"""The service with its finished files in a bucket of a real S3 server, also when that server fails."""

import asyncio
import io
import zipfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import aiohttp
import pytest
from aiohttp import ClientPayloadError, web

from server.api import keys as keys_of
from server.assembly.file_store import usable_bucket
from server.core.errors import StorageAway
from server.core.unusable import FilesUnusable
from server.files.s3 import bucket as s3_bucket
from server.files.s3 import object_store as s3_files
from server.files.s3.bucket import Bucket
from server.files.workplace import LocalWorkplace
from server.locales import LANGUAGES
from server.settings import StorageSettings
from server.tasks import runner
from tests.cluster.proxy import Proxy, Spoiled, open_proxy
from tests.cluster.s3 import BUCKET, S3
from tests.commands.test_commands import Command, command
from tests.end_to_end.test_kills import PUBLISHED
from tests.inside import Inside, inside
from tests.moments import MORTAL, died
from tests.service import Payload, Service, Services
from tests.site import Site, sha256
from tests.storage.test_database_faults import refused

__all__ = ["command"]

WITH_PICTURE = "/page?title=Film&src=/1mb.mp4&thumbnail=/thumbnail.jpg"
LONG = pytest.mark.long
SHARED = f"shared-{uuid4()}"  # the place in the bucket of the service that tests share in turn


@pytest.fixture
async def service(services: Services, s3: S3) -> AsyncIterator[Service]:
    async with services.lend(**s3.settings(SHARED)) as service:
        yield service


@pytest.fixture
async def proxy(s3: S3) -> AsyncIterator[Proxy]:
    async with open_proxy(s3.endpoint) as proxy:
        yield proxy


@pytest.fixture
def name() -> str:
    """Return a place in the bucket that no other test has."""
    return f"b-{uuid4()}"


@pytest.fixture
async def spoiled(
    proxy: Proxy, s3: S3, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Inside]:
    """A service in this process that reaches its bucket through the proxy."""
    for variable, value in s3.keys().items():
        monkeypatch.setenv(variable, value)
    storage = StorageSettings(
        data_dir=tmp_path / "data", files=f"s3://{BUCKET}/{name}", s3_endpoint=proxy.url
    )
    async with inside(tmp_path, storage=storage) as running:
        yield running
        proxy.spoil = lambda _: None


async def keys(bucket: Bucket, task_id: str) -> set[str]:
    places = (f"files/{task_id}", "logs")
    found = {each.key for place in places async for each in bucket.keys(place)}
    return {key.replace(task_id, "<id>") for key in found if task_id in key}


def files_asked(request: web.BaseRequest) -> bool:
    return request.method == "GET" and "/files/" in request.path and "manifest" not in request.path


def is_upload(request: web.BaseRequest) -> bool:
    """Return whether a request begins the upload of a finished file: a POST begins an upload in parts."""
    return request.method in ("PUT", "POST") and "/files/" in request.path and "thumbnail" not in request.path


# --- the bucket works ---


async def test_a_link_goes_in_and_files_come_out_of_the_bucket(
    service: Service, s3: S3, site: Site, media: Path, tmp_path: Path
) -> None:
    done = await finished(service, site, "video", "audio")
    task_id, link = done["task_id"], done["files"]["video"]
    assert sha256(await service.fetch(link, tmp_path / "video.mp4")) == sha256(media / "1mb.mp4")
    content = (media / "1mb.mp4").read_bytes()
    async with service.client.get(link, headers={"Range": "bytes=500000-700000"}) as answer:
        assert (answer.status, await answer.read()) == (206, content[500_000:700_001])
    async with service.client.get(link, headers={"Range": "bytes=1000000-"}) as answer:
        assert (answer.status, answer.headers["Content-Range"]) == (416, "bytes */1000000")
    async with service.client.get(link, headers={"If-None-Match": f'"{link.rpartition("/")[2]}"'}) as answer:
        assert answer.status == 304
    async with service.client.get(done["thumbnail"]) as answer:
        assert (answer.status, (await answer.read())[:3]) == (200, b"\xff\xd8\xff")
    async with service.client.get(f"/api/tasks/{task_id}/log") as answer:
        assert b"1mb.mp4" in await answer.read()
    # The child logs its last lines, and its work folder is removed, after the status was saved.
    while list((service.data / "work").iterdir()):
        await asyncio.sleep(0.02)
    while "logs/<id>" not in (there := await keys(s3.bucket(SHARED), task_id)):
        await asyncio.sleep(0.02)
    assert {key for key in there if "thumbnail" not in key} == {
        "files/<id>/1/video.mp4", "files/<id>/1/audio.mp3", "files/<id>/1/manifest.json", "logs/<id>",
    }  # fmt: skip
    async with service.client.get("/readyz?lang=en") as answer:
        assert (await answer.json())["checks"]["files"]["ok"]


@pytest.mark.wide
async def test_files_of_the_bucket_come_in_one_archive(spoiled: Inside, site: Site, media: Path) -> None:
    film = (media / "1mb.mp4").read_bytes()
    ids = ",".join([(await completed(spoiled, site))["task_id"] for _ in range(2)])
    async with spoiled.client.get(f"/api/download.zip?ids={ids}") as answer:
        whole = await answer.read()
        assert (answer.status, answer.content_length) == (200, len(whole))
    with zipfile.ZipFile(io.BytesIO(whole)) as archive:
        assert archive.testzip() is None
        assert [archive.read(name) for name in archive.namelist()] == [film, film]


async def test_nothing_of_a_deleted_task_stays_in_the_bucket(service: Service, s3: S3, site: Site) -> None:
    done = await finished(service, site)
    async with service.client.delete(f"/api/tasks/{done['task_id']}") as answer:
        assert answer.status == 204
    assert await keys(s3.bucket(SHARED), done["task_id"]) == set()
    async with service.client.get(done["files"]["video"]) as answer:
        assert answer.status == 404


@pytest.mark.wide
async def test_the_old_files_stay_until_a_retry_has_newer_ones(service: Service, s3: S3, site: Site) -> None:
    url = site.url("/1mb.mp4?stall=500000&after=3&times=1")
    done = await service.wait((await service.submit(url, outputs=["video"]))["task_id"])
    task_id, old = done["task_id"], done["files"]["video"]
    async with service.client.post(f"/api/tasks/{task_id}/retry") as answer:
        assert answer.status == 200
    await site.stalled()
    async with service.client.head(old) as answer:
        assert answer.status == 200
    site.release()
    again = await service.wait(task_id)
    assert again["files"]["video"] != old
    async with service.client.head(old) as answer:
        assert answer.status == 404
    while any("/1/" in key for key in await keys(s3.bucket(SHARED), task_id)):
        await asyncio.sleep(0.05)
    async with service.client.head(again["files"]["video"]) as answer:
        assert answer.status == 200


@pytest.mark.wide
async def test_a_log_is_shared_while_the_task_runs(service: Service, s3: S3, site: Site) -> None:
    task = await service.submit(site.url("/1mb.mp4?stall=500000&times=1&after=1"), outputs=["video"])
    await site.stalled()
    while f"logs/{task['task_id']}" not in [each.key async for each in s3.bucket(SHARED).keys("logs")]:
        await asyncio.sleep(0.1)
    site.release()
    await service.wait(task["task_id"])


async def test_whole_files_come_from_the_bucket_itself_if_that_is_wanted(
    services: Services, s3: S3, name: str, site: Site, media: Path
) -> None:
    settings = s3.settings(name) | {"CLIPWIRE_STORAGE__REDIRECT_DOWNLOADS": "true"}
    async with services.lend(**settings) as service:
        done = await finished(service, site)
        link = done["files"]["video"]
        async with service.client.get(link, allow_redirects=False) as answer:
            assert (answer.status, answer.headers["Cache-Control"]) == (307, "no-store")
            there = answer.headers["Location"]
        assert there.startswith(s3.endpoint)
        async with aiohttp.ClientSession() as anybody, anybody.get(there) as answer:
            assert answer.status == 200
            assert answer.headers["Content-Type"] == "video/mp4"
            assert answer.headers["Content-Disposition"].startswith("attachment; filename=")
            assert await answer.read() == (media / "1mb.mp4").read_bytes()
        for method, query, headers, status in (
            ("HEAD", "", {}, 200),
            ("GET", "", {"Range": "bytes=0-9"}, 206),
            ("GET", "?inline=1", {}, 200),
            ("GET", "", {"If-None-Match": "*"}, 304),
        ):
            async with service.client.request(
                method, link + query, headers=headers, allow_redirects=False
            ) as answer:
                assert answer.status == status


# --- uploads that fail ---


@pytest.mark.long
async def test_a_server_that_is_killed_in_the_middle_of_an_upload_completes_the_task_at_the_next_start(
    s3: S3, proxy: Proxy, name: str, site: Site, media: Path, tmp_path: Path
) -> None:
    proxy.spoil = lambda request: Spoiled(silent=True) if is_upload(request) else None
    async with Service(tmp_path / "service", **s3.settings(name, proxy.url)) as service:
        task = await service.submit(site.url("/1mb.mp4"), outputs=["video"])
        await proxy.spoils()
        await service.kill()
        proxy.spoil = lambda _: None
        await service.start()
        done = await service.wait(task["task_id"])
        assert done["attempt"] == 2
        fetched = await service.fetch(done["files"]["video"], tmp_path / "video.mp4")
        assert sha256(fetched) == sha256(media / "1mb.mp4")
        found = await keys(s3.bucket(name), task["task_id"])
        assert not any("/1/" in key for key in found)


@pytest.mark.long
async def test_a_server_that_dies_between_manifest_and_status_finds_the_manifest_at_the_next_start(
    services: Services, s3: S3, name: str, site: Site
) -> None:
    async with services.lend(**MORTAL, **s3.settings(name)) as mortal:
        await PUBLISHED.comes(mortal)
        task = await mortal.submit(site.url("/1mb.mp4"), outputs=["video"])
        await died(mortal)
        asked = len(site.requests)
        await mortal.start()
        done = await mortal.wait(task["task_id"])
        assert (done["attempt"], len(site.requests)) == (1, asked)
        async with mortal.client.get(done["files"]["video"]) as answer:
            assert len(await answer.read()) == 1_000_000


@pytest.mark.wide
async def test_an_upload_whose_parts_the_bucket_has_lost_is_made_again(
    spoiled: Inside, proxy: Proxy, site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A bucket answers 404 for an upload that it does not know any more."""
    monkeypatch.setattr(s3_files, "FIRST_PAUSE", 0.05)
    lost: list[str] = []

    def spoil(request: web.BaseRequest) -> Spoiled | None:
        if not lost and is_upload(request):
            lost.append(request.path)
            return Spoiled(status=404)
        return None

    proxy.spoil = spoil
    done = await completed(spoiled, site)
    assert (len(lost), done["attempt"]) == (1, 1)
    async with spoiled.client.get(done["files"]["video"]) as answer:
        assert len(await answer.read()) == 1_000_000


@pytest.mark.wide
async def test_a_file_that_is_gone_between_its_size_and_its_first_byte_is_404(
    spoiled: Inside, proxy: Proxy, site: Site
) -> None:
    done = await completed(spoiled, site)
    proxy.spoil = lambda request: Spoiled(status=404) if request.method == "GET" else None
    async with spoiled.client.get(done["files"]["video"]) as answer:
        assert (answer.status, (await answer.json())["code"]) == (404, "file_not_found")


@pytest.mark.wide
@pytest.mark.parametrize("status", [500, pytest.param(503, marks=LONG), pytest.param(507, marks=LONG)])
async def test_an_upload_that_fails_is_tried_again_within_the_attempt(
    spoiled: Inside, proxy: Proxy, site: Site, status: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(s3_files, "FIRST_PAUSE", 0.05)
    left = 4

    def spoil(request: web.BaseRequest) -> Spoiled | None:
        nonlocal left
        left -= is_upload(request)
        return Spoiled(status=status) if left > 0 and is_upload(request) else None

    proxy.spoil = spoil
    done = await completed(spoiled, site)
    assert left <= 0
    assert done["attempt"] == 1
    async with spoiled.client.get(done["files"]["video"]) as answer:
        assert len(await answer.read()) == 1_000_000


@pytest.mark.wide
async def test_an_upload_that_the_bucket_has_lost_though_it_succeeded_is_made_again(
    spoiled: Inside, proxy: Proxy, site: Site, s3: S3, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The object is deleted before the service asks the bucket for its size."""
    monkeypatch.setattr(s3_files, "FIRST_PAUSE", 0.05)
    bucket, lost = s3.bucket(name), list[str]()
    size_of = Bucket.size

    async def size(self: Bucket, key: str) -> int:
        if not lost:
            lost.append(key)
            await bucket.delete([key])
        return await size_of(self, key)

    monkeypatch.setattr(Bucket, "size", size)
    done = await completed(spoiled, site)
    assert [key.rpartition("/")[2] for key in lost] == ["video.mp4"]
    assert done["attempt"] == 1
    async with spoiled.client.get(done["files"]["video"]) as answer:
        assert len(await answer.read()) == 1_000_000


@pytest.mark.wide
async def test_a_bucket_that_stays_away_sends_the_task_back_and_costs_it_nothing(
    spoiled: Inside,
    proxy: Proxy,
    s3: S3,
    name: str,
    site: Site,
    media: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Files of earlier attempts are never mixed with those of the last one."""
    for module, constant, value in (
        (s3_files, "TRY_UPLOADS_FOR", 0.3),
        (s3_files, "FIRST_PAUSE", 0.1),
        (runner, "DISK_DELAY", 2),
    ):
        monkeypatch.setattr(module, constant, value)
    proxy.spoil = lambda request: Spoiled(status=503) if is_upload(request) else None
    task_id = await spoiled.submit(url=site.url("/1mb.mp4"), outputs=["video"], auto_start=True)
    while True:
        waits = await spoiled.status(task_id)
        if (waits["stage"], waits.get("waiting")) == ("queued", "storage_away"):
            break
        await asyncio.sleep(0.01)
    (spoiled.work(task_id) / "out" / "old.mp4").write_bytes(b"of an earlier choice")
    proxy.spoil = lambda _: None
    done = await spoiled.reached(task_id, "completed")
    assert done["attempt"] > waits["attempt"]
    async with spoiled.client.get(done["files"]["video"]) as answer:
        assert await answer.read() == (media / "1mb.mp4").read_bytes()
    kept = {key for key in await keys(s3.bucket(name), task_id) if key.startswith("files/<id>/")}
    place = f"files/<id>/{done['attempt']}"
    assert {key for key in kept if "thumbnail" not in key} == {f"{place}/video.mp4", f"{place}/manifest.json"}


@pytest.mark.wide
@pytest.mark.parametrize("how", [Spoiled(status=503), pytest.param(Spoiled(silent=True), marks=LONG)])
async def test_a_task_whose_files_cannot_be_uploaded_says_so_within_8_s_and_the_log_in_one_line(
    spoiled: Inside, proxy: Proxy, site: Site, caplog: pytest.LogCaptureFixture, how: Spoiled
) -> None:
    caplog.set_level("INFO", "server")
    proxy.spoil = lambda request: how if "logs" not in request.path else None
    ids = [
        await spoiled.submit(url=site.url("/1mb.mp4"), outputs=["video"], auto_start=True) for _ in range(3)
    ]
    await proxy.spoils()
    async with asyncio.timeout(8):
        for task_id in ids:
            while (now := await spoiled.status(task_id)).get("waiting") != "storage_away":
                await asyncio.sleep(0.05)
            assert now["status"] == "processing"
            assert now["stage"] != "queued", "what was downloaded is not given up"
            sentence = LANGUAGES["zh"].texts.stage[now["stage"]]
            assert now["message"] == f"{sentence} 成品文件的存储没有响应"
    proxy.come_back()
    for task_id in ids:
        assert (await spoiled.reached(task_id, "completed"))["attempt"] == 1
    told = [each.message for each in caplog.records if "bucket" in each.message]
    assert len(told) == 1, told
    assert told[0].startswith("the bucket is away: ")
    assert len(told[0]) < 300


async def test_the_end_of_an_outage_is_told_once_no_request_has_failed_for_a_while(
    spoiled: Inside, proxy: Proxy, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(s3_bucket, "OUTAGE_OVER_AFTER", 0.2)
    caplog.set_level("INFO", "server.files.s3")
    files: Any = spoiled.app[keys_of.FILES]
    for _ in range(2):
        proxy.spoil = lambda _: Spoiled(status=503)
        for _ in range(3):
            with pytest.raises(StorageAway):
                await files.ping()
        proxy.spoil = lambda _: None
        while "answers again" not in caplog.records[-1].message:
            await files.ping()
            await asyncio.sleep(0.01)
    assert [each.message.split(",")[0].split(":")[0] for each in caplog.records] == [
        "the bucket is away", "the bucket answers again"
    ] * 2  # fmt: skip


@pytest.mark.long
async def test_an_upload_that_breaks_off_after_all_the_patience_is_tried_again(
    spoiled: Inside, proxy: Proxy, site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The patience limits the time without a bucket, not the length of an upload."""
    monkeypatch.setattr(s3_files, "TRY_UPLOADS_FOR", 2.0)
    files: Any = spoiled.app[keys_of.FILES]
    uploads = 0
    upload = files._bucket.upload

    async def breaks_off_at_first(*arguments: Any) -> None:
        nonlocal uploads
        uploads += 1
        if uploads == 1:
            await asyncio.sleep(s3_files.TRY_UPLOADS_FOR)  # the upload takes as long as the patience
            raise StorageAway
        await upload(*arguments)

    monkeypatch.setattr(files._bucket, "upload", breaks_off_at_first)
    task_id = await spoiled.submit(url=site.url("/1mb.mp4"), outputs=["video"], auto_start=True)
    done = await spoiled.reached(task_id, "completed")
    assert (done["attempt"], uploads) == (1, 2)


async def test_a_cancel_in_the_middle_of_an_upload_acts_at_once_and_leaves_nothing(
    spoiled: Inside, proxy: Proxy, s3: S3, name: str, site: Site
) -> None:
    proxy.spoil = lambda request: Spoiled(silent=True) if is_upload(request) else None
    task_id = await spoiled.submit(url=site.url("/1mb.mp4"), outputs=["video"], auto_start=True)
    await proxy.spoils()
    async with spoiled.client.post(f"/api/tasks/{task_id}/cancel") as answer:
        assert (await answer.json())["stage"] == "cancelled"
    assert not any("video" in key for key in await keys(s3.bucket(f"{name}"), task_id))


@pytest.mark.long
async def test_a_cancel_does_not_wait_for_a_bucket_that_has_fallen_silent(
    spoiled: Inside, proxy: Proxy, site: Site
) -> None:
    proxy.spoil = lambda request: Spoiled(silent=True) if is_upload(request) else None
    task_id = await spoiled.submit(url=site.url("/1mb.mp4"), outputs=["video"], auto_start=True)
    await proxy.spoils()
    proxy.spoil = lambda _: Spoiled(silent=True)
    async with asyncio.timeout(4), spoiled.client.post(f"/api/tasks/{task_id}/cancel") as answer:
        assert (await answer.json())["stage"] == "cancelled"


# --- answers that fail ---


async def test_a_bucket_that_is_away_is_said_so(spoiled: Inside, proxy: Proxy, site: Site) -> None:
    done = await completed(spoiled, site, WITH_PICTURE)
    log = f"/api/tasks/{done['task_id']}/log"
    proxy.spoil = lambda _: Spoiled(status=503)
    while (await spoiled.client.get(log)).status == 200:  # the last lines of the log are still to be uploaded
        await asyncio.sleep(0.02)
    for path in (done["files"]["video"], done["thumbnail"], log):
        async with spoiled.client.get(path, headers={"Accept-Language": "en"}) as answer:
            assert (answer.status, (await answer.json())["code"]) == (503, "storage_away")
            assert answer.headers["Retry-After"] == "5"
    async with spoiled.client.get("/readyz?lang=en") as answer:
        assert (answer.status, (await answer.json())["checks"]["files"]["ok"]) == (503, False)


async def test_a_bucket_that_is_no_more_is_away(
    s3: S3, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every object is missing in a deleted bucket, so a 404 says nothing about a task."""
    for variable, value in s3.keys().items():
        monkeypatch.setenv(variable, value)
    bucket = s3_bucket.open_bucket("s3://no-bucket-has-this-name/place", s3.endpoint)
    files = s3_files.S3Files(LocalWorkplace(tmp_path), bucket, lambda *_: "", redirect=False)
    with pytest.raises(StorageAway):
        await files.ping()
    with pytest.raises(StorageAway):
        await files.find_published("123e4567-e89b-42d3-a456-426614174000", 1)


@pytest.mark.parametrize("method", ["GET", pytest.param("HEAD", marks=LONG)])
@pytest.mark.long
async def test_a_silent_bucket_is_given_up_within_ten_seconds(
    spoiled: Inside, proxy: Proxy, site: Site, method: str
) -> None:
    """The bucket may also answer the first request, for the file's properties, and then no other."""
    done = await completed(spoiled, site)
    proxy.spoil = lambda request: Spoiled(silent=True) if request.method == method else None
    async with spoiled.client.get(done["files"]["video"]) as answer:
        assert answer.status == 503


@pytest.mark.wide
@pytest.mark.parametrize("after", [1000, 300_000])
async def test_an_answer_that_breaks_off_for_good_is_cut_and_never_ended(
    spoiled: Inside, proxy: Proxy, site: Site, media: Path, after: int
) -> None:
    """The service fetches the first piece before it sends its headers, and the second one after them."""
    done = await completed(spoiled, site)
    proxy.spoil = lambda request: Spoiled(cut=1000) if is_later(request, after) else None
    received = bytearray()
    async with spoiled.client.get(done["files"]["video"]) as answer:
        if after == 1000:
            assert answer.status == 503
            return
        with pytest.raises(ClientPayloadError):
            await read_into(received, answer)
    assert (media / "1mb.mp4").read_bytes().startswith(bytes(received))
    assert len(received) < 1_000_000


@pytest.mark.wide
async def test_an_archive_that_breaks_off_for_good_is_cut_and_never_ended(
    spoiled: Inside, proxy: Proxy, site: Site
) -> None:
    link = f"/api/download.zip?ids={(await completed(spoiled, site))['task_id']}"
    proxy.spoil = lambda request: Spoiled(cut=1000) if is_later(request, 300_000) else None
    received = bytearray()
    async with spoiled.client.get(link) as answer:
        assert answer.status == 200
        with pytest.raises(ClientPayloadError):
            await read_into(received, answer)
    assert len(received) < 1_000_000
    proxy.spoil = lambda request: Spoiled(cut=0) if files_asked(request) else None
    async with spoiled.client.get(link) as answer:
        assert answer.status == 503, "nothing of it was sent, and it is passing"


def is_later(request: web.BaseRequest, position: int) -> bool:
    """Return whether the request asks for bytes behind `position`."""
    asked = request.headers.get("Range", "")
    return files_asked(request) and int(asked.rpartition("-")[2] or 0) > position


@pytest.mark.wide
async def test_a_piece_that_breaks_off_once_is_fetched_again(
    spoiled: Inside, proxy: Proxy, site: Site, media: Path
) -> None:
    done = await completed(spoiled, site)
    broken: list[str] = []

    def spoil(request: web.BaseRequest) -> Spoiled | None:
        if files_asked(request) and not broken:
            broken.append(request.path)
            return Spoiled(cut=1000)
        return None

    proxy.spoil = spoil
    async with spoiled.client.get(done["files"]["video"]) as answer:
        assert await answer.read() == (media / "1mb.mp4").read_bytes()
    assert broken


@pytest.mark.long
async def test_a_slow_bucket_is_waited_for(spoiled: Inside, proxy: Proxy, site: Site, media: Path) -> None:
    done = await completed(spoiled, site)
    proxy.spoil = lambda request: Spoiled(rate=300_000) if files_asked(request) else None
    async with spoiled.client.get(done["files"]["video"]) as answer:
        assert await answer.read() == (media / "1mb.mp4").read_bytes()


@pytest.mark.long
async def test_a_task_that_is_deleted_while_the_bucket_is_away_is_gone_and_its_files_go_later(
    services: Services, s3: S3, proxy: Proxy, name: str, site: Site, tmp_path: Path
) -> None:
    async with Service(tmp_path / "service", **s3.settings(name, proxy.url)) as service:
        done = await finished(service, site)
        proxy.spoil = lambda _: Spoiled(status=503)
        async with service.client.delete(f"/api/tasks/{done['task_id']}") as answer:
            assert (answer.status, (await answer.json())["code"]) == (503, "storage_away")
        async with service.client.get(f"/api/status/{done['task_id']}") as answer:
            assert answer.status == 404
        proxy.spoil = lambda _: None
        await service.restart()
        while await keys(s3.bucket(name), done["task_id"]):
            await asyncio.sleep(0.05)


# --- starts ---

KEYS = {"AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "secret"}


@pytest.mark.parametrize("arguments", [[], ["check"]])
def test_a_bucket_that_cannot_be_written_stops_the_start_with_one_line(
    command: Command, tmp_path: Path, arguments: list[str]
) -> None:
    there = {
        "CLIPWIRE_STORAGE__FILES": "s3://media",
        "CLIPWIRE_STORAGE__S3_ENDPOINT": "http://127.0.0.1:1",
        "CLIPWIRE_STORAGE__DATA_DIR": str(tmp_path / "data"),
        "CLIPWIRE_SERVER__PORT": "0",
    }
    status, out, err = command(*arguments, **KEYS, **there)
    assert status == 1
    assert (out + err).count("storage.files: s3://media cannot be written") == 1
    assert "Traceback" not in out + err


async def test_a_start_waits_for_a_bucket_that_cannot_answer_now(
    proxy: Proxy,
    s3: S3,
    name: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    for variable, value in s3.keys().items():
        monkeypatch.setenv(variable, value)
    monkeypatch.setattr("server.assembly.file_store.PROBES", 1)
    storage = StorageSettings(
        data_dir=tmp_path / "data", files=f"s3://{BUCKET}/{name}", s3_endpoint=proxy.url
    )
    proxy.spoil = lambda _: Spoiled(status=503)
    with pytest.raises(FilesUnusable, match="503"):
        await usable_bucket(storage)
    opening = asyncio.create_task(usable_bucket(storage, patience=20))
    while "cannot be used yet" not in caplog.text:
        await asyncio.sleep(0.02)
    proxy.spoil = lambda _: None
    await opening


@pytest.mark.wide
async def test_a_start_with_a_bucket_that_refuses_leaves_one_line(
    proxy: Proxy, s3: S3, name: str, tmp_path: Path
) -> None:
    proxy.spoil = lambda _: Spoiled(status=403)
    line = await refused(Service(tmp_path / "service", **s3.settings(name, proxy.url)), status=1)
    assert f"storage.files: s3://{BUCKET}/{name} cannot be written and read: " in line
    assert line.endswith("403 Forbidden")


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("files", "s3:/media"),
        ("files", "s3://"),
        ("files", "gs://media"),
        ("files", "s3://media/../x?y"),
        ("s3_endpoint", "media.example"),
        ("s3_endpoint", "ftp://media.example"),
        ("s3_endpoint", "https://key:secret@media.example"),
        ("redirect_downloads", "perhaps"),
    ],
)
def test_a_wrong_setting_is_named_and_nothing_is_asked(command: Command, setting: str, value: str) -> None:
    settings = {"files": "s3://media", setting: value}
    named = {f"CLIPWIRE_STORAGE__{name.upper()}": value for name, value in settings.items()}
    status, _, err = command(**KEYS, **named)
    assert status == 2
    [line] = err.splitlines()
    assert line.startswith(f"clipwire: configuration: storage.{setting}: ")
    assert "secret" not in line.replace("AWS_SECRET_ACCESS_KEY", "")


async def test_without_a_bucket_nothing_of_it_is_loaded(services: Services) -> None:
    async with services.lend() as service:
        maps = Path(f"/proc/{service.pid}/maps").read_text()
    assert "obstore" not in maps


async def read_into(received: bytearray, answer: aiohttp.ClientResponse) -> None:
    async for chunk in answer.content.iter_any():
        received += chunk


async def finished(service: Service, site: Site, *outputs: str) -> Payload:
    task = await service.submit(site.url(WITH_PICTURE), outputs=outputs or ["video"])
    return await service.wait(task["task_id"])


async def completed(service: Inside, site: Site, path: str = "/1mb.mp4") -> Payload:
    task_id = await service.submit(url=site.url(path), outputs=["video"], auto_start=True)
    return await service.reached(task_id, "completed")
