"""The parts of yt-dlp that the child uses though yt-dlp does not promise them: are they there, and what
happens without them?
"""

import asyncio
import re
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from server.child.process import yt_dlp_parts
from server.commands import check
from server.settings import Settings, StorageSettings
from server.tasks import children, release_switch
from tests.inside import Inside, inside
from tests.service import ROOT
from tests.site import SECONDS, Site, probe

CHILD = ROOT / "server" / "child"
SPOILED = f"""
import sys
sys.path.append({str(ROOT)!r})
{{lines}}
from server.child import forkserver
forkserver.main()
"""
# A change to yt-dlp after which yt-dlp itself still works.
NO_APPENDING = """
import functools
from yt_dlp.downloader.fragment import FragmentFD
real = FragmentFD._append_fragment
del FragmentFD._append_fragment
def still(self, name):
    if name != "_append_fragment":
        raise AttributeError(name)
    return functools.partial(real, self)
FragmentFD.__getattr__ = still
"""
OTHER_DOWNLOAD = (
    "from yt_dlp.downloader.http import HttpFD\n"
    "real = HttpFD.real_download\n"
    "HttpFD.real_download = lambda self, name, info, other=None: real(self, name, info)"
)
NO_POPEN = "import yt_dlp.utils\ndel yt_dlp.utils.Popen.kill"

Spoil = Callable[[str], None]


@pytest.fixture
def spoil(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Spoil:
    """Change yt-dlp by some lines of Python, for all fork servers that start from now on."""

    def with_lines(lines: str) -> None:
        program = tmp_path / "spoiled.py"
        program.write_text(SPOILED.format(lines=lines))
        monkeypatch.setattr(children, "PROGRAM", program)
        for module in (release_switch, check):
            monkeypatch.setattr(module, "ForkServer", children.ForkServer)

    return with_lines


async def parts_of(service: Inside) -> tuple[int, dict[str, object]]:
    async with service.client.get("/readyz?lang=en") as answer:
        return answer.status, (await answer.json())["checks"]["yt_dlp_parts"]


def test_this_yt_dlp_has_all_that_is_borrowed_from_it() -> None:
    assert yt_dlp_parts.report() == []


def test_nothing_of_yt_dlp_is_replaced_that_is_not_in_the_table() -> None:
    replaced = {
        name
        for path in CHILD.rglob("*.py")
        for name in re.findall(
            r"^ +(?:\w+FD|FileDownloader|InfoExtractor|networking|FFmpegPostProcessor|.*_director\S*)"
            r"\.(\w+)(?:\.set\(| = )",
            path.read_text(),
            re.MULTILINE,
        )
    }
    names = {
        name.rpartition(".")[2].rpartition(":")[2]
        for part in yt_dlp_parts.TABLE.values()
        for name in part.names
    }
    assert len(replaced) > 10
    assert replaced <= names


@pytest.mark.wide
def test_the_table_has_nothing_that_is_not_used() -> None:
    code = "\n".join(path.read_text() for path in CHILD.rglob("*.py") if path.name != "yt_dlp_parts.py")
    names = {
        name.rpartition(".")[2].rpartition(":")[2]
        for part in yt_dlp_parts.TABLE.values()
        for name in part.names
    }
    unused = {name for name in names - {"__init__"} if not re.search(rf"\b{name}\b", code)}
    assert unused == set()


def test_parts_that_are_not_loaded_are_checked_by_their_source(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = "networking._curlcffi:CurlCFFIRH"
    written = tmp_path / "other.py"
    written.write_text("class CurlCFFIRH:\n    def _send(self, request, other):\n        pass\n")
    monkeypatch.setattr(yt_dlp_parts, "find_spec", lambda _: SimpleNamespace(origin=str(written)))
    assert yt_dlp_parts.missing("browser") == [f"{module}._create_instance", f"{module}._send"]


@pytest.mark.wide
@pytest.mark.parametrize(
    ("lines", "named", "path", "stall"),
    [
        (NO_APPENDING, "FragmentFD._append_fragment", "/hls/ts/index.m3u8", "only=2&stall=1000&times=1"),
        (OTHER_DOWNLOAD, "HttpFD.real_download", "/8mb.mp4", "stall=3000000&times=1&after=1"),
    ],
)
async def test_if_a_borrowed_part_is_gone_or_changed_yt_dlp_does_its_work_and_downloads_begin_anew(
    spoil: Spoil, lines: str, named: str, path: str, stall: str, site: Site, tmp_path: Path
) -> None:
    spoil(lines)
    async with inside(tmp_path) as service:
        url = site.url(f"{path}?{stall}")
        task_id = await service.submit(url=url, outputs=["video"], video_format="any", auto_start=True)
        await site.stalled()
        while not any(part.stat().st_size for part in service.work(task_id).glob("*.mp4.part")):
            await asyncio.sleep(0.01)
        for action in ("pause", "resume"):
            async with service.client.post(f"/api/tasks/{task_id}/{action}") as answer:
                assert answer.status == 200
        done = await service.reached(task_id, "completed")
        status, parts = await parts_of(service)
        async with service.client.get(done["files"]["video"]) as answer:
            (tmp_path / "film").write_bytes(await answer.read())
    assert (await probe(tmp_path / "film")).duration == pytest.approx(SECONDS, abs=0.3)
    assert (status, parts["ok"], parts["needed"]) == (200, False, False)
    assert named in str(parts["detail"])
    assert "begins anew" in str(parts["detail"])


@pytest.mark.wide
async def test_without_a_part_that_every_job_needs_no_job_begins(
    spoil: Spoil, site: Site, tmp_path: Path
) -> None:
    spoil(NO_POPEN)
    async with inside(tmp_path) as service:
        task_id = await service.submit(url=site.url("/video.mp4"), auto_start=True)
        status, parts = await parts_of(service)
        while parts["ok"]:
            await asyncio.sleep(0.05)
            status, parts = await parts_of(service)
        assert (status, parts["needed"]) == (503, True)
        assert "utils:Popen.kill: no job is begun" in str(parts["detail"])
        assert (await service.status(task_id))["stage"] == "queued"
    assert site.requests == []


@pytest.mark.wide
async def test_check_says_what_of_yt_dlp_is_missing(
    spoil: Spoil, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = Settings(storage=StorageSettings(data_dir=tmp_path / "data"))
    spoil(NO_APPENDING)
    assert await check.check(settings) == 0
    assert "warn  yt_dlp_parts: downloader.fragment:FragmentFD._append_fragment" in capsys.readouterr().out
    spoil(NO_POPEN)
    assert await check.check(settings) == 1
    assert "FAIL  yt_dlp_parts: utils:Popen.kill" in capsys.readouterr().out
