"""Covers of podcast feeds, made by real children: any picture becomes one, and a broken one harms no
other.
"""

import asyncio
import struct
import zlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from server.feeds import covers
from server.feeds.covers import CACHED_COVERS, Covers
from server.files.workplace import LocalWorkplace
from server.settings import DownloadSettings
from server.tasks.fork_servers import ForkServers
from server.tasks.job_builder import JobMaker
from server.tasks.programs_found import Tools
from tests.tools import FFMPEG


async def drawn(path: Path, size: str) -> bytes:
    """Draw a picture of this size, in the format that the suffix of `path` names."""
    source = ("-f", "lavfi", "-i", f"testsrc2=s={size}", "-frames:v", "1", str(path))
    process = await asyncio.create_subprocess_exec(FFMPEG, "-v", "error", *source)
    assert await process.wait() == 0
    return path.read_bytes()


async def size_of(path: Path) -> str:
    process = await asyncio.create_subprocess_exec(
        FFMPEG, "-hide_banner", "-i", str(path), stderr=asyncio.subprocess.PIPE
    )
    _, said = await process.communicate()
    return said.decode()


@pytest.fixture
async def made(tmp_path: Path) -> AsyncIterator[Covers]:
    workplace = LocalWorkplace(tmp_path)
    workplace.scratch.mkdir(parents=True)
    async with ForkServers(FFMPEG, None, tmp_path) as fork_server:
        yield Covers(fork_server, workplace, JobMaker(DownloadSettings(), Tools(FFMPEG, None)))
    assert list(workplace.scratch.iterdir()) == [], "nothing is left"


def giving(picture: bytes, asked: list[int] | None = None) -> Any:
    async def give() -> bytes:
        if asked is not None:
            asked.append(1)
        return picture

    return give


@pytest.mark.wide
async def test_any_picture_becomes_a_square_cover(made: Covers, tmp_path: Path) -> None:
    for number, (name, size) in enumerate(
        (("a.jpg", "480x270"), ("b.png", "1080x1920"), ("c.webp", "3840x2160"), ("d.png", "16x4"))
    ):
        try:
            picture = await drawn(tmp_path / name, size)
        except AssertionError:
            continue  # this ffmpeg cannot write WebP
        cover = await made.cover(str(number), giving(picture))
        assert cover is not None
        (tmp_path / "cover.jpg").write_bytes(cover)
        assert ", 1400x1400 " in await size_of(tmp_path / "cover.jpg")


@pytest.mark.wide
async def test_each_cover_is_made_once_and_the_last_ones_are_kept(made: Covers, tmp_path: Path) -> None:
    picture, asked = await drawn(tmp_path / "a.jpg", "480x270"), list[int]()
    first, *others = await asyncio.gather(*(made.cover("a", giving(picture, asked)) for _ in range(5)))
    assert first is not None
    assert others == [first] * 4
    assert len(asked) == 1
    for number in range(CACHED_COVERS):
        assert await made.cover(f"no picture {number}", giving(b"")) is None
    await made.cover("a", giving(picture, asked))
    assert len(asked) == 2


@pytest.mark.parametrize(
    "picture", [b"", b"\xff\xd8\xff nothing", b"<html>", b"#EXTM3U\nfile:///etc/passwd\n"]
)
async def test_a_file_that_is_no_picture_is_tried_once(made: Covers, picture: bytes) -> None:
    asked = list[int]()
    for _ in range(2):
        assert await made.cover("bad", giving(picture, asked)) is None
    assert len(asked) == 1


def png_of(side: int) -> bytes:
    """Return a black picture as PNG, in a few kB."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0)
    rows = zlib.compress(bytes((side + 7) // 8 + 1) * side)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


@pytest.mark.wide
async def test_a_few_bytes_with_far_too_many_pixels_are_no_picture(made: Covers) -> None:
    assert await made.cover("large", giving(png_of(2000))) is not None
    asked = list[int]()
    for _ in range(2):
        assert await made.cover("bomb", giving(png_of(9000), asked)) is None
    assert len(asked) == 1


async def test_a_passing_fault_of_a_picture_is_tried_again(
    made: Covers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    picture, asked = await drawn(tmp_path / "a.jpg", "480x270"), list[int]()
    monkeypatch.setattr(covers, "COVER_TIMEOUT", 0.0)
    assert await made.cover("a", giving(picture, asked)) is None
    monkeypatch.undo()
    assert await made.cover("a", giving(picture, asked)) is not None
    made.close()
    assert await made.cover("b", giving(picture, asked)) is None, "the server shuts down"
