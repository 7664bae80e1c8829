"""Nodes that share nothing but the database and a bucket: each has a disk of its own."""

import asyncio
import re
import socket
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import closing
from pathlib import Path

import pytest
from aiohttp.web import BaseRequest

from tests.cluster.nodes import Cluster
from tests.cluster.postgres import database
from tests.cluster.proxy import Proxy, Spoiled, open_proxy
from tests.cluster.s3 import S3
from tests.cluster.test_cluster import act
from tests.end_to_end.test_subscriptions import PLAIN, films, known, subscribe, unsubscribe_all, until
from tests.files.test_disk import MIB, patched
from tests.files.test_s3 import WITH_PICTURE, is_upload, keys
from tests.service import Payload, Service
from tests.site import Site, sha256
from tests.site.followed import Followed

PLACE = "cluster"
SLOW = "/8mb.mp4?rate=400000"
FRESH = 5  # seconds: another node shows a running task as it was at most so long ago
ANEW = "begins anew on this machine"


@pytest.fixture(scope="module")
def nodes(postgres: str, s3: S3, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with database(postgres) as url:
        cluster = Cluster(tmp_path_factory.mktemp("cluster"), url, **s3.settings(PLACE))
        yield cluster
        cluster.close()


@pytest.fixture
async def cluster(nodes: Cluster) -> AsyncIterator[Cluster]:
    async with nodes.running() as running:
        yield running


@pytest.fixture
async def smallest(nodes: Cluster) -> AsyncIterator[Cluster]:
    """A cluster of two web nodes and one worker."""
    async with nodes.running(*nodes.web, nodes.workers[0]) as running:
        yield running


async def delete(node: Service, task_id: str) -> None:
    async with node.client.delete(f"/api/tasks/{task_id}") as answer:
        assert answer.status == 204, await answer.text()


async def log_of(node: Service, task_id: str) -> str:
    async with node.client.get(f"/api/tasks/{task_id}/log") as answer:
        return await answer.text() if answer.status == 200 else ""


async def nothing_of(task_id: str, *nodes: Service, within: float = 20) -> None:
    async with asyncio.timeout(within):
        while any(node.files_of(task_id) for node in nodes):
            await asyncio.sleep(0.02)


async def downloading(
    web: Service, cluster: Cluster, url: str, stage: str = "download"
) -> tuple[str, Service]:
    """Submit a task; return its id, and the worker that runs it."""
    task_id = (await web.submit(url, outputs=["video"]))["task_id"]
    await web.wait(task_id, "download")
    return task_id, await cluster.runs_on(task_id)


@pytest.mark.long
@pytest.mark.parametrize("files", ["local", "s3://elsewhere/media"])
async def test_a_node_with_another_place_for_its_files_is_refused(
    smallest: Cluster, s3: S3, tmp_path: Path, files: str
) -> None:
    settings = {**s3.settings(PLACE), "CLIPWIRE_STORAGE__FILES": files}
    stranger = Cluster(tmp_path, smallest.url, **settings).web[0]
    refusal = rf"storage.files: {files} is not that of the other nodes \({re.escape(socket.gethostname())}\)"
    with pytest.raises(RuntimeError, match=refusal):
        await stranger.start()
    assert await stranger.ended() == 1


@pytest.mark.long
async def test_what_comes_to_the_disk_of_another_machine_cannot_be_watched_until_it_is_there(
    smallest: Cluster, site: Site, media: Path
) -> None:
    web = smallest.web[0]
    task_id, _ = await downloading(web, smallest, site.url("/1mb.mp4?rate=400000"))
    async with web.client.get(f"/api/tasks/{task_id}/stream") as answer:
        assert (answer.status, (await answer.json())["reason"]) == (409, "elsewhere")
    await web.wait(task_id)
    async with web.client.get(f"/api/tasks/{task_id}/stream") as answer:
        assert (answer.status, await answer.read()) == (200, (media / "1mb.mp4").read_bytes())


@pytest.mark.long
async def test_a_podcast_feed_is_the_same_from_every_node(smallest: Cluster, site: Site, media: Path) -> None:
    one, other = smallest.web
    original = (media / "video.mp4").read_bytes()
    site.followed["shared"] = Followed(films(2, 1))
    feed = {"name": "shared"}
    link = site.url("/followed/shared.rss")
    made = await subscribe(one, link, backlog="all", request=PLAIN, feed=feed)
    mine = made["subscription_id"]
    await until(other, mine, lambda known: known["items"] == {"fetched": 2})
    bodies = set[bytes]()
    for node in smallest.web:
        url = (await known(node, mine))["feed"]["url"]
        assert url == made["feed"]["url"].replace(one.url, node.url)
        async with node.client.get(url) as answer:
            assert answer.status == 200
            body = await answer.read()
        bodies.add(body.replace(node.url.encode(), b""))
        for enclosure in re.findall(rb'<enclosure url="([^"]+)" length="(\d+)"', body):
            file, length = (part.decode() for part in enclosure)
            async with node.client.head(file) as answer:
                assert (answer.status, answer.headers["Content-Length"]) == (200, length)
            async with node.client.get(file, headers={"Range": "bytes=1000-1999"}) as answer:
                assert (answer.status, await answer.read()) == (206, original[1000:2000])
        cover = re.findall(rb'itunes:image href="([^"]+)"', body)[0].decode()
        async with node.client.get(cover) as answer:
            assert (answer.status, answer.content_type) == (200, "image/jpeg")
    assert len(bodies) == 1
    async with other.client.post("/api/feeds/renew") as answer:
        assert answer.status == 200
    async with one.client.get(made["feed"]["url"]) as answer:
        assert answer.status == 404
    await unsubscribe_all(one)


@pytest.mark.long
async def test_a_file_comes_out_of_every_node_with_the_headers_and_ranges_of_one(
    smallest: Cluster, site: Site, media: Path, tmp_path: Path
) -> None:
    one, other = smallest.web
    done = await other.wait((await one.submit(site.url("/1mb.mp4"), outputs=["video"]))["task_id"])
    link, original = done["files"]["video"], (media / "1mb.mp4").read_bytes()
    tags = set()
    for number, node in enumerate(smallest.web):
        assert (await node.fetch(link, tmp_path / str(number))).read_bytes() == original
        async with node.client.head(link) as answer:
            assert (answer.status, answer.headers["Content-Length"]) == (200, str(len(original)))
            tags.add(answer.headers["ETag"])
        async with node.client.get(link, headers={"Range": "bytes=1000-1999"}) as answer:
            assert (answer.status, await answer.read()) == (206, original[1000:2000])
        async with node.client.get(link, headers={"Range": f"bytes={len(original)}-"}) as answer:
            assert answer.status == 416
        async with node.client.get(link + "?inline=1") as answer:
            assert (answer.status, answer.content_type) == (200, "video/mp4")
            assert answer.headers["Content-Disposition"].startswith("inline")
    assert len(tags) == 1


@pytest.mark.long
async def test_log_and_thumbnail_of_what_runs_are_seen_on_every_node_within_seconds(
    cluster: Cluster, site: Site
) -> None:
    one, other = cluster.web
    url = site.url(WITH_PICTURE).replace("/1mb.mp4", "/8mb.mp4%3Frate%3D300000")
    task_id = (await one.submit(url, outputs=["video"]))["task_id"]
    await other.wait(task_id, "download")
    began = time.monotonic()
    async with asyncio.timeout(FRESH):
        while "thumbnail" not in (shown := await other.status(task_id)) or not await log_of(other, task_id):
            await asyncio.sleep(0.05)
    async with other.client.get(shown["thumbnail"]) as answer:
        assert (answer.status, answer.content_type) == (200, "image/jpeg")
    assert time.monotonic() - began < FRESH
    assert (await other.status(task_id))["stage"] == "download"


@pytest.mark.long
async def test_a_retry_keeps_the_old_files_until_another_node_has_newer_ones(
    cluster: Cluster, s3: S3, site: Site
) -> None:
    one, other = cluster.web
    url = site.url("/1mb.mp4?stall=500000&after=3&times=1")
    done = await one.wait((await one.submit(url, outputs=["video"]))["task_id"])
    task_id, old = done["task_id"], done["files"]["video"]
    await act(other, task_id, "retry")
    async with asyncio.timeout(20):
        await site.stalled()
    async with one.client.head(old) as answer:
        assert answer.status == 200
    site.release()
    again = await one.wait(task_id)
    for node in cluster.web:
        async with node.client.head(old) as answer, node.client.head(again["files"]["video"]) as newer:
            assert (answer.status, newer.status) == (404, 200)
    async with asyncio.timeout(20):
        while any("/1/" in key for key in await keys(s3.bucket(PLACE), task_id)):
            await asyncio.sleep(0.05)


@pytest.mark.long
async def test_a_deletion_takes_its_keys_and_what_every_worker_has_of_it(
    cluster: Cluster, s3: S3, site: Site
) -> None:
    web = cluster.web[0]
    task_id, worker = await downloading(web, cluster, site.url(SLOW))
    await worker.kill()  # a killed worker leaves the partial files
    await worker.start()
    await web.wait(task_id, "download")
    await act(cluster.web[1], task_id, "pause")
    assert any(node.files_of(task_id) for node in cluster.workers)
    await delete(web, task_id)
    assert await keys(s3.bucket(PLACE), task_id) == set()
    await nothing_of(task_id, *cluster.nodes)


@pytest.mark.long
async def test_partial_files_of_a_finished_task_go_on_the_worker_that_did_not_finish_it(
    cluster: Cluster, site: Site, media: Path, tmp_path: Path
) -> None:
    web = cluster.web[0]
    task_id, worker = await downloading(web, cluster, site.url("/8mb.mp4?rate=1500000"))
    assert await worker.stop() == 0
    done = await web.wait(task_id)
    assert done["attempt"] == 2
    await worker.start()
    await nothing_of_work(task_id, *cluster.workers)
    fetched = await web.fetch(done["files"]["video"], tmp_path / "video")
    assert sha256(fetched) == sha256(media / "8mb.mp4")


@pytest.mark.long
@pytest.mark.minutes(1.5)
@pytest.mark.parametrize("how", [Spoiled(status=503), Spoiled(silent=True)], ids=["refuses", "is silent"])
async def test_an_outage_of_the_bucket_is_one_line_on_a_node_and_said_by_each_task_that_waits_for_it(
    postgres: str, s3: S3, site: Site, tmp_path: Path, how: Spoiled
) -> None:
    async with open_proxy(s3.endpoint) as proxy:
        with (
            database(postgres) as url,
            closing(Cluster(tmp_path, url, **s3.settings("away", proxy.url))) as all_,
        ):
            web, worker = all_.web[0], all_.workers[0]
            async with all_.running(web, worker):
                slow = [
                    await web.submit(site.url("/8mb.mp4?rate=250000"), outputs=["video"]) for _ in range(2)
                ]
                for task in slow:
                    await web.wait(task["task_id"], "download")
                refused: list[str] = []

                def away(request: BaseRequest) -> Spoiled:
                    refused.append(request.path)
                    return how

                proxy.spoil = away
                uploads = await web.submit(site.url("/1mb.mp4"), outputs=["video"])
                await waiting(web, uploads["task_id"], "storage_away")
                async with asyncio.timeout(60):  # meanwhile two logs cannot be shared, and the upload fails
                    while len(refused) < 20:
                        await asyncio.sleep(0.5)
                        assert (await web.status(uploads["task_id"]))["waiting"] == "storage_away"
                proxy.spoil = lambda _: None
                for task in (uploads, *slow):
                    assert (await web.wait(task["task_id"], within=90))["attempt"] == 1
                told = [line for line in worker.log if "bucket" in line or "shared" in line]
                assert len(told) == 1, told
                assert "WARNING server.files.s3" in told[0]


async def nothing_of_work(task_id: str, *nodes: Service) -> None:
    async with asyncio.timeout(20):
        while any("work" in path.parts for node in nodes for path in node.files_of(task_id)):
            await asyncio.sleep(0.02)


@pytest.mark.long
async def test_what_a_worker_was_uploading_when_it_was_killed_is_completed_once_by_another(
    postgres: str, s3: S3, site: Site, media: Path, tmp_path: Path
) -> None:
    async with open_proxy(s3.endpoint) as proxy:
        with database(postgres) as url:
            cluster = Cluster(tmp_path, url, **s3.settings("killed", proxy.url))
            async with cluster.running():
                done = await killed_while_uploading(cluster, proxy, site)
                assert done["attempt"] == 2
                video = await cluster.web[1].fetch(done["files"]["video"], tmp_path / "video")
                assert sha256(video) == sha256(media / "1mb.mp4")
                found = await keys(s3.bucket("killed"), done["task_id"])
                assert {key for key in found if key.startswith("files/<id>/1/")} == set()
                for worker in cluster.workers:
                    if not worker.runs:
                        await worker.start()
                await nothing_of_work(done["task_id"], *cluster.workers)
            cluster.close()


async def killed_while_uploading(cluster: Cluster, proxy: Proxy, site: Site) -> Payload:
    web = cluster.web[0]
    proxy.spoil = lambda request: Spoiled(silent=True) if is_upload(request) else None
    task_id = (await web.submit(site.url("/1mb.mp4"), outputs=["video"]))["task_id"]
    async with asyncio.timeout(30):
        await proxy.spoils()
    await (await cluster.runs_on(task_id)).kill()
    proxy.spoil = lambda _: None
    return await web.wait(task_id)


@pytest.mark.long
async def test_a_resumed_download_goes_on_where_its_partial_files_are(cluster: Cluster, site: Site) -> None:
    web = cluster.web[0]
    task_id, _ = await downloading(web, cluster, site.url(SLOW))
    await fetched(web, task_id, 800_000)
    await act(web, task_id, "pause")
    await act(cluster.web[1], task_id, "resume")
    again = await web.wait(task_id, "download")
    assert again["attempt"] == 2
    assert (await fetched(web, task_id, 1))["downloaded_bytes"] > 700_000
    assert ANEW not in await log_of(web, task_id)


@pytest.mark.long
async def test_a_download_that_goes_on_elsewhere_begins_anew_and_its_log_says_so(
    cluster: Cluster, site: Site
) -> None:
    web = cluster.web[0]
    task_id, worker = await downloading(web, cluster, site.url(SLOW))
    await fetched(web, task_id, 800_000)
    assert await worker.stop() == 0
    async with asyncio.timeout(20):
        while (await web.status(task_id))["attempt"] < 2 or ANEW not in await log_of(web, task_id):
            await asyncio.sleep(0.05)
    log = await log_of(web, task_id)
    assert log.index("[download]") < log.index(ANEW), "what the other machine wrote is there, too"


async def fetched(node: Service, task_id: str, at_least: int) -> Payload:
    """Wait until the status of the task shows so many bytes; return it."""
    async with asyncio.timeout(20):
        while (status := await node.status(task_id)).get("downloaded_bytes", 0) < at_least:
            await asyncio.sleep(0.02)
    return status


@pytest.mark.long
async def test_what_finds_no_room_on_one_machine_comes_on_another(
    postgres: str, s3: S3, site: Site, media: Path, tmp_path: Path
) -> None:
    small = (
        "import server.tasks.disk_space as disk, server.tasks.next_attempt as attempts\n"
        f"disk.Disk.free = lambda self: {4 * MIB}\n"
        "attempts.DISK_DELAY = 0.5\n"
    )
    own = {"worker1": patched(tmp_path / "patch", small)}
    with (
        database(postgres) as url,
        closing(Cluster(tmp_path, url, own, **s3.settings("room"))) as cluster,
    ):
        web, roomy = cluster.web[0], cluster.workers[1]
        async with cluster.running(web, cluster.workers[0]):
            task_id = (await web.submit(site.url("/8mb.mp4?rate=4000000"), outputs=["video"]))["task_id"]
            await waiting(web, task_id, "disk_full")
            await roomy.start()
            done = await web.wait(task_id)
            fetched = await web.fetch(done["files"]["video"], tmp_path / "video.mp4")
            assert sha256(fetched) == sha256(media / "8mb.mp4")
            await roomy.disconnect()


async def waiting(node: Service, task_id: str, because: str) -> None:
    async with asyncio.timeout(20):
        while (await node.status(task_id)).get("waiting") != because:
            await asyncio.sleep(0.05)
