"""Many nodes are one service: one node does what another was asked for, and no task is lost when nodes
die.
"""

import asyncio
import signal
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, closing, contextmanager
from pathlib import Path

import psycopg
import pytest

from tests.cluster.nodes import Cluster
from tests.cluster.postgres import PostgreSQL, database, own_postgres
from tests.end_to_end.test_live import ENDLESS, recording
from tests.ports import free_port
from tests.service import Payload, Service
from tests.site import Site, sha256

SLOW = "/8mb.mp4?rate=400000"


@pytest.fixture(scope="module")
def nodes(postgres: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with database(postgres) as url:
        cluster = Cluster(tmp_path_factory.mktemp("cluster"), url)
        yield cluster
        cluster.close()


@pytest.fixture
async def cluster(nodes: Cluster) -> AsyncIterator[Cluster]:
    async with nodes.running() as running:
        yield running


@pytest.fixture(scope="module")
def patient_nodes(postgres: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with database(postgres) as url:
        cluster = Cluster(tmp_path_factory.mktemp("patient"), url, CLIPWIRE_WORKERS__LOST_AFTER="300")
        yield cluster
        cluster.close()


@pytest.fixture
async def patient(patient_nodes: Cluster) -> AsyncIterator[Cluster]:
    """A cluster that takes a worker for dead only long after a test has given up: a task that goes on sooner
    has not waited for that, and on a busy machine no worker is taken for dead.
    """
    async with patient_nodes.running() as running:
        yield running


async def act(node: Service, task_id: str, action: str) -> Payload:
    """Do an action on a task; repeat it while the answer is that the task's worker needs longer."""
    async with asyncio.timeout(20):
        while True:
            async with node.client.post(f"/api/tasks/{task_id}/{action}") as answer:
                payload: Payload = await answer.json()
                if answer.status == 200:
                    return payload
                assert payload["code"] == "worker_silent", payload


async def test_a_link_goes_in_at_one_node_and_the_files_come_out_at_another(
    patient: Cluster, site: Site, media: Path, tmp_path: Path
) -> None:
    one, other = patient.web
    accepted = await one.submit(site.url("/1mb.mp4"), outputs=["video"])
    done = await other.wait(accepted["task_id"])
    assert sha256(await one.fetch(done["files"]["video"], tmp_path / "1")) == sha256(media / "1mb.mp4")
    assert sha256(await other.fetch(done["files"]["video"], tmp_path / "2")) == sha256(media / "1mb.mp4")


async def test_a_worker_says_how_it_is_and_nothing_else(patient: Cluster) -> None:
    worker = patient.workers[0]
    await worker.ready()
    for path, expected in (("/healthz", 200), ("/readyz", 200), ("/api/tasks", 404), ("/", 404)):
        async with worker.client.get(path) as answer:
            assert answer.status == expected, path
    async with asyncio.timeout(20):
        while (checks := await checks_of(patient.web[0]))["workers"]["detail"] != "2 alive":
            await asyncio.sleep(0.1)
    assert checks["workers"]["ok"]
    assert checks["settings"]["ok"]


async def checks_of(node: Service) -> Payload:
    async with node.client.get("/readyz?lang=en") as answer:
        checks: Payload = (await answer.json())["checks"]
        return checks


@pytest.mark.long
async def test_a_node_with_another_folder_for_its_files_is_refused(cluster: Cluster, tmp_path: Path) -> None:
    stranger = Cluster(tmp_path, cluster.url).web[0]
    with pytest.raises(RuntimeError, match=r"storage.data_dir: .* is not the folder of the other nodes"):
        await stranger.start()
    assert await stranger.ended() == 1


@pytest.mark.long
async def test_a_list_is_read_by_one_worker_and_its_entries_run_anywhere(
    cluster: Cluster, site: Site
) -> None:
    one, other = cluster.web
    links = "&entry=".join(("/silent.mp4", "/gone.mp4", *(f"/video.mp4?times={n}" for n in range(1, 9))))
    accepted = await one.submit(site.url(f"/feed?entry={links}"), playlist=True, outputs=["video"])
    done = await other.wait(accepted["task_id"])
    assert (done["stage"], done["entries"]) == ("completed", {"total": 10, "completed": 9, "failed": 1})
    async with other.client.get(f"/api/tasks?playlist_id={accepted['task_id']}") as answer:
        entries = (await answer.json())["tasks"]
    assert [entry["url"] for entry in reversed(entries)] == [
        site.url(link) for link in links.split("&entry=")
    ]


@pytest.mark.long
async def test_what_one_node_has_taken_another_shares_alone_and_in_a_list(
    cluster: Cluster, site: Site
) -> None:
    one, other = cluster.web[0], cluster.web[-1]
    body = {"url": site.url("/silent.mp4"), "outputs": ["video"], "reuse": True}

    async def asked(node: Service) -> tuple[int, str]:
        async with node.client.post("/api/process", json=body) as answer:
            return answer.status, (await answer.json())["task_id"]

    answers = await asyncio.gather(*(asked(node) for node in (one, other) * 10))
    assert sorted(status for status, _ in answers) == [*[200] * 19, 202]
    assert len({task_id for _, task_id in answers}) == 1
    await one.wait(answers[0][1])
    under_way = "/8mb.mp4?rate=1000000"
    running = await one.submit(site.url(under_way), outputs=["video"])
    before = len(site.requests)
    links = f"/silent.mp4&entry={under_way}&entry=/video.mp4"
    playlist = await other.submit(
        site.url(f"/feed?entry={links}"), playlist=True, outputs=["video"], reuse=True
    )
    assert (await other.wait(playlist["task_id"]))["entries"] == {"total": 3, "completed": 3, "failed": 0}
    assert (await one.status(running["task_id"]))["stage"] == "completed"
    assert "/silent.mp4" not in {seen.path for seen in site.requests[before:]}


@pytest.mark.long
async def test_a_list_is_cancelled_and_retried_as_a_whole_from_any_node(cluster: Cluster, site: Site) -> None:
    one, other = cluster.web
    links = "".join(f"&entry=/video.mp4%3Fstall={1000 + n}" for n in range(12))
    accepted = await one.submit(site.url(f"/feed?entry=/silent.mp4{links}"), playlist=True, outputs=["video"])
    playlist_id = accepted["task_id"]
    async with asyncio.timeout(20):
        while (seen := await one.status(playlist_id))["stage"] != "download" or not seen["entries"][
            "completed"
        ]:
            await asyncio.sleep(0.05)
    cancelled = await act(other, playlist_id, "cancel")
    assert cancelled["entries"] == {"total": 13, "completed": 1, "failed": 12}
    site.release()
    again = await act(one, playlist_id, "retry")
    assert (again["stage"], again["entries"]["failed"]) == ("download", 0)
    assert (await other.wait(playlist_id))["entries"] == {"total": 13, "completed": 13, "failed": 0}


@pytest.mark.long
async def test_entries_show_on_every_node_what_happened_to_their_list_whichever_node_dies(
    cluster: Cluster, site: Site
) -> None:
    one, other = cluster.web
    links = "&entry=".join(f"/video.mp4%3Fstall={1000 + n}" for n in range(8))
    asked = site.url(f"/feed?entry={links}&count=62")
    playlist_id = (await one.submit(asked, playlist=True, outputs=["video"]))["task_id"]

    async def entries(node: Service, stage: str) -> list[Payload]:
        query = f"/api/tasks?limit=200&playlist_id={playlist_id}&stage={stage}"
        async with node.client.get(query) as answer:
            return list((await answer.json())["tasks"])

    async with asyncio.timeout(40):
        while len(await entries(other, "download")) < 8:
            await asyncio.sleep(0.05)
    last = (await entries(other, "queued"))[-1]
    async with other.client.ws_connect(f"/ws/{last['task_id']}") as socket:
        assert (await socket.receive_json())["stage"] == "queued"
        await act(one, playlist_id, "pause")
        await one.kill()
        assert len(await entries(other, "paused")) == 70
        assert await entries(other, "queued") == await entries(other, "download") == []
        async with other.client.get("/api/queue") as answer:
            assert (await answer.json())["stages"]["paused"] == 71
        async with asyncio.timeout(20):
            told = await socket.receive_json()
    assert (told["stage"], told["revision"]) == ("paused", last["revision"] + 1)
    async with asyncio.timeout(90), await psycopg.AsyncConnection.connect(cluster.url) as db:
        while await (await db.execute("SELECT FROM list_actions")).fetchall():
            await db.rollback()
            await asyncio.sleep(0.1)
    assert await other.status(last["task_id"]) == told
    await one.start()
    one.connect()
    site.release()
    assert (await act(one, playlist_id, "resume"))["stage"] == "download"
    assert (await other.wait(playlist_id))["entries"] == {"total": 70, "completed": 70, "failed": 0}


async def test_what_runs_elsewhere_is_paused_resumed_and_cancelled(patient: Cluster, site: Site) -> None:
    one, other = patient.web
    task_id = (await one.submit(site.url(SLOW), outputs=["video"]))["task_id"]
    await other.wait(task_id, "download")
    paused = await act(other, task_id, "pause")
    assert (paused["stage"], paused["attempt"]) == ("paused", 1)
    assert (await one.status(task_id))["stage"] == "paused"
    assert (await act(one, task_id, "resume"))["stage"] in ("queued", "info")
    await one.wait(task_id, "download")
    cancelled = await act(other, task_id, "cancel")
    assert (cancelled["stage"], cancelled["attempt"]) == ("cancelled", 2)


async def test_a_pause_of_the_queue_is_heard_on_every_node_by_those_who_wait_for_it(patient: Cluster) -> None:
    one, other = patient.web
    for known, action in (("false", "pause"), ("true", "resume")):
        query = {"paused": known, "wait": "50"}
        waiting = asyncio.create_task(other.client.get("/api/queue", params=query))
        async with one.client.get("/api/queue", params=query | {"wait": "0.5"}) as before:
            assert (await before.json())["paused"] is (known == "true")
        assert not waiting.done()
        async with asyncio.timeout(20), one.client.post(f"/api/queue/{action}") as done:
            assert (await done.json())["paused"] is (known == "false")
            assert (await (await waiting).json())["paused"] is (known == "false")


@pytest.mark.long
async def test_a_recording_that_runs_elsewhere_is_finished_and_kept(cluster: Cluster, site: Site) -> None:
    one, other = cluster.web
    task_id = await recording(one, site.url(ENDLESS), at_least=200_000)
    done = await act(other, task_id, "finish")
    assert (done["stage"], sorted(done["files"])) == ("completed", ["audio", "video"])


async def test_a_socket_on_one_node_sees_what_is_done_by_another_to_its_last_word(
    patient: Cluster, site: Site
) -> None:
    one, other = patient.web
    task_id = (await one.submit(site.url("/1mb.mp4?stall=500000&after=1"), outputs=["video"]))["task_id"]
    seen: list[Payload] = []
    async with asyncio.timeout(30), other.client.ws_connect(f"/ws/{task_id}") as socket:
        async for message in socket:
            seen.append(message.json())
            if seen[-1]["stage"] == "download":
                site.release()
    revisions = [status["revision"] for status in seen]
    assert revisions == sorted(set(revisions))
    assert seen[-1]["stage"] == "completed"
    assert "download" in {status["stage"] for status in seen}


async def test_an_idempotency_key_makes_one_task_over_all_nodes(patient: Cluster, site: Site) -> None:
    body, headers = {"url": site.url("/1mb.mp4"), "auto_start": False}, {"Idempotency-Key": "one"}
    made = set()
    for node in [*patient.web] * 3:
        async with node.client.post("/api/process", json=body, headers=headers) as answer:
            made.add((await answer.json())["task_id"])
    assert len(made) == 1


async def test_a_task_that_is_deleted_on_one_node_is_unknown_on_every_other(
    patient: Cluster, site: Site
) -> None:
    one, other = patient.web
    task_id = (await one.submit(site.url(SLOW), outputs=["video"]))["task_id"]
    await other.wait(task_id, "download")
    async with asyncio.timeout(20):
        told = [await delete(other, task_id)]
        while told[-1] == (503, "worker_silent"):  # the deletion may be complete before it is repeated
            told.append(await delete(other, task_id))
    assert told[-1] == (204, None) or told[1:][-1:] == [(404, "task_not_found")]
    async with one.client.get(f"/api/status/{task_id}") as answer:
        assert answer.status == 404


@pytest.mark.long
async def test_what_a_killed_worker_ran_is_taken_over(
    cluster: Cluster, site: Site, media: Path, tmp_path: Path
) -> None:
    web = cluster.web[0]
    task_id = (await web.submit(site.url("/8mb.mp4?rate=1000000"), outputs=["video"]))["task_id"]
    await web.wait(task_id, "download")
    await (await cluster.runs_on(task_id)).kill()
    await another_attempt(web, task_id)
    done = await web.wait(task_id)
    assert done["attempt"] == 2
    assert sha256(await web.fetch(done["files"]["video"], tmp_path / "video")) == sha256(media / "8mb.mp4")


@pytest.mark.long
async def test_who_watches_what_a_killed_worker_ran_gets_the_rest_from_its_successor(
    cluster: Cluster, site: Site, media: Path
) -> None:
    """The answer comes from a node that runs no downloads: all nodes share one folder of files."""
    web = cluster.web[1]
    task_id = (await cluster.web[0].submit(site.url("/8mb.mp4?rate=1000000"), outputs=["video"]))["task_id"]
    await web.wait(task_id, "download")
    await asyncio.sleep(0.5)
    async with web.client.get(f"/api/tasks/{task_id}/stream") as answer:
        assert (answer.status, answer.content_type) == (200, "video/mp4")
        come = await answer.content.readexactly(1_000_000)
        await (await cluster.runs_on(task_id)).kill()
        come += await answer.read()
    assert come == (media / "8mb.mp4").read_bytes()
    assert (await web.wait(task_id))["attempt"] == 2


@pytest.mark.long
async def test_what_a_stopped_worker_ran_goes_on_elsewhere_at_once(patient: Cluster, site: Site) -> None:
    web = patient.web[0]
    task_id = (await web.submit(site.url("/8mb.mp4?rate=1000000"), outputs=["video"]))["task_id"]
    await web.wait(task_id, "download")
    assert await (await patient.runs_on(task_id)).stop() == 0
    await another_attempt(web, task_id)
    assert (await web.wait(task_id))["attempt"] == 2


@pytest.mark.long
async def test_a_worker_that_starts_again_takes_up_at_once_what_it_left(patient: Cluster, site: Site) -> None:
    web, [worker, other] = patient.web[0], patient.workers
    await other.stop()
    task_id = (await web.submit(site.url("/8mb.mp4?rate=1000000"), outputs=["video"]))["task_id"]
    await web.wait(task_id, "download")
    await worker.kill()
    await worker.start()
    await another_attempt(web, task_id)
    assert (await web.wait(task_id))["attempt"] == 2


async def another_attempt(node: Service, task_id: str) -> None:
    async with asyncio.timeout(30):
        while (await node.status(task_id))["attempt"] < 2:
            await asyncio.sleep(0.02)


@pytest.mark.long
async def test_a_worker_that_wakes_up_after_it_was_given_up_changes_nothing(
    cluster: Cluster, site: Site, media: Path, tmp_path: Path
) -> None:
    web = cluster.web[0]
    task_id = (await web.submit(site.url("/8mb.mp4?rate=600000"), outputs=["video"]))["task_id"]
    await web.wait(task_id, "download")
    with silent(await cluster.runs_on(task_id)):
        await another_attempt(web, task_id)
    done = await web.wait(task_id)
    assert done["attempt"] == 2
    assert sha256(await web.fetch(done["files"]["video"], tmp_path / "video")) == sha256(media / "8mb.mp4")


@pytest.mark.long
async def test_an_action_on_what_a_silent_worker_runs_is_refused_and_done_later(
    cluster: Cluster, site: Site
) -> None:
    web = cluster.web[0]
    task_id, worker = await running(cluster, site)
    with silent(worker):
        async with web.client.post(f"/api/tasks/{task_id}/cancel") as answer:
            problem = await answer.json()
            assert (answer.status, problem["code"]) == (503, "worker_silent")
            assert answer.headers["Retry-After"] == "10"
    assert (await act(web, task_id, "cancel"))["stage"] == "cancelled"


@pytest.mark.long
async def test_a_deletion_while_the_worker_is_silent_is_refused_and_done_when_it_is_asked_for_again(
    cluster: Cluster, site: Site
) -> None:
    one, other = cluster.web
    task_id, worker = await running(cluster, site)
    with silent(worker):
        assert await delete(one, task_id) == await delete(other, task_id) == (503, "worker_silent")
        async with one.client.get(f"/api/status/{task_id}") as answer:
            assert answer.status == 404
        assert worker.files_of(task_id), "its child may still write"
    # The deletion may be complete before it is repeated.
    assert await delete(other, task_id) in ((204, None), (404, "task_not_found"))
    assert await delete(one, task_id) == (404, "task_not_found")
    assert worker.files_of(task_id) == []


@pytest.mark.long
async def test_a_deletion_that_a_silent_worker_held_up_is_carried_out_by_itself(
    cluster: Cluster, site: Site
) -> None:
    web = cluster.web[0]
    task_id, worker = await running(cluster, site)
    with silent(worker):
        assert await delete(web, task_id) == (503, "worker_silent")
        await worker.kill()
    async with asyncio.timeout(30):
        while web.files_of(task_id):
            await asyncio.sleep(0.1)


async def running(cluster: Cluster, site: Site) -> tuple[str, Service]:
    """Start a task; return its id, and the worker that runs it."""
    web = cluster.web[0]
    task_id = (await web.submit(site.url(SLOW), outputs=["video"]))["task_id"]
    await web.wait(task_id, "download")
    return task_id, await cluster.runs_on(task_id)


@contextmanager
def silent(worker: Service) -> Iterator[None]:
    worker.send_signal(signal.SIGSTOP)
    try:
        yield
    finally:
        worker.send_signal(signal.SIGCONT)


async def delete(node: Service, task_id: str) -> tuple[int, str | None]:
    async with node.client.delete(f"/api/tasks/{task_id}") as answer:
        return answer.status, None if answer.status == 204 else (await answer.json())["code"]


@contextmanager
def away(postgres: PostgreSQL, how: str) -> Iterator[None]:
    match how:
        case "silent":
            postgres.pause()
        case "killed":
            postgres.kill()
        case _:
            postgres.stop()
    try:
        yield
    finally:
        if how == "silent":
            postgres.go_on()
        else:
            postgres.start()


@pytest.mark.long
@pytest.mark.parametrize(("how", "seconds"), [("killed", 3), ("silent", 15), ("stopped", 40)])
async def test_a_download_and_those_who_watch_go_on_while_the_database_is_away(
    tmp_path: Path, site: Site, media: Path, how: str, seconds: int
) -> None:
    with own_postgres() as postgres, closing(Cluster(tmp_path, postgres.url)) as cluster:
        web, worker = cluster.web[0], cluster.workers[0]
        for node in (web, worker):
            await node.start()
        task_id = (await web.submit(site.url("/8mb.mp4?rate=800000"), outputs=["video"]))["task_id"]
        await web.wait(task_id, "download")
        asked = len(site.seen("/8mb.mp4"))
        async with web.client.ws_connect(f"/ws/{task_id}") as socket:
            await socket.receive()
            with away(postgres, how):
                await refused(web, task_id, within=10 if how == "silent" else 3)
                await asyncio.sleep(seconds)
            done = await until_completed(web, task_id)
            *_, last = [message.json() async for message in socket]
        assert done["attempt"] == 1
        assert last == done
        assert len(site.seen("/8mb.mp4")) == asked, "it was fetched twice"
        fetched = await web.fetch(done["files"]["video"], tmp_path / "video")
        assert sha256(fetched) == sha256(media / "8mb.mp4")
        later = await web.submit(site.url("/1mb.mp4"), outputs=["video"])
        assert (await web.wait(later["task_id"]))["attempt"] == 1
        for node in (web, worker):
            assert node.complaints() == []
            await node.disconnect()


async def refused(node: Service, task_id: str, within: float) -> None:
    """Check that every request is refused within so many seconds."""
    place, began = f"/api/tasks/{task_id}", time.monotonic()
    asked = [
        node.client.get(f"/api/status/{task_id}"),
        node.client.get("/api/tasks"),
        node.client.get("/api/tasks?q=film"),
        node.client.get("/api/cookies"),
        node.client.post("/api/process", json={"url": "http://127.0.0.1/"}),
        node.client.patch(place, json={"priority": 1}),
        node.client.delete(place),
        *(
            node.client.post(f"{place}/{action}")
            for action in ("cancel", "pause", "resume", "retry", "finish")
        ),
    ]
    for answer in await asyncio.gather(*asked):
        async with answer:
            assert (answer.status, (await answer.json())["code"]) == (503, "database_away"), answer
            assert "Retry-After" in answer.headers
    assert time.monotonic() - began < within


@pytest.mark.long
@pytest.mark.minutes(1)
async def test_a_node_that_starts_while_the_database_is_away_waits_a_minute_and_says_so(
    tmp_path: Path,
) -> None:
    """One database refuses connections; another takes them and says nothing."""
    async with mute() as port:
        urls = [f"postgresql://postgres@127.0.0.1:{at}/postgres" for at in (free_port(), port)]
        nodes = [Cluster(tmp_path / str(number), url).web[0] for number, url in enumerate(urls)]
        await asyncio.gather(*map(gives_up_after_a_minute, nodes))


async def gives_up_after_a_minute(node: Service) -> None:
    node.folder.parent.mkdir()
    node.patience = 30
    began = time.monotonic()
    with pytest.raises(TimeoutError):
        await node.start()
    async with asyncio.timeout(90):
        while node.runs:
            await asyncio.sleep(0.1)
    assert 60 <= time.monotonic() - began < 90  # a minute, and the start of an interpreter
    assert await node.ended() == 1
    [line] = (line for line in node.log if line.startswith("clipwire: "))
    assert line.startswith("clipwire: storage.database cannot be reached (")


@asynccontextmanager
async def mute() -> AsyncIterator[int]:
    """Yield the port of a server that never answers."""
    ended = asyncio.Event()

    async def say_nothing(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await ended.wait()
        writer.close()

    async with await asyncio.start_server(say_nothing, "127.0.0.1", 0) as server:
        try:
            yield server.sockets[0].getsockname()[1]
        finally:
            ended.set()


async def until_completed(node: Service, task_id: str) -> Payload:
    """Return the completed task, even if some answers say that the database is away."""
    async with asyncio.timeout(60):
        while True:
            async with node.client.get(f"/api/status/{task_id}") as answer:
                payload: Payload = await answer.json()
                if payload.get("stage") == "completed":
                    return payload
            await asyncio.sleep(0.1)
