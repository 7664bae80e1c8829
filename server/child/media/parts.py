"""The streams that are fetched, as files in the job's directory that outlive an attempt.

A part's name stands for exactly one thing at the source. What has another name belongs to an earlier
choice and is removed, so that no download is continued with another one's bytes.
"""

import hashlib
import re
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from server.child.media.probe import Media

OUT = "out"
_MOVED = ".moved"
_KEPT = frozenset(("preview.jpg",))


@dataclass(frozen=True, slots=True)
class Part:
    """`plain` means that the file has the source's bytes; else it was joined from fragments.

    `reading` is what ffmpeg must be told to read it.
    """

    path: Path
    media: Media
    plain: bool = True
    reading: tuple[str, ...] = ()


def chosen(info: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The info dicts of the streams to fetch: one, or picture and sound."""
    whole = {name: value for name, value in info.items() if name not in ("requested_formats", "formats")}
    return [whole | stream for stream in info.get("requested_formats") or [whole]]


def name_of(stream: Mapping[str, Any]) -> str:
    """The same for the same stream of the same video in every attempt, though its URL may change."""
    identity = [stream.get(key) for key in ("extractor_key", "id", "format_id", "ext", "filesize")]
    if stream.get("direct"):  # then it is the Last-Modified of the file itself
        identity.append(stream.get("timestamp"))
    digest = hashlib.sha256(repr(identity).encode(errors="surrogatepass")).hexdigest()[:20]
    ext = stream.get("ext") or ""
    return f"{digest}.{ext if re.fullmatch('[a-z0-9]{1,8}', ext) else 'media'}"


def prepare(directory: Path, names: Iterable[str]) -> None:
    """Leave only what belongs to `names`, and an empty `out`."""
    _move_back(directory)
    wanted = tuple(names)
    for path in directory.iterdir():
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        elif path.name not in _KEPT and not path.name.startswith(wanted):
            path.unlink()
    (directory / OUT).mkdir(mode=0o700)


def has_begun(path: Path) -> bool:
    """Whether anything of the part at `path` has come, in this attempt or an earlier one."""
    return any(there.stat().st_size for there in path.parent.glob(f"{path.name}.part*"))


def move_out(part: Part, target: Path) -> None:
    """Make `part` a finished file. It leaves a note behind, so that the next attempt can have it back."""
    part.path.with_name(part.path.name + _MOVED).write_text(target.name)
    part.path.rename(target)


def back_to_unfinished(path: Path) -> None:
    """What was taken for whole is not: the next attempt shall go on where it ends."""
    path.rename(path.with_name(path.name + ".part"))


def _move_back(directory: Path) -> None:
    for note in directory.glob(f"*{_MOVED}"):
        target = directory / OUT / Path(note.read_text()).name
        if target.is_file():
            target.rename(note.with_name(note.name.removesuffix(_MOVED)))
        note.unlink()
