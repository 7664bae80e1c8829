"""A running service takes another release of yt-dlp without a restart, lets running jobs end on the old one,
and goes back if the new one fails.
"""

import asyncio
import re
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from server.tasks.yt_dlp_releases import Releases, State, installed
from tests.fakes.yt_dlp_index import (
    FAULT,
    NEWER,
    NEWEST,
    NO_EXTRACTION,
    NO_IMPORT,
    REFUSAL,
    Change,
    Index,
    lay_out,
    running_index,
)
from tests.service import Service, children_of, command_of
from tests.site import Site

WITHIN = 60.0  # seconds, enough for a busy machine


@pytest.fixture
async def service(tmp_path: Path) -> AsyncIterator[Service]:
    async with Service(tmp_path) as service:
        await service.ready()
        yield service


def choose(service: Service, version: str, *changes: Change) -> Releases:
    """Choose a release of yt-dlp, as `clipwire update` does at its end."""
    releases = Releases(service.data)
    releases.root.mkdir(parents=True, exist_ok=True)
    lay_out(releases.folder(version), version, *changes)

    def chosen(state: State) -> State:
        return state.model_copy(
            update={"chosen": version, "previous": state.chosen, "outcome": "switched", "version": version}
        )

    releases.change(chosen)
    return releases


async def checks(service: Service) -> dict[str, Any]:
    async with service.client.get("/readyz?lang=en") as answer:
        found: dict[str, Any] = (await answer.json())["checks"]
        return found


async def runs_on(service: Service, version: str) -> dict[str, Any]:
    """Wait until new jobs run on `version`; return the checks of `/readyz`."""
    async with asyncio.timeout(WITHIN):
        while not (found := await checks(service))["yt_dlp"]["detail"].startswith(version):
            await asyncio.sleep(0.05)
        return found


def fork_servers(service: Service) -> int:
    """Count the fork servers. Their children, which have the same command line, are not counted."""
    return sum("forkserver.py" in " ".join(command_of(each)) for each in children_of(service.pid))


async def one_fork_server(service: Service) -> None:
    async with asyncio.timeout(WITHIN):
        while fork_servers(service) != 1:
            await asyncio.sleep(0.05)


async def test_new_jobs_run_on_the_chosen_release_and_running_jobs_end_on_theirs(
    service: Service, site: Site
) -> None:
    old = await service.submit(site.url("/8mb.mp4?stall=4000000"))
    async with asyncio.timeout(WITHIN):
        await site.gate.reached.wait()
    choose(service, NEWER, REFUSAL)
    new = await service.submit(site.url("/texts/audio.html"))
    failed = await service.wait(new["task_id"], "failed", within=WITHIN)
    assert failed["error_code"] == "extraction_failed", "of the release that was chosen"
    assert (await runs_on(service, NEWER))["yt_dlp_update"]["ok"] is True
    assert fork_servers(service) == 2
    assert (await service.status(old["task_id"]))["stage"] == "download"
    site.gate.opened.set()
    await service.wait(old["task_id"], within=WITHIN)
    await one_fork_server(service)
    assert any(f"new jobs run on yt-dlp {NEWER}" in line for line in service.log)
    await service.restart()
    await runs_on(service, NEWER)


@pytest.mark.wide
@pytest.mark.parametrize(("change", "code"), [(NO_EXTRACTION, "extraction_failed"), (FAULT, "internal")])
async def test_after_three_crashes_in_a_row_the_service_goes_back(
    tmp_path: Path, site: Site, change: Change, code: str
) -> None:
    async with Service(tmp_path, CLIPWIRE_DOWNLOADS__RETRIES="0") as service:
        releases = choose(service, NEWER, change)
        await runs_on(service, NEWER)
        for _ in range(2):
            task = await service.submit(site.url("/texts/audio.html"))
            ended = await service.wait(task["task_id"], "failed", within=WITHIN)
            assert ended["error_code"] == code
        assert (await checks(service))["yt_dlp_update"]["ok"]
        third = await service.submit(site.url("/texts/audio.html"))
        await service.wait(third["task_id"], within=WITHIN)
        update = (await runs_on(service, installed()))["yt_dlp_update"]
        assert (update["ok"], update["needed"]) == (False, False)
        assert f"back from {NEWER} to {installed()}" in update["detail"]
        assert "crashed three times in a row" in update["detail"]
        assert (releases.chosen(), releases.read().refused) == (None, {NEWER: "internal"})
        await one_fork_server(service)
        assert any("works with the release before" in line for line in service.log)


@pytest.mark.wide
async def test_a_link_that_crashes_both_releases_says_nothing_about_the_newer(
    tmp_path: Path, site: Site
) -> None:
    async with Service(tmp_path, CLIPWIRE_DOWNLOADS__RETRIES="0") as service:
        choose(service, NEWER, NO_EXTRACTION)
        await runs_on(service, NEWER)
        releases = choose(service, NEWEST, NO_EXTRACTION)
        await runs_on(service, NEWEST)
        for _ in range(4):
            task = await service.submit(site.url("/texts/audio.html"))
            await service.wait(task["task_id"], "failed", within=WITHIN)
        assert releases.chosen() == NEWEST
        assert (await checks(service))["yt_dlp_update"]["ok"]
        assert sum("does not work with the release before" in line for line in service.log) == 1
        await one_fork_server(service)


@pytest.mark.long
async def test_a_check_of_a_page_that_crashes_is_done_by_the_release_before(
    service: Service, site: Site
) -> None:
    releases = choose(service, NEWER, NO_EXTRACTION)
    await runs_on(service, NEWER)
    answers = []
    for _ in range(3):
        async with service.client.post("/api/info", json={"url": site.url("/texts/audio.html")}) as answer:
            answers.append(answer.status)
    assert answers[-1] == 200
    assert 200 not in answers[:-1]
    await runs_on(service, installed())
    assert releases.read().refused == {NEWER: "internal"}


@pytest.mark.long
async def test_the_service_goes_back_to_the_release_that_was_in_use_before(
    service: Service, site: Site
) -> None:
    choose(service, NEWER)
    await runs_on(service, NEWER)
    releases = choose(service, NEWEST, NO_IMPORT)
    task = await service.submit(site.url("/1mb.mp4"))
    await service.wait(task["task_id"], within=WITHIN)
    assert (await runs_on(service, NEWER))["yt_dlp_update"]["detail"].endswith("it does not start")
    assert releases.chosen() == NEWER


@pytest.mark.long
async def test_a_service_ignores_a_chosen_release_that_does_not_start(service: Service, site: Site) -> None:
    await service.stop()
    releases = choose(service, NEWER, NO_IMPORT)
    await service.start()
    task = await service.submit(site.url("/1mb.mp4"))
    await service.wait(task["task_id"], within=WITHIN)
    await runs_on(service, installed())
    assert releases.read().refused == {NEWER: "start"}


@pytest.mark.long
async def test_a_release_whose_folder_is_gone_does_no_harm(service: Service, site: Site) -> None:
    releases = choose(service, NEWER)
    await runs_on(service, NEWER)
    await service.stop()
    releases.folder(NEWER).rename(service.folder / "away")
    await service.start()
    task = await service.submit(site.url("/1mb.mp4"))
    await service.wait(task["task_id"], within=WITHIN)
    await runs_on(service, installed())


@pytest.fixture
def index() -> Iterator[Index]:
    with running_index() as index:
        yield index


@pytest.mark.long
async def test_a_service_with_daily_updates_has_the_newest_release_within_a_minute(
    tmp_path: Path, index: Index, site: Site
) -> None:
    index.put(NEWER)
    secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
    daily = {
        "CLIPWIRE_UPDATES__YT_DLP": "daily",
        "CLIPWIRE_DOWNLOADS__MIN_FREE_DISK": "0",
        "CLIPWIRE_WEBHOOKS__SECRET": secret,
    }
    async with Service(tmp_path, **index.environment, **daily) as service:
        seen: list[str] = []

        def look_around(*_: object) -> None:
            seen.extend(str(each.environ()) for each in service.processes())

        index.before = look_around
        while not index.asked:
            await asyncio.sleep(0.05)
        found = await runs_on(service, NEWER)
        assert re.fullmatch(rf"{NEWER} was downloaded at \S+Z, .*", found["yt_dlp_update"]["detail"])
        task = await service.submit(site.url("/1mb.mp4"))
        await service.wait(task["task_id"], within=WITHIN)
        assert any(f"yt-dlp {NEWER} is used by new tasks" in line for line in service.log)
        assert service.complaints() == []
        assert any("PIP_INDEX_URL" in environment for environment in seen)
        assert not any(secret in environment for environment in seen)
