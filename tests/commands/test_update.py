"""`clipwire update`: the real pip installs releases from a real index, and each is tested."""

import asyncio
import json
import signal
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from server.commands import pip_index, self_test
from server.commands.pip_index import NoNewRelease, newest
from server.commands.self_test import UnfitRelease
from server.tasks.yt_dlp_releases import Releases, installed
from tests.commands.shell import Ran, Shell
from tests.fakes.yt_dlp_index import (
    NEWER,
    NEWEST,
    NO_EXTRACTION,
    NO_IMPORT,
    Index,
    lay_out,
    running_index,
)


@pytest.fixture
def index() -> Iterator[Index]:
    with running_index() as index:
        yield index


@pytest.fixture
def releases(tmp_path: Path) -> Releases:
    return Releases(tmp_path / "data")


def shell(tmp_path: Path, index: Index, **more: str) -> Shell:
    return Shell(tmp_path, CLIPWIRE_DOWNLOADS__MIN_FREE_DISK="0", **index.environment | more)


async def update(tmp_path: Path, index: Index, *arguments: str, **more: str) -> Ran:
    """Run `clipwire update`. It compiles some thousand modules, which takes a while on a busy machine."""
    process = await shell(tmp_path, index, **more).start("update", *arguments)
    return await process.end(within=240)


def left(releases: Releases) -> list[str]:
    """Return the names of the folders of releases."""
    return sorted(path.name for path in releases.root.iterdir() if path.is_dir())


@pytest.mark.long
async def test_a_newer_release_is_brought_and_chosen_once(
    tmp_path: Path, index: Index, releases: Releases
) -> None:
    index.put(NEWER)
    ran = await update(tmp_path, index, PIP_PREFIX=str(tmp_path / "other"), PIP_ROOT=str(tmp_path / "other"))
    assert (ran.status, ran.err) == (0, "")
    assert not (tmp_path / "other").exists()
    assert ran.out.startswith(f"yt-dlp {NEWER} is used by new tasks from now on, in place of {installed()}")
    assert releases.chosen() == NEWER
    assert left(releases) == [NEWER]
    assert (releases.folder(NEWER) / "yt_dlp/__pycache__").is_dir(), "jobs would compile it again and again"
    check = await shell(tmp_path, index).run("check")
    assert f"yt_dlp: {NEWER}" in check.out
    again = await update(tmp_path, index)
    assert (again.status, again.out) == (0, f"yt-dlp {NEWER} is in use, and there is no newer release\n")


@pytest.mark.long
@pytest.mark.parametrize("as_json", [False, True])
async def test_without_a_newer_release_nothing_is_brought(
    tmp_path: Path, index: Index, releases: Releases, as_json: bool
) -> None:
    index.as_json = as_json
    index.put(installed())
    index.put("2020.1.1")
    ran = await update(tmp_path, index)
    assert (ran.status, ran.out) == (0, f"yt-dlp {installed()} is in use, and there is no newer release\n")
    assert (releases.chosen(), left(releases)) == (None, [])
    assert releases.read().outcome == "none_newer"


@pytest.mark.long
async def test_a_release_for_another_python_is_passed_over(tmp_path: Path, index: Index) -> None:
    index.put(installed())
    index.put(NEWEST, requires_python=">=3.99")
    assert "there is no newer release" in (await update(tmp_path, index)).out


@pytest.mark.wide
async def test_what_pip_is_told_about_installing_does_not_keep_it_from_looking(
    tmp_path: Path, index: Index
) -> None:
    (tmp_path / "pip.conf").write_text("[global]\nrequire-hashes = true\n[install]\nuser = true\n")
    index.put(installed())
    ran = await update(tmp_path, index, PIP_CONFIG_FILE=str(tmp_path / "pip.conf"))
    assert "there is no newer release" in ran.out, ran


@pytest.mark.wide
@pytest.mark.parametrize(
    ("sha256", "why"),
    [
        ("0" * 64, "a file is not the one whose hash the index names"),
        pytest.param(None, f"the index names no hash of yt-dlp {NEWER}", marks=pytest.mark.long),
    ],
)
async def test_a_file_that_has_not_the_hash_of_the_index_is_refused(
    tmp_path: Path, index: Index, releases: Releases, sha256: str | None, why: str
) -> None:
    index.put(NEWER, sha256=sha256)
    ran = await update(tmp_path, index)
    assert (ran.status, ran.out) == (1, "")
    assert why in ran.err
    assert f"{installed()} stays in use" in ran.err
    assert (releases.chosen(), left(releases)) == (None, [])


@pytest.mark.wide
@pytest.mark.parametrize("broken", [NO_EXTRACTION, NO_IMPORT])
async def test_a_release_that_does_not_pass_its_test_is_refused(
    tmp_path: Path, releases: Releases, broken: tuple[str, str, str]
) -> None:
    lay_out(tmp_path / "new", NEWER, broken)
    with pytest.raises(UnfitRelease):
        await self_test.self_test(tmp_path / "new", tmp_path)


@pytest.mark.wide
async def test_of_a_release_that_hangs_it_is_said_that_it_hangs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The release never finishes its import, so the short limit makes no difference to the outcome."""
    path, before, _ = NO_IMPORT
    lay_out(tmp_path / "new", NEWER, (path, before, f"import threading\nthreading.Event().wait()\n{before}"))
    monkeypatch.setattr(self_test, "WARM_WITHIN", 1.0)
    with pytest.raises(UnfitRelease, match="it hangs: it did not start within 1 seconds"):
        await self_test.self_test(tmp_path / "new", tmp_path)


async def test_a_fit_release_passes(tmp_path: Path) -> None:
    lay_out(tmp_path / "new", NEWER)
    assert await self_test.self_test(tmp_path / "new", tmp_path) == NEWER


@pytest.mark.long
async def test_what_was_refused_leaves_the_old_one_and_is_said(
    tmp_path: Path, index: Index, releases: Releases
) -> None:
    index.put(NEWER, NO_EXTRACTION)
    ran = await update(tmp_path, index)
    assert ran.status == 1
    assert ran.err.startswith(f"clipwire: yt-dlp {NEWER} did not pass its test: a page with a sound in it")
    assert (releases.chosen(), left(releases)) == (None, [])
    assert releases.read().refused == {NEWER: "self_test"}
    index.put(NEWEST)
    assert (await update(tmp_path, index)).status == 0
    assert releases.chosen() == NEWEST


@pytest.mark.long
async def test_an_index_that_is_away_is_said(tmp_path: Path, index: Index, releases: Releases) -> None:
    away = {**index.environment, "PIP_INDEX_URL": "http://user:hunter2@127.0.0.1:9/index"}
    ran = await Shell(tmp_path, CLIPWIRE_DOWNLOADS__MIN_FREE_DISK="0", **away).run("update")
    assert ran.status == 1
    assert "the index does not answer, or has no wheel of yt-dlp for this Python" in ran.err
    assert "hunter2" not in ran.err + ran.out
    assert releases.read().outcome == "failed"


@pytest.mark.wide
async def test_an_index_that_hangs_is_left(
    tmp_path: Path, index: Index, monkeypatch: pytest.MonkeyPatch
) -> None:
    hanging = threading.Event()

    def hang(number: int, path: str) -> None:
        hanging.wait(60)

    index.before = hang
    for name, value in index.environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(pip_index, "ASK_WITHIN", 3.0)
    try:
        with pytest.raises(NoNewRelease, match="the index did not answer within 3 seconds"):
            await newest(tmp_path)
    finally:
        hanging.set()


async def test_without_pip_the_update_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pip_index, "find_spec", lambda name: None)
    with pytest.raises(NoNewRelease, match="pip is not installed in this environment"):
        await newest(tmp_path)


@pytest.mark.wide
async def test_a_disk_that_is_nearly_full_is_left_alone(
    tmp_path: Path, index: Index, releases: Releases
) -> None:
    index.put(NEWER)
    full = {**shell(tmp_path, index).environment, "CLIPWIRE_DOWNLOADS__MIN_FREE_DISK": "1000 TiB"}
    ran = await Shell(tmp_path, **full).run("update")
    assert ran.status == 1
    assert "there is too little room on the disk" in ran.err
    assert index.asked == []


@pytest.mark.long
async def test_of_two_updates_at_once_one_brings_it(tmp_path: Path, index: Index, releases: Releases) -> None:
    index.put(NEWER)
    one, two = await asyncio.gather(update(tmp_path, index), update(tmp_path, index))
    assert (one.status, two.status) == (0, 0)
    assert sorted(ran.out.split()[2:4] for ran in (one, two)) == [["is", "in"], ["is", "used"]]
    assert (releases.chosen(), left(releases)) == (NEWER, [NEWER])


@pytest.mark.long
async def test_a_release_that_was_given_up_is_taken_again_only_by_wish(
    tmp_path: Path, index: Index, releases: Releases
) -> None:
    index.put(NEWER)
    releases.root.mkdir(parents=True)
    lay_out(releases.folder(NEWER), NEWER)
    releases.change(lambda state: state.model_copy(update={"chosen": NEWER}))
    releases.go_back(NEWER, "internal", "2026-12-02T00:00:00Z")
    assert releases.chosen() is None
    ran = await update(tmp_path, index)
    assert ran.status == 1
    assert "was given up after three crashes in a row" in ran.err
    again = await update(tmp_path, index, "--again")
    assert again.status == 0
    assert (releases.chosen(), releases.read().refused) == (NEWER, {})


@pytest.mark.long
@pytest.mark.parametrize("moment", ["asked 0", "asked 2", "asked 4", "packages", "work", "named"])
async def test_a_kill_at_any_moment_leaves_a_working_release_and_no_hindrance(
    tmp_path: Path, index: Index, releases: Releases, moment: str
) -> None:
    index.put(NEWER)
    process = await shell(tmp_path, index).start("update")
    reached = threading.Event()

    def look(number: int, path: str) -> None:
        if moment == f"asked {number}":
            reached.set()

    index.before = look
    async with asyncio.timeout(240):
        while not reached.is_set() and not process.has_ended:
            named = releases.folder(NEWER).is_dir() if moment == "named" else False
            if named or any(releases.root.glob(f"new-*/{moment}")):
                reached.set()
            await asyncio.sleep(0.002)
    assert reached.is_set(), "it had ended before"
    process.send_signal(signal.SIGKILL)
    await process.end()
    chosen = releases.chosen()
    assert chosen is None or moment == "named"
    check = await shell(tmp_path, index).run("check")
    assert f"yt_dlp: {chosen or installed()}" in check.out
    again = await update(tmp_path, index)
    assert (again.status, again.err) == (0, "")
    assert (releases.chosen(), left(releases)) == (NEWER, [NEWER])


def test_a_damaged_state_means_the_installed_release(releases: Releases) -> None:
    releases.change(lambda state: state.model_copy(update={"chosen": NEWER}))
    lay_out(releases.folder(NEWER), NEWER)
    assert releases.chosen() == NEWER
    (releases.root / "state.json").write_text(json.dumps({"chosen": 7}))
    assert releases.chosen() is None
    (releases.root / "state.json").write_text("")
    assert releases.chosen() is None


def test_an_installed_release_that_is_newer_by_now_is_preferred(releases: Releases) -> None:
    old = "2020.1.1"
    lay_out(releases.folder(old), old)
    releases.change(lambda state: state.model_copy(update={"chosen": old}))
    assert releases.chosen() is None
