"""The server of ranges between ffmpeg and a distant source requests few ranges, and few bytes that ffmpeg
does not read.
"""

import struct
from typing import TYPE_CHECKING

import pytest

from server.child.media import mp4
from server.child.network.range_server import BLOCK, RangeServer

if TYPE_CHECKING:
    from collections.abc import Iterator

MIB = 1 << 20


class Source:
    """A source of `blocks` blocks; `asked` has the first block and the number of blocks of each request."""

    def __init__(self, blocks: int) -> None:
        self.blocks = blocks
        self.asked: list[tuple[int, int]] = []

    def fetch(self, first: int, count: int) -> list[bytes]:
        assert first + count <= self.blocks
        self.asked.append((first, count))
        return [bytes(BLOCK)] * count


@pytest.fixture
def source() -> Source:
    return Source(1000)


def read(source: Source, numbers: range, index: range, expected: float) -> list[tuple[int, int]]:
    """Let ffmpeg read these blocks in one go; return what is requested of `source`."""
    window = RangeServer(source.blocks * BLOCK, source.fetch, index, expected)
    counts: Iterator[int] = window.counts(numbers.start * BLOCK)
    for number in numbers:
        assert len(window.block(number, counts)) == BLOCK
    window.server_close()
    return source.asked


def test_an_index_is_asked_for_as_a_whole_with_the_block_into_which_its_reader_runs_ahead(
    source: Source,
) -> None:
    assert read(source, range(41), range(32, 40 * BLOCK - 5), 0) == [(0, 41)]


def test_what_a_clip_is_expected_to_take_is_asked_for_at_once_and_then_little_by_little(
    source: Source,
) -> None:
    asked = read(source, range(500, 540), range(100), 15.5 * BLOCK)
    assert asked == [(500, 16), (516, 4), (520, 8), (528, 16)]


def test_who_runs_on_behind_the_index_is_given_little(source: Source) -> None:
    assert read(source, range(7), range(4 * BLOCK), 50 * BLOCK) == [(0, 5), (5, 1), (6, 1)]


def test_where_nothing_is_known_each_question_is_twice_as_large(source: Source) -> None:
    assert [count for _, count in read(source, range(63), range(0), 0)] == [1, 1, 2, 4, 8, 16, 32]


def test_no_question_is_for_more_than_eight_mebibytes_or_for_what_is_not_there(source: Source) -> None:
    asked = read(source, range(1000), range(300 * BLOCK), 900 * BLOCK)
    assert max(count for _, count in asked) * BLOCK == 8 * MIB
    assert sum(count for _, count in asked) == 1000


def box(kind: bytes, content: bytes = b"", size: int | None = None) -> bytes:
    return struct.pack(">I4s", 8 + len(content) if size is None else size, kind) + content


HEAD = box(b"ftyp", bytes(24))
MVHD = box(b"mvhd", bytes(12) + struct.pack(">II", 1000, 90_500) + bytes(80))


@pytest.mark.parametrize(
    ("head", "index", "seconds"),
    [
        (HEAD + box(b"moov", MVHD, 5000), range(32, 5032), 90.5),
        # The boxes after the header of the index are missing.
        (HEAD + box(b"moov", b"", 5000), range(32, 5032), 0),
        (HEAD + box(b"mdat", b"", 9 * MIB), range(32 + 9 * MIB, 10 * MIB), 0),
        (HEAD + box(b"mdat", b"", 11 * MIB), range(0), 0),  # the box ends behind the end of the file
        (HEAD + box(b"mdat", b"", 0), range(0), 0),
        (HEAD, range(0), 0),
        (b"nothing like it", range(0), 0),
        (b"", range(0), 0),
    ],
)
def test_the_first_bytes_tell_where_the_index_lies_and_how_long_the_film_is(
    head: bytes, index: range, seconds: float
) -> None:
    assert mp4.find_index(head, 10 * MIB) == (index, seconds)
