"""What a fork server finds out is cached for later fork servers, and renewed when it has changed."""

import os
from collections.abc import Callable
from contextvars import ContextVar
from pathlib import Path

import pytest
from yt_dlp.postprocessor.ffmpeg import FFmpegPostProcessor

from server.child import preload
from server.child.extract import extractors
from server.child.process import warm_cache


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(warm_cache, "folder", tmp_path / "cache")
    return tmp_path / "cache"


def made(value: object, key: object = "key") -> tuple[object, bool]:
    """Call `cached`; return the value, and whether it was made anew."""
    values = [value]
    return warm_cache.cached("name", key, values.pop), not values


def test_a_value_is_made_once_for_the_same_key(folder: Path) -> None:
    assert made({"a": [1, None]}) == ({"a": [1, None]}, True)
    assert made("never") == ({"a": [1, None]}, False)
    assert made("other", key=["another"]) == ("other", True)
    assert [path.name for path in folder.iterdir()] == ["name.json"]
    assert folder.stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize(
    "spoil",
    [
        lambda content: content[:-1],
        lambda content: content.replace(b"first", b"worst"),
        lambda content: content.partition(b"\n")[0],
        lambda content: b"\xff" + content,
        lambda content: b"7\n" + content,
        lambda content: b"",
    ],
)
def test_a_file_that_is_not_as_it_was_written_is_made_anew(
    folder: Path, spoil: Callable[[bytes], bytes]
) -> None:
    made("the first")
    path = folder / "name.json"
    path.write_bytes(spoil(path.read_bytes()))
    assert made("the next") == ("the next", True)
    assert made("never") == ("the next", False)


def test_nothing_is_kept_where_there_is_no_folder_for_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    blocked = tmp_path / "file"
    blocked.touch()
    for folder in (None, blocked, tmp_path / "new" / "cache"):
        monkeypatch.setattr(warm_cache, "folder", folder)
        assert made("a") == ("a", True)
        assert made("b") == ("b", True)
    assert [*tmp_path.iterdir()] == [blocked], "the data directory is the server's to make"


def test_the_value_none_is_not_cached(folder: Path) -> None:
    assert made(None) == (None, True)
    assert made("a") == ("a", True)


def test_programs_are_asked_for_their_versions_once_and_again_when_they_are_exchanged(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def install(name: str, lines: str) -> Path:
        new = tmp_path / "new"
        new.write_text(f"#!/bin/sh\necho {name} >> {tmp_path}/asked\n{lines}\n")
        new.chmod(0o700)
        return new.rename(tmp_path / name)

    def versions() -> tuple[str, str | None, list[str]]:
        """Return the versions that a new fork server finds, and the programs that it has run for that."""
        monkeypatch.setattr(FFmpegPostProcessor, "_version_cache", {None: None})
        monkeypatch.setattr(FFmpegPostProcessor, "_features_cache", {})
        (tmp_path / "asked").write_text("")
        found = preload._version_of_ffmpeg(str(ffmpeg)), preload._version_of_deno(str(deno))
        assert FFmpegPostProcessor._features_cache[str(ffmpeg)]["fdk"]
        return *found, sorted((tmp_path / "asked").read_text().split())

    monkeypatch.setattr(FFmpegPostProcessor, "_ffmpeg_location", ContextVar("location", default=None))
    ffmpeg = install("ffmpeg", "echo 'ffmpeg version 7.1 --enable-libfdk-aac'")
    install("ffprobe", "echo 'ffprobe version 7.1'")
    deno = install("deno", "echo 'deno 2.9.8'")
    assert versions() == ("7.1", "2.9.8", ["deno", "ffmpeg", "ffprobe"])
    assert versions() == ("7.1", "2.9.8", [])
    install("deno", "echo 'deno 2.10.0'")
    assert versions() == ("7.1", "2.10.0", ["deno"])
    install("ffprobe", "exit 1")  # as if a library of ffprobe were missing, which may be installed again
    assert versions() == ("7.1", "2.10.0", ["ffmpeg", "ffprobe"])
    assert versions() == ("7.1", "2.10.0", ["ffmpeg", "ffprobe"])
    os.remove(tmp_path / "ffprobe")
    versions()
    assert versions() == ("7.1", "2.10.0", [])


def test_what_is_kept_of_the_patterns_is_what_they_say(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usual = extractors._needed()
    extractors._needed.cache_clear()
    try:
        assert extractors._needed() == usual
        monkeypatch.setattr(extractors, "_read_patterns", None)
        extractors._needed.cache_clear()
        assert [*extractors._needed().items()] == [*usual.items()]
    finally:
        extractors._needed.cache_clear()
