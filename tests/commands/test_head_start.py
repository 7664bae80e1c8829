"""The fork server is launched before the service is imported, if the command needs one."""

import gc
import json
from pathlib import Path

import psutil  # type: ignore[import-untyped]
import pytest

from server.commands import cli, head_start, serve
from server.commands.head_start import launch_early
from server.settings import Settings
from server.tasks.children import Launched
from server.tasks.yt_dlp_releases import Releases, State
from tests.bench.programs import Clipwire


def settings(folder: Path, **storage: str) -> Settings:
    return Settings.model_validate({"storage": {"data_dir": folder, **storage}})


def test_only_a_machine_alone_on_the_installed_release_launches_early(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    launched: list[str] = []

    def launch(config: str) -> None:
        launched.append(config)

    monkeypatch.setattr(head_start, "launch", launch)
    launch_early(settings(tmp_path))
    assert json.loads(launched.pop()).keys() == {"ffmpeg", "deno", "cache"}
    assert not list(tmp_path.iterdir()), "the folder is not locked yet"
    launch_early(settings(tmp_path, database="postgresql://db/clipwire", files="s3://bucket"))
    releases = Releases(tmp_path)
    releases.change(lambda _: State(chosen="2099.01.01"))
    releases.folder("2099.01.01").mkdir()
    launch_early(settings(tmp_path))
    assert not launched


def test_a_fork_server_that_cannot_be_launched_yet_is_left_to_the_service(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(config: str) -> Launched:
        raise BlockingIOError

    monkeypatch.setattr(head_start, "launch", fail)
    assert launch_early(settings(tmp_path)) is None


def test_a_service_that_does_not_start_leaves_no_fork_server(monkeypatch: pytest.MonkeyPatch) -> None:
    ended: list[str] = []

    class Fork:
        def end(self) -> None:
            ended.append("fork server")

    def fail(*_: object) -> int:
        raise RuntimeError

    monkeypatch.setattr(head_start, "launch_early", lambda _: Fork())
    monkeypatch.setattr(serve, "serve", fail)
    with pytest.raises(RuntimeError):
        cli.run(["serve"], "clipwire")
    assert ended == ["fork server"]
    assert gc.isenabled()


@pytest.mark.wide
async def test_the_service_takes_the_one_that_was_launched(tmp_path: Path) -> None:
    async with Clipwire(tmp_path) as server:
        [fork_server] = psutil.Process(server.pid).children()
        began = psutil.Process(server.pid).create_time()
        listening = (tmp_path / "data" / "clipwire.lock").stat().st_ctime
        assert began < fork_server.create_time() < listening
