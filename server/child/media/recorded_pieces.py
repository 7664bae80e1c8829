"""The pieces of a recording: files in the job's directory that outlive an attempt.

A piece is a Matroska file, which takes every codec, and loses only its last second when ffmpeg is killed.
There is more than one piece if the broadcast or this process was interrupted; what was sent meanwhile is
missing, and between two pieces a segment may come twice.

A further piece is in doubt, and does not count, until the broadcast is known to go on: of a broadcast that
has ended, ffmpeg records everything from the first segment on, so that the piece repeats the earlier ones.
Then either that piece is kept or the earlier ones. One rename decides, since a kill may come at any moment.

Decisions: docs/decisions/broadcasts.md
"""

from dataclasses import replace
from pathlib import Path
from typing import Final

from server.child.media import probe
from server.child.media.parts import Part, concatenation
from server.child.media.probe import Media
from server.child.process.job_failed import JobFailed

PREFIX: Final = "recorded-"
"""The beginning of the names of all files in the job's directory that belong to the recording."""

_IN_DOUBT: Final = f"{PREFIX}in-doubt"
_INSTEAD: Final = f"{PREFIX}whole"  # name of a piece that was in doubt and is kept instead of all others
_LIST: Final = "recorded.ffconcat"
_HEADER_SIZE: Final = 8192  # bytes; a piece that is no larger has no media, and its name is used again


def list_pieces(directory: Path) -> list[Path]:
    """Return the pieces that count, of this attempt and earlier ones, in the order of the broadcast."""
    paths = sorted(path for path in directory.iterdir() if path.name.startswith(PREFIX))
    return [path for path in paths if path.suffix == ".mkv" and path.stat().st_size > _HEADER_SIZE]


def next_piece(directory: Path) -> Path:
    """Return the path of the piece after those that count."""
    return directory / f"{PREFIX}{len(list_pieces(directory)) + 1:04}.mkv"


def piece_in_doubt(directory: Path) -> Path:
    """Return the path of a piece that may repeat the earlier ones."""
    return directory / _IN_DOUBT


def total_size(directory: Path) -> int:
    """Return the bytes of all pieces, with the one in doubt."""
    sizes = (path.stat().st_size for path in directory.glob(f"{PREFIX}*"))
    return sum(size for size in sizes if size > _HEADER_SIZE)


def count_piece_in_doubt(directory: Path) -> None:
    """Make the piece in doubt count, as the broadcast goes on. ffmpeg may still be writing into it."""
    (directory / _IN_DOUBT).rename(next_piece(directory))


def resolve_doubt(directory: Path, *, is_complete: bool) -> None:
    """Keep the piece in doubt, if there is one, or the earlier ones; `is_complete`: ffmpeg recorded it to the
    end.

    If the earlier pieces are kept, the last second of the broadcast may be missing; with both, everything
    might come twice.
    """
    doubtful, earlier = directory / _IN_DOUBT, sum(piece.stat().st_size for piece in list_pieces(directory))
    if is_complete and doubtful.exists() and doubtful.stat().st_size >= earlier:
        doubtful.rename(directory / _INSTEAD)
    delete_unkept(directory)


def delete_unkept(directory: Path) -> None:
    """Delete the pieces that are not kept; after a kill, this completes what was decided before."""
    (directory / _IN_DOUBT).unlink(missing_ok=True)
    instead = directory / _INSTEAD
    if instead.exists():
        for piece in directory.glob(f"{PREFIX}*.mkv"):
            piece.unlink()
        instead.rename(next_piece(directory))


def delete_all(directory: Path) -> None:
    for path in directory.glob(f"{PREFIX}*"):
        path.unlink()


def have_media(directory: Path, ffmpeg: str) -> bool:
    """Whether any piece can be kept: one that was cut off at once holds no picture."""
    return any(_inspect(piece, ffmpeg) for piece in list_pieces(directory))


def join_pieces(directory: Path, ffmpeg: str) -> Part:
    """Return all pieces as one part; raises `JobFailed` if nothing was recorded."""
    found = {piece: media for piece in list_pieces(directory) if (media := _inspect(piece, ffmpeg))}
    if not found:
        raise JobFailed("no_media", "nothing was recorded")
    # A piece that was cut off states no duration.
    duration = sum(media.duration or 0.0 for media in found.values()) or None
    first = next(iter(found.values()))
    return concatenation(directory / _LIST, list(found), replace(first, duration=duration))


def _inspect(piece: Path, ffmpeg: str) -> Media | None:
    """Return what is in `piece`, None if it has no media. Other errors are raised: a killed ffmpeg says
    nothing about the piece.
    """
    try:
        return probe.inspect(piece, ffmpeg)
    except JobFailed as error:
        if error.code != "no_media":
            raise
        return None
