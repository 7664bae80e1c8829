"""The message to a child: it has all that the child needs, and nothing that the child does not understand."""

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from server.core import jobs
from server.core.action_requests import InfoRequest
from server.core.process_request import ProcessRequest
from server.settings import DownloadSettings
from server.tasks.job_builder import JobMaker
from server.tasks.programs_found import Tools
from tests.jobs import Jobs, broken, download_job, running_jobs
from tests.site import Site

OF_THE_SERVER = {
    *("auto_start", "cookies", "playlist", "preset", "priority", "reuse", "start_at", "title", "webhook"),
    "library",
}


@pytest.fixture(scope="module")
def children() -> Iterator[Jobs]:
    with running_jobs() as children:
        yield children


def sent(job: jobs.Job) -> dict[str, Any]:
    message: dict[str, Any] = json.loads(json.dumps(jobs.to_message(job)))
    return message


def without(message: dict[str, Any], name: str) -> dict[str, Any]:
    return {other: value for other, value in message.items() if other != name}


MESSAGE = sent(download_job(Path("/w")))


def test_every_field_of_a_request_is_for_children_or_for_the_server_alone() -> None:
    assert (
        sent(download_job(Path("/w")))["wishes"].keys() == ProcessRequest.model_fields.keys() - OF_THE_SERVER
    )


def test_a_job_arrives_as_it_was_sent() -> None:
    job = download_job(
        Path("/w"), "http://a.test/é", outputs=["audio"], live="record", audio_quality=96, max_filesize=7
    )
    assert jobs.from_message(sent(job)) == job
    assert (job.wishes.outputs, job.wishes.audio_quality, job.max_filesize) == (("audio",), 96, 7)


def test_settings_and_tools_are_handed_on() -> None:
    settings = DownloadSettings(
        allowed_private_hosts=("10.0.0.0/8",),
        proxy="http://127.0.0.1:3128",
        rate_limit=5,
        max_filesize=6,
        max_playlist=7,
        extractor_args={"youtube": {"player_client": ["tv", "web"]}},
        pot_provider="bgutil:http://127.0.0.1:4416",
        sponsorblock_api="http://10.0.0.5:8000/",
    )
    job = JobMaker(settings, Tools("/bin/ffmpeg", "/bin/deno")).info(
        InfoRequest(url="http://a.test/"), Path("/w"), Path("/w.lock"), "text"
    )
    assert sent(job) | {"wishes": None} == {
        "kind": "info",
        "check": None,
        "plugins": None,
        "pictures": [],
        "directory": "/w",
        "lock": "/w.lock",
        "wishes": None,
        "ffmpeg": "/bin/ffmpeg",
        "deno": "/bin/deno",
        "allowed_private_hosts": ["10.0.0.0/8"],
        "proxy": "http://127.0.0.1:3128",
        "rate_limit": 5,
        "max_filesize": 6,
        "item": None,
        "accept_gaps": False,
        "tells_about": False,
        "says": {},
        "lists": None,
        "title": None,
        "known": 0,
        "max_playlist": 7,
        "cookies": "text",
        "extractor_args": {"youtube": {"player_client": ["tv", "web"]}},
        "pot_provider": "bgutil:http://127.0.0.1:4416",
        "sponsorblock_api": "http://10.0.0.5:8000",
        "players": {},
    }


@pytest.mark.parametrize(
    "message",
    [
        MESSAGE | {"cakes": "mine"},
        MESSAGE | {"wishes": MESSAGE["wishes"] | {"cakes": "mine"}},
        MESSAGE | {"wishes": "mine"},
        without(MESSAGE, "proxy"),
        without(MESSAGE, "wishes"),
        MESSAGE | {"wishes": without(MESSAGE["wishes"], "url")},
        {},
    ],
)
def test_a_job_of_another_release_is_not_guessed_at(message: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="different releases"):
        jobs.from_message(message)


async def test_a_child_says_so(children: Jobs, tmp_path: Path) -> None:
    message = sent(download_job(tmp_path / "t")) | {"cakes": "mine"}
    async with children.send(tmp_path / "t", message) as child:
        outcome = await child.run()
    assert broken(outcome) == ("internal", False, None)
    assert "different releases: Job ['cakes']" in outcome.log


async def test_a_missing_ffmpeg_is_missed_where_it_is_needed(
    children: Jobs, site: Site, tmp_path: Path
) -> None:
    for path, outcome in (("/video.mp4", "produced"), ("/hls/ts/index.m3u8", "broken")):
        job = download_job(tmp_path / outcome, site.url(path), outputs=["video"])
        async with children.start(tmp_path / outcome, replace(job, ffmpeg="/nowhere/ffmpeg")) as child:
            last = (await child.run()).last
        assert (last["kind"], last.get("code", "ffmpeg_missing")) == (outcome, "ffmpeg_missing")
