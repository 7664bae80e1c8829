"""The operator's plugins for yt-dlp with the whole service: used, named, changed, and left out."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from server.tasks.yt_dlp_releases import installed
from tests.commands.shell import Shell
from tests.end_to_end.test_updates import WITHIN, checks, choose
from tests.fakes.yt_dlp_index import NEWER
from tests.plugins import SAMPLE, PluginFolder
from tests.service import Service
from tests.site import Site

WHERE = """
import os

HERE = os.getpid()

from yt_dlp.extractor.common import InfoExtractor

class WhereIE(InfoExtractor):
    _VALID_URL = r"https?://[^/]+/where/(?P<id>\\w+)"

    def _real_extract(self, url):
        own = "own" if HERE == os.getpid() else "another"
        film = url.partition("/where/")[0] + "/video.mp4"
        return {"id": "a", "title": f"imported by {own}", "url": film}
"""
OF_ONE_RELEASE = f"""
from yt_dlp.version import __version__ as release

assert release == {installed()!r}, "made for another release"
{SAMPLE}"""
PLAIN = {"outputs": ["video"], "video_format": "any"}


@pytest.fixture
def folder(tmp_path: Path) -> PluginFolder:
    return PluginFolder(tmp_path / "plugins")


@pytest.fixture
async def service(folder: PluginFolder, tmp_path: Path) -> AsyncIterator[Service]:
    folder.write("where", WHERE)
    async with Service(tmp_path, CLIPWIRE_DOWNLOADS__PLUGINS=str(folder.path)) as service:
        await service.ready()
        yield service


async def told_of(service: Service, part: str) -> Any:
    """Wait until what `/readyz` says of plugins contains `part`; return it."""
    async with asyncio.timeout(WITHIN):
        while part not in (found := (await checks(service))["plugins"])["detail"]:
            await asyncio.sleep(0.1)
    return found


async def test_a_download_uses_a_plugin_that_its_own_child_has_imported(
    service: Service, folder: PluginFolder, site: Site
) -> None:
    told = await told_of(service, "where")
    assert told == {"ok": True, "needed": False, "detail": "where (Where)"}
    task = await service.submit(site.url("/where/a"), **PLAIN)
    done = await service.wait(task["task_id"], "completed")
    info = done["video_info"]
    assert (info["title"], info["extractor_key"]) == ("imported by own", "Where")
    folder.write("broken", "import this is no Python\n")
    told = await told_of(service, "left out")
    assert told["detail"].startswith("where (Where); left out: broken: SyntaxError: ")
    assert str(folder.path) not in told["detail"]
    assert not told["needed"], "the service works all the same"
    again = await service.submit(site.url("/where/b"), **PLAIN)
    await service.wait(again["task_id"], "completed")
    lines = [line for line in service.log if "left out" in line]
    assert len(lines) == 1, lines


@pytest.mark.long
async def test_a_plugin_that_another_release_breaks_is_left_out_and_the_release_is_used(
    service: Service, folder: PluginFolder, site: Site
) -> None:
    folder.write("sample", OF_ONE_RELEASE)
    assert (await told_of(service, "sample"))["ok"]
    choose(service, NEWER)
    told = await told_of(service, "left out")
    assert "sample: AssertionError: made for another release (sample.py, line 4)" in told["detail"]
    assert (await checks(service))["yt_dlp"]["detail"].startswith(NEWER)
    task = await service.submit(site.url("/where/a"), **PLAIN)
    await service.wait(task["task_id"], "completed")


@pytest.mark.long
async def test_check_names_plugins_without_a_server(folder: PluginFolder, tmp_path: Path) -> None:
    settings = {"CLIPWIRE_DOWNLOADS__PLUGINS": str(folder.path), "CLIPWIRE_DOWNLOADS__MIN_FREE_DISK": "0"}
    shell = Shell(tmp_path, **settings)
    folder.write("sample", SAMPLE)
    assert "\nok    plugins: sample 1.2 (Sample)\n" in (await shell.run("check")).out
    folder.write("broken", "raise ValueError\n")
    ran = await shell.run("check")
    assert "\nwarn  plugins: sample 1.2 (Sample); left out: broken: ValueError (broken.py" in ran.out
    assert not (tmp_path / "data").exists(), "it changes nothing"
    none = await Shell(tmp_path, CLIPWIRE_DOWNLOADS__MIN_FREE_DISK="0").run("check")
    assert "plugins" not in none.out
