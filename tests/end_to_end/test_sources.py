"""Sources that misbehave: each ends in a code, one sentence and, where there is one, a hint.

Only faults that another attempt may help are retried.
"""

import asyncio
import re
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.service import Payload, Service, Services
from tests.site import SECONDS, Site, probe, sha256
from tests.site.pages import TITLES

SETTINGS = {
    "CLIPWIRE_DOWNLOADS__STALL_TIMEOUT": "5",
    "CLIPWIRE_DOWNLOADS__RETRIES": "1",
    "CLIPWIRE_DOWNLOADS__PATIENCE": "2",
    "CLIPWIRE_DOWNLOADS__MAX_FILESIZE": "7 MiB",
    "CLIPWIRE_DOWNLOADS__MAX_CONCURRENT": "8",
    "CLIPWIRE_SERVER__LANGUAGE": "en",
}
CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")


@dataclass(frozen=True, slots=True)
class Fault:
    """A faulty link, the error code of its task, and the number of attempts."""

    path: str
    code: str
    attempts: int = 1
    hint: bool = True
    outputs: tuple[str, ...] = ("video",)


FAULTS = {
    "never answers": Fault("/1mb.mp4?wait=60", "timeout", 2),
    "stalls at once": Fault("/1mb.mp4?stall=0", "timeout", 2),
    "breaks off each time": Fault("/1mb.mp4?cut=100000&after=1&ranges=no", "incomplete", 3),
    "promises more than comes": Fault("/1mb.mp4?lie=500000&ranges=no", "incomplete", 3),
    "ends early and says so": Fault("/video.mp4?lie=-100000&ranges=no", "incomplete", 3),
    "has a fault that stays": Fault("/1mb.mp4?status=500", "http_500", 2),
    "is overloaded for ever": Fault("/1mb.mp4?status=429&retry_after=0", "http_429", 2),
    "forbids": Fault("/1mb.mp4?status=403", "http_403"),
    "is gone": Fault("/1mb.mp4?status=410", "http_410"),
    "is not there": Fault("/missing.mp4", "http_404"),
    "never ends": Fault("/endless.mp4?rate=40000000", "too_large"),
    "is larger than allowed": Fault("/8mb.mp4", "too_large"),
    "is larger than allowed and does not say so": Fault("/8mb.mp4?chunked=yes&ranges=no", "too_large"),
    "redirects for ever": Fault("/redirect/endless", "redirect_loop", hint=False),
    "is live": Fault("/hls/live/index.m3u8", "live_rejected"),
    "is garbage": Fault("/garbage.mp4", "no_media"),
    "has no video on its page": Fault("/page/blank", "unsupported_url"),
    "lacks a segment": Fault("/hls/ts/index.m3u8?missing=2", "http_404", 3),
    "unpacks without end": Fault("/bomb", "page_too_large"),
    "has no sound": Fault("/silent.mp4", "no_audio", outputs=("audio",)),
}


@pytest.mark.long
async def test_each_fault_has_its_code_its_sentence_and_as_many_attempts_as_can_help(
    services: Services, site: Site
) -> None:
    async with services.lend(**SETTINGS) as service:
        submitted = {name: await submit(service, site, fault) for name, fault in FAULTS.items()}
        ended = {name: await ending(service, task_id) for name, task_id in submitted.items()}
        found = {name: (payload.get("error_code"), payload["attempt"]) for name, payload in ended.items()}
        assert found == {name: (fault.code, fault.attempts) for name, fault in FAULTS.items()}
        for name, fault in FAULTS.items():
            check_words(ended[name], hint=fault.hint)
        assert service.complaints() == []


@pytest.mark.wide
@pytest.mark.parametrize(
    ("path", "resumed"),
    [
        pytest.param("/1mb.mp4?status=500&times=1", False, id="a fault that passes"),
        pytest.param(
            "/1mb.mp4?status=429&retry_after=2&times=1", False, id="too many requests", marks=pytest.mark.long
        ),
        pytest.param("/1mb.mp4?stall=600000&after=1&times=1", True, id="a stall"),
        pytest.param("/1mb.mp4?cut=600000&after=1&times=1", True, id="a break"),
        pytest.param("/1mb.mp4?lie=1000&after=1&times=1", True, id="a false length", marks=pytest.mark.long),
    ],
)
async def test_a_task_outlasts_a_passing_fault_and_its_file_is_whole(
    services: Services, site: Site, media: Path, tmp_path: Path, path: str, resumed: bool
) -> None:
    async with services.lend(**SETTINGS) as service:
        began = asyncio.get_running_loop().time()
        task = await service.submit(site.url(path), outputs=["video"])
        done = await service.wait(task["task_id"])
        fetched = await service.fetch(done["files"]["video"], tmp_path / "video.mp4")
        assert sha256(fetched) == sha256(media / "1mb.mp4")
        assert any(request.range for request in site.seen("/1mb.mp4")) is resumed
        if "retry_after" in path:
            assert asyncio.get_running_loop().time() - began > 2, "it did not wait as it was told to"
        assert service.complaints() == []


@pytest.mark.long
async def test_odd_titles_are_shown_unchanged_and_give_safe_file_names(
    service: Service, site: Site, tmp_path: Path
) -> None:
    tasks = [await service.submit(site.url(f"/page/{name}"), outputs=["video"]) for name in TITLES]
    for task in tasks:
        done = await service.wait(task["task_id"])
        title, link = done["video_info"]["title"], done["files"]["video"]
        assert title
        assert not CONTROL.search(title)
        assert re.fullmatch(r"/api/download/video(_[a-z0-9-]{1,60})?_[a-z2-7]{13}\.mp4", link)
        video = await probe(await service.fetch(link, tmp_path / "video.mp4"))
        assert video.duration == pytest.approx(SECONDS, abs=0.2)
    ids = {task["task_id"] for task in tasks}
    assert {path.name for path in (service.data / "files").iterdir()} == ids


async def submit(service: Service, site: Site, fault: Fault) -> str:
    task = await service.submit(site.url(fault.path), outputs=list(fault.outputs))
    return str(task["task_id"])


async def ending(service: Service, task_id: str) -> Payload:
    return await service.wait(task_id, "failed", "completed", within=60)


def check_words(failed: Payload, *, hint: bool) -> None:
    """Fail unless error, message and hint are one short sentence each, without words that only programs
    use.
    """
    assert (failed["status"], failed["progress"], failed["files"]) == ("error", 0, {})
    words = [failed["error"], failed["message"], failed.get("hint", "")]
    assert all(len(text) < 200 and "\n" not in text for text in words)
    assert not any(re.search(r"Error\b|Traceback|yt.dlp: |ERROR", text) for text in words), words
    assert failed["message"].startswith("Failed: ")
    assert bool(failed.get("hint")) is hint, failed
