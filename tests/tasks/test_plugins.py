"""The operator's plugins for yt-dlp: they are found, tried and given to jobs, even if some of them are
broken.
"""

import asyncio
import json
import logging
import os
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from server.core.process_request import ProcessRequest
from server.locales import LANGUAGES
from server.settings import DownloadSettings
from server.tasks import plugin_trials as under_test
from server.tasks.fork_servers import ForkServers
from server.tasks.job_builder import JobMaker
from server.tasks.plugin_trials import NONE, PluginsFound, plugins_of
from server.tasks.programs_found import find_tools
from server.tasks.readiness import plugins_check
from tests.plugins import SAMPLE, PluginFolder
from tests.site import Site

WITHIN = 60.0  # seconds, enough for a busy machine
REPLACING = """
from yt_dlp.extractor.{module} import {name}

class _Other({name}, plugin_name="ours"):
    def _real_extract(self, url):
        return {{**super()._real_extract(url), "title": "Replaced"}}
"""

HANGS = """
import time
while True:
    try:
        time.sleep(9)
    except BaseException:
        pass
"""
BROKEN = {
    "a_syntax": "def broken(:\n",
    "b_raises": "import not_there\n",
    "c_exits": "import sys\nsys.exit('gone')\n",
    "d_dies": "import os\nos._exit(0)\n",
    "e_pattern": SAMPLE.replace('r"https', 'r"(https').replace("Sample", "Broken"),
    "f_asked": SAMPLE.replace("Sample", "Asked")
    + """
    @classmethod
    def suitable(cls, url):
        raise ValueError(url)
""",
    "g_patches": SAMPLE.replace("Sample", "Patches")
    + """
import socket
socket.socket = None
""",
}
SLOW = """
import os
from pathlib import Path

if Path({hidden!r}).exists():
    os._exit(0)
"""
ODD = """
    @classmethod
    def suitable(cls, url):
        return "plugin.invalid" not in url and 1 / 0
"""
CONFINED = """
from pathlib import Path

here = Path(__file__).parent
assert (here / "data.txt").read_text() == "ours"
for path, how in ((here / "new.txt", "w"), ({secret!r}, "r"), ({new!r}, "w")):
    try:
        open(path, how).close()
    except OSError:
        continue
    raise AssertionError(path)
"""


class Rig:
    """Runs jobs on a real fork server, with the plugins of `folder`."""

    def __init__(self, servers: ForkServers, folder: PluginFolder, jobs: JobMaker, scratch: Path) -> None:
        self.servers, self.folder = servers, folder
        self._jobs, self._scratch = jobs, scratch

    async def found(self) -> PluginsFound:
        async with asyncio.timeout(WITHIN):
            found = await self.servers.plugins(WITHIN)
        assert found
        return found

    async def run(self, url: str) -> dict[str, Any]:
        """Run a job that reads a link; return its last event."""
        name = f"job-{len(list(self._scratch.iterdir()))}"
        directory = self._scratch / name
        request = ProcessRequest(url=url)
        job = self._jobs.job("info", request, directory, directory.with_suffix(".lock"))
        async with asyncio.timeout(WITHIN):
            child = await self.servers.start(name, job, directory.with_suffix(".log"))
            last: dict[str, Any] = {}
            while line := await child.read_line():
                last = json.loads(line)
            await child.stop()
        return last


@pytest.fixture
async def rig(tmp_path: Path, site: Site) -> AsyncIterator[Rig]:
    scratch, folder = tmp_path / "scratch", PluginFolder(tmp_path / "plugins")
    scratch.mkdir()
    settings = DownloadSettings(plugins=folder.path, allowed_private_hosts=("127.0.0.1",))
    jobs = JobMaker(settings, find_tools())
    plugins = plugins_of(jobs, lambda: scratch)
    async with ForkServers(jobs.tools.ffmpeg, jobs.tools.deno, tmp_path, None, plugins) as servers:
        async with asyncio.timeout(WITHIN):
            await servers.warm()
        yield Rig(servers, folder, jobs, scratch)
    assert [path.name for path in scratch.iterdir() if path.name.startswith("plugins.")] == []


def titles(found: PluginsFound) -> list[str]:
    return sorted(plugin.title for plugin in found.fit)


async def test_plugins_in_folders_and_archives_are_named_and_used(rig: Rig, site: Site) -> None:
    rig.folder.write("sample", SAMPLE)
    other = SAMPLE.replace("Sample", "Second").replace("sample", "second").replace("__version__", "_")
    rig.folder.write_zip("second", other, "3.4")
    found = await rig.found()
    assert (titles(found), found.broken) == (["sample 1.2 (Sample)", "second 3.4 (Second)"], [])
    for name, key in (("sample", "Sample"), ("second", "Second")):
        last = await rig.run(site.url(f"/{name}/a"))
        assert (last["kind"], last["info"]["title"]) == ("extracted", f"A {name}"), last
        assert last["info"]["extractor_key"] == key
    assert not list(rig.folder.path.rglob("__pycache__")), "children write nothing there"


async def test_a_broken_plugin_costs_one_line_and_none_of_the_others(
    rig: Rig, site: Site, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    for name, text in BROKEN.items():
        rig.folder.write(name, text)
    rig.folder.write("sample", SAMPLE)
    found = await rig.found()
    assert titles(found) == ["sample 1.2 (Sample)"]
    broken = {line.partition(": ")[0]: line.partition(": ")[2] for line in found.broken}
    assert broken.keys() == BROKEN.keys()
    assert broken["a_syntax"].startswith("SyntaxError: ")
    assert broken["b_raises"] == "ModuleNotFoundError: No module named 'not_there' (b_raises.py, line 1)"
    assert broken["c_exits"] == "SystemExit: gone (c_exits.py, line 2)"
    assert broken["d_dies"] == "it ends the process that loads it"
    assert broken["e_pattern"].startswith(("error: ", "PatternError: "))
    assert broken["f_asked"].startswith("ValueError: ")
    assert broken["g_patches"] == "RuntimeError: it replaces socket.socket, which all jobs need"
    last = await rig.run(site.url("/sample/a"))
    assert (last["kind"], last["info"]["title"]) == ("extracted", "A sample"), last
    await rig.found()
    lines = [line for line in caplog.messages if "left out" in line]
    assert len(lines) == len(broken), lines
    check = plugins_check(found)
    assert (check.ok, check.needed) == (False, False)
    assert str(rig.folder.path) not in str(check.entry(LANGUAGES["en"]))


async def test_a_plugin_that_hangs_is_left_when_its_time_is_up(rig: Rig) -> None:
    assert (await rig.found()).broken == [NONE]  # waits until no trial of plugins is under way
    rig.folder.write("hangs", HANGS)
    assert (await rig.found()).broken == ["hangs: it takes more than 10 s to load"]


@pytest.mark.wide
async def test_a_change_in_the_folder_holds_for_the_next_job(rig: Rig, site: Site) -> None:
    assert (await rig.found()).broken == [NONE]
    assert (await rig.run(site.url("/sample/a")))["kind"] == "broken"
    path = rig.folder.write("sample", SAMPLE)
    assert (await rig.run(site.url("/sample/a")))["info"]["title"] == "A sample"
    path.write_text(SAMPLE.replace("A sample", "Another"))
    assert (await rig.run(site.url("/sample/a")))["info"]["title"] == "Another"
    path.write_text("raise OSError")
    assert (await rig.run(site.url("/sample/a")))["kind"] == "broken"
    assert (await rig.found()).broken == ["sample: OSError (sample.py, line 1)"]
    path.unlink()
    path.parent.parent.parent.rename(rig.folder.path.parent / "elsewhere")
    rig.folder.path.rmdir()
    assert (await rig.found()).broken == ["there is no such folder"]
    assert (await rig.run(site.url("/video.mp4")))["kind"] == "extracted"


def test_a_folder_that_holds_far_too_much_is_looked_at_in_part(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    everything = tmp_path / "everything"
    everything.mkdir()
    for number in range(50):
        (everything / f"{number}.txt").touch()
    plugin = tmp_path / "plugins" / "one"
    plugin.mkdir(parents=True)
    (plugin / "yt_dlp_plugins").symlink_to(everything)
    found = list[Path]()
    rglob = Path.rglob

    def counted(self: Path, pattern: str) -> Iterator[Path]:
        for path in rglob(self, pattern):
            found.append(path)
            yield path

    monkeypatch.setattr(Path, "rglob", counted)
    monkeypatch.setattr(under_test, "MOST_FILES", 10)
    assert under_test.fingerprint(plugin.parent) == under_test.fingerprint(plugin.parent)
    assert len(found) <= 2 * 10


async def test_what_has_not_changed_is_tried_once(rig: Rig, site: Site) -> None:
    rig.folder.write("sample", SAMPLE)
    first = await rig.found()
    await rig.run(site.url("/sample/a"))
    assert await rig.found() is first
    assert list(await asyncio.gather(rig.found(), rig.found())) == [first, first]


async def test_one_that_hung_is_tried_again_while_nobody_waits(
    rig: Rig, site: Site, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The cause is a file outside of the folder, so for the service nothing has changed."""
    monkeypatch.setattr(under_test, "RETRY_AFTER", 0.0)
    hidden = rig.folder.path / "sample" / "slow.txt"
    rig.folder.write("sample", SLOW.format(hidden=str(hidden)) + SAMPLE)
    hidden.write_text("yes")
    assert (await rig.found()).broken == ["sample: it ends the process that loads it"]
    hidden.unlink()
    async with asyncio.timeout(WITHIN):
        while titles(await rig.found()) != ["sample 1.2 (Sample)"]:
            await asyncio.sleep(0.05)
    found = await rig.found()
    assert await rig.found() is found, "what works is not tried again"


@pytest.mark.parametrize(("module", "name", "path"), [("generic", "GenericIE", "/video.mp4")])
async def test_a_plugin_may_replace_an_extractor(
    rig: Rig, site: Site, module: str, name: str, path: str
) -> None:
    rig.folder.write("ours", REPLACING.format(module=module, name=name))
    assert titles(await rig.found()) == ["ours (Generic)"]
    last = await rig.run(site.url(path))
    assert (last["info"]["title"], last["info"]["extractor_key"]) == ("Replaced", "Generic")


async def test_an_extractor_that_yt_dlp_loads_late_is_replaced_too(rig: Rig, site: Site) -> None:
    rig.folder.write(
        "ours",
        "from yt_dlp.extractor.vimeo import VimeoIE\n\n"
        "class _Other(VimeoIE, plugin_name='ours'):\n"
        "    def _real_extract(self, url):\n"
        f"        return {{'id': '1', 'title': 'Replaced', 'url': {site.url('/video.mp4')!r}}}\n",
    )
    assert titles(await rig.found()) == ["ours (Vimeo)"]
    last = await rig.run("https://vimeo.com/1")
    assert last["info"]["title"] == "Replaced", last


async def test_half_of_a_plugin_that_fails_later_replaces_nothing(rig: Rig, site: Site) -> None:
    rig.folder.write("ours", REPLACING.format(module="generic", name="GenericIE") + "\nraise ValueError\n")
    rig.folder.write("sample", SAMPLE)
    assert titles(await rig.found()) == ["sample 1.2 (Sample)"]
    assert (await rig.run(site.url("/video.mp4")))["info"]["title"] != "Replaced"


async def test_an_extractor_that_fails_when_it_is_asked_keeps_nobody_from_another(
    rig: Rig, site: Site
) -> None:
    rig.folder.write("odd", SAMPLE.replace("Sample", "Odd") + ODD)
    assert titles(await rig.found()) == ["odd 1.2 (Odd)"]
    assert (await rig.run(site.url("/video.mp4")))["kind"] == "extracted"


async def test_a_plugin_is_in_the_sandbox(rig: Rig, site: Site, tmp_path: Path) -> None:
    """The plugin reads its own folder, writes nothing there, and reaches no other file, not even through a
    link.
    """
    secret = tmp_path / "secret.py"
    secret.write_text("x = 1")
    mine = rig.folder.write("sample", SAMPLE)
    (mine.parent / "data.txt").write_text("ours")
    mine.write_text(SAMPLE + CONFINED.format(secret=str(secret), new=str(tmp_path / "new.txt")))
    linked = rig.folder.path / "linked" / "yt_dlp_plugins" / "extractor"
    linked.mkdir(parents=True)
    os.symlink(secret, linked / "linked.py")
    found = await rig.found()
    assert titles(found) == ["sample 1.2 (Sample)"], found.broken
    assert [line.partition(":")[0] for line in found.broken] == ["linked"]


@pytest.mark.wide
async def test_many_that_hang_are_given_up_together(
    rig: Rig, site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(under_test.MOST_ENDS + 3):
        rig.folder.write(f"dies{number}", "import os\nos._exit(3)\n")
    rig.folder.write("sample", SAMPLE)
    found = await rig.found()
    assert (titles(found), len(found.broken)) == ([], under_test.MOST_ENDS + 1)
    assert (await rig.run(site.url("/video.mp4")))["kind"] == "extracted"
