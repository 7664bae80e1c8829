"""Which ffmpeg the service gives to children."""

import os
from pathlib import Path

import pytest

from server.tasks.programs_found import bundled_ffmpeg, find_tools


@pytest.fixture
def systems(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """An ffmpeg of the system, which comes first on the `PATH`."""
    program = tmp_path / "ffmpeg"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o700)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.delenv("IMAGEIO_FFMPEG_EXE", raising=False)
    return str(program)


def test_the_ffmpeg_of_the_wheel_is_preferred_to_the_systems(systems: str) -> None:
    assert find_tools().ffmpeg == (bundled_ffmpeg() or systems)


def test_an_operator_may_name_another_one(systems: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IMAGEIO_FFMPEG_EXE", systems)
    assert find_tools().ffmpeg == systems


def test_the_setting_goes_before_all_others(systems: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IMAGEIO_FFMPEG_EXE", systems)
    assert find_tools(Path("/srv/ffmpeg")).ffmpeg == "/srv/ffmpeg"


def test_one_that_is_named_and_not_there_is_missing(systems: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IMAGEIO_FFMPEG_EXE", f"{systems}-of-yesterday")
    assert find_tools().ffmpeg is None
