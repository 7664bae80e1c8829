"""A fork server without work ends after a while. It starts again at the first sign of work."""

import asyncio
import os
import signal
import threading
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import IO, Any

import psutil  # type: ignore[import-untyped]
import pytest

from server.api import keys
from server.core.process_request import ProcessRequest
from server.settings import DownloadSettings
from server.tasks import children
from server.tasks.children import ForkServer
from server.tasks.fork_servers import ForkServers
from server.tasks.job_builder import JobMaker
from server.tasks.plugin_trials import Plugins, PluginsFound, plugins_of
from server.tasks.programs_found import find_tools
from server.tasks.yt_dlp_releases import Releases
from tests.end_to_end.test_kills import locked
from tests.fakes.yt_dlp_index import NEWER, lay_out
from tests.inside import Inside, inside
from tests.jobs import download_job
from tests.plugins import SAMPLE, PluginFolder
from tests.site import Site

WITHIN = 60.0  # seconds, enough for a busy machine
AT_ONCE = 0.001  # seconds without work after which the fork server sleeps
LINK = "http://127.0.0.1:9/nothing"  # a link at which no server listens


async def asleep(servers: ForkServer | ForkServers) -> None:
    async with asyncio.timeout(WITHIN):
        while not servers.is_asleep:
            await asyncio.sleep(0.01)


@pytest.fixture
async def server() -> AsyncIterator[ForkServer]:
    tools = find_tools()
    async with ForkServer(tools.ffmpeg, tools.deno, sleep_after=AT_ONCE) as server:
        await asleep(server)
        yield server


@pytest.fixture
async def service(tmp_path: Path) -> AsyncIterator[Inside]:
    """A service whose fork server is asleep."""
    downloads = DownloadSettings(
        sleep_after=AT_ONCE, min_free_disk=0, retries=0, allowed_private_hosts=("127.0.0.1",)
    )
    async with inside(tmp_path, downloads=downloads) as service:
        await asleep(servers_of(service))
        yield service


def servers_of(service: Inside) -> ForkServers:
    return service.app[keys.INSPECTOR]._fork_server


async def test_its_process_is_gone_and_what_it_said_of_itself_is_kept(server: ForkServer) -> None:
    ready = server.ready
    assert ready
    async with asyncio.timeout(WITHIN):
        while psutil.pid_exists(ready.pid):
            await asyncio.sleep(0.01)
        await server.warm()
        assert server.ready
        assert server.ready.pid != ready.pid
        await asleep(server)


@pytest.mark.wide
async def test_a_job_that_runs_keeps_it_awake(server: ForkServer, tmp_path: Path) -> None:
    job = download_job(tmp_path / "work")
    with locked(tmp_path / "work.lock"):  # a lock that the child waits for
        async with asyncio.timeout(WITHIN):
            # No request has woken the fork server before.
            child = await server.start("a", job, tmp_path / "log")
            await asyncio.sleep(20 * AT_ONCE)
            assert not child.exited.done()
            assert not server.is_asleep
            await child.stop()
    await asleep(server)


@pytest.mark.wide
async def test_a_job_whose_log_is_opened_while_it_falls_asleep_waits_for_the_next_one(
    server: ForkServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opening, fell_asleep, open_log = threading.Event(), threading.Event(), children._open_log

    def open_late(path: Path) -> IO[bytes]:
        opening.set()
        assert fell_asleep.wait(WITHIN)
        return open_log(path)

    monkeypatch.setattr(children, "_open_log", open_late)
    async with asyncio.timeout(WITHIN):
        await server.warm()
        with locked(tmp_path / "work.lock"):
            starting = asyncio.create_task(
                server.start("a", download_job(tmp_path / "work"), tmp_path / "log")
            )
            await asyncio.to_thread(opening.wait)
            await asleep(server)
            fell_asleep.set()
            child = await starting
            assert not child.exited.done()
            await child.stop()


async def test_a_kill_while_it_wakes_loses_no_job(
    server: ForkServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    launch, launched = children.launch, list[int]()

    def killed_at_first(config: str, errors: None) -> children.Launched:
        made = launch(config, errors)
        if not launched:
            os.kill(made.process.pid, signal.SIGKILL)
        launched.append(made.process.pid)
        return made

    monkeypatch.setattr(children, "launch", killed_at_first)
    async with asyncio.timeout(WITHIN):
        with locked(tmp_path / "work.lock"):
            child = await server.start("a", download_job(tmp_path / "work"), tmp_path / "log")
            assert (len(launched), child.exited.done()) == (2, False)
            await child.stop()


async def test_what_never_sleeps_stays() -> None:
    tools = find_tools()
    async with asyncio.timeout(WITHIN), ForkServer(tools.ffmpeg, tools.deno) as server:
        await server.warm()
        await asyncio.sleep(20 * AT_ONCE)
        assert server.is_warm


@pytest.mark.wide
@pytest.mark.parametrize(
    ("language", "said"), [("en", "sleeps until there is work"), ("zh", "休眠中，有任务时启动")]
)
async def test_a_service_that_sleeps_is_ready_and_stays_asleep_when_it_is_asked(
    service: Inside, language: str, said: str
) -> None:
    async with service.client.get(f"/readyz?lang={language}") as answer:
        checks = (await answer.json())["checks"]
        assert (answer.status, checks["fork_server"]["detail"]) == (200, said)
    assert [name for name, check in checks.items() if not check["ok"]] == []
    async with service.client.get("/metrics") as answer:
        assert "clipwire_fork_server_asleep 1.0" in await answer.text()
    assert servers_of(service).is_asleep


@pytest.mark.wide
async def test_a_service_that_wakes_is_ready(service: Inside, monkeypatch: pytest.MonkeyPatch) -> None:
    launching, goes_on = asyncio.Event(), asyncio.Event()
    run_once = ForkServer._run_once

    async def late(self: ForkServer) -> Any:
        launching.set()
        await goes_on.wait()
        return await run_once(self)

    monkeypatch.setattr(ForkServer, "_run_once", late)
    async with asyncio.timeout(WITHIN):
        servers_of(service).wake()
        await launching.wait()
        asking = asyncio.create_task(service.client.get("/readyz").__aenter__())
        monkeypatch.setattr(servers_of(service)._switch.current.server, "_sleep_after", WITHIN)
        goes_on.set()
        answer = await asking
        assert answer.status == 200
        answer.release()


@pytest.mark.wide
@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("GET", "/", None),
        ("HEAD", "/", None),
        ("POST", "/api/process", {}),
        ("POST", "/api/process/batch", {}),
        ("POST", "/api/info", {}),
    ],
)
async def test_what_comes_before_work_wakes_it(
    service: Inside, method: str, path: str, body: dict[str, Any] | None
) -> None:
    woken = asyncio.create_task(servers_of(service)._switch.current.server._awake.wait())
    async with service.client.request(method, path, json=body) as answer:
        await answer.read()  # a request that is refused later has also not waited for the fork server
    async with asyncio.timeout(WITHIN):
        await woken


async def test_neither_a_status_nor_a_health_check_wakes_it(service: Inside) -> None:
    for path in ("/healthz", "/readyz", "/api/tasks", "/api/queue", "/metrics", "/api/status/none"):
        async with service.client.get(path) as answer:
            await answer.read()
    assert servers_of(service).is_asleep


@pytest.mark.wide
async def test_a_task_that_becomes_due_is_begun(service: Inside) -> None:
    soon = datetime.now(UTC) + timedelta(seconds=1)
    async with service.client.post(
        "/api/process", json={"url": LINK, "start_at": soon.isoformat()}
    ) as answer:
        task_id = (await answer.json())["task_id"]
    ended = await service.reached(task_id, "failed")
    assert ended["error_code"] != "worker_lost"


@pytest.mark.wide
async def test_another_release_is_switched_to_while_it_sleeps(tmp_path: Path) -> None:
    tools = find_tools()
    async with ForkServers(tools.ffmpeg, tools.deno, tmp_path, sleep_after=AT_ONCE) as servers:
        await asleep(servers)
        releases = Releases(tmp_path)
        releases.root.mkdir(parents=True, exist_ok=True)
        lay_out(releases.folder(NEWER), NEWER)
        releases.change(lambda state: state.model_copy(update={"chosen": NEWER}))
        async with asyncio.timeout(WITHIN):
            await servers.follow_choice()
            assert servers.ready
            assert servers.ready.yt_dlp == NEWER
            await asleep(servers)
            while len(servers._switch._open) > 1:
                await asyncio.sleep(0.01)


@pytest.mark.wide
async def test_plugins_are_known_while_it_sleeps_and_tried_after_a_change(tmp_path: Path, site: Site) -> None:
    scratch, folder = tmp_path / "scratch", PluginFolder(tmp_path / "plugins")
    scratch.mkdir()
    folder.write("sample", SAMPLE)
    jobs = JobMaker(DownloadSettings(plugins=folder.path), find_tools())
    plugins = plugins_of(jobs, lambda: scratch)
    assert plugins
    own = (jobs.tools.ffmpeg, jobs.tools.deno, tmp_path)
    async with asyncio.timeout(WITHIN), ForkServers(*own, None, plugins, AT_ONCE) as servers:
        while plugins.found is None:
            await asyncio.sleep(0.01)
        await asleep(servers)
        found = await servers.plugins(WITHIN)
        assert found
        assert ([plugin.name for plugin in found.fit], servers.is_asleep) == (["sample"], True)
        folder.write("second", SAMPLE.replace("Sample", "Second").replace("sample", "second"))
        found = await servers.plugins(WITHIN)
        assert found
        assert [plugin.name for plugin in found.fit] == ["sample", "second"]
        request = ProcessRequest(url=site.url("/sample/a"))
        job = jobs.job("info", request, scratch / "a", scratch / "a.lock")
        await asleep(servers)
        child = await servers.start("a", job, scratch / "a.log")
        assert b"extracted" in [line async for line in _lines(child)][-1]
        await child.stop()


@pytest.mark.wide
async def test_what_a_trial_has_found_counts_also_if_the_process_sleeps_by_then(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    try_all = Plugins._try_all

    async def falling_asleep(self: Plugins, server: ForkServer) -> PluginsFound:
        found = await try_all(self, server)
        await asleep(server)
        return found

    monkeypatch.setattr(Plugins, "_try_all", falling_asleep)
    folder = PluginFolder(tmp_path / "plugins")
    folder.write("sample", SAMPLE)
    (tmp_path / "scratch").mkdir()
    jobs = JobMaker(DownloadSettings(plugins=folder.path), find_tools())
    plugins = plugins_of(jobs, lambda: tmp_path / "scratch")
    assert plugins
    own = (jobs.tools.ffmpeg, jobs.tools.deno, tmp_path)
    async with asyncio.timeout(WITHIN), ForkServers(*own, None, plugins, AT_ONCE):
        while plugins.found is None:
            await asyncio.sleep(0.01)
    assert [plugin.name for plugin in plugins.found.fit] == ["sample"]


async def _lines(child: children.Child) -> AsyncIterator[bytes]:
    while line := await child.read_line():
        yield line
