"""A partial file, and a note beside it with the ETag, Last-Modified and length that its source had.

The note is compared with what the source says now, to tell whether the download may be resumed.
"""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from yt_dlp.networking.common import Response
from yt_dlp.utils import int_or_none

from server.child.media.parts import SOURCE


def note_of(filename: str) -> Path:
    """The file that holds the `Source` of `filename`, once a download has begun."""
    return Path(filename + SOURCE)


@dataclass(frozen=True, slots=True)
class Source:
    """What tells one version of a file at its source from another; None where the source does not say it."""

    etag: str | None = None
    modified: str | None = None
    total: int | None = None

    @classmethod
    def of(cls, response: Response) -> "Source":
        headers = response.headers
        whole = headers.get("Content-Range") or f"/{headers.get('Content-Length')}"
        return cls(headers.get("ETag"), headers.get("Last-Modified"), int_or_none(whole.rpartition("/")[2]))

    @property
    def condition(self) -> str | None:
        """The value of `If-Range`, None if there is none: it must not be a weak ETag (RFC 9110, 13.1.5)."""
        strong = self.etag if self.etag and not self.etag.startswith("W/") else None
        return strong or self.modified

    def contradicts(self, other: "Source") -> bool:
        """Whether `other` is certainly another version; a new ETag alone proves nothing."""
        return not (_agree(self.total, other.total) and _agree(self.modified, other.modified))

    def is_continued_by(self, other: "Source") -> bool:
        """Whether bytes of `other` may follow those of this; without ETag and date the length decides."""
        if self.contradicts(other) or not _agree(self.etag, other.etag):
            return False
        pairs = ((self.etag, other.etag), (self.modified, other.modified))
        marked = self.etag or self.modified
        # The response need not have both, but at least one of those that the note has.
        return not marked or any(all(pair) for pair in pairs)


class Partial:
    """A partial file, and the note about its source."""

    def __init__(self, path: Path, note: Path) -> None:
        self.path = path
        self._note = note
        self.source = self._read()

    @property
    def size(self) -> int:
        try:
            return self.path.stat().st_size
        except FileNotFoundError:
            return 0

    def begin(self, source: Source) -> None:
        """Drop the old bytes before the new note is written: no kill leaves bytes beside another's note."""
        self.drop()
        self.goes_on_as(source)

    def goes_on_as(self, source: Source) -> None:
        """Write a new note: the bytes are those of `source`, too."""
        fresh = self._note.with_name(self._note.name + ".new")
        fresh.write_text(json.dumps(asdict(source)))
        fresh.replace(self._note)
        self.source = source

    def drop(self) -> None:
        self.path.unlink(missing_ok=True)
        self._note.unlink(missing_ok=True)
        self.source = None

    def _read(self) -> Source | None:
        try:
            return Source(**json.loads(self._note.read_text()))
        except (OSError, ValueError, TypeError):
            return None


def _agree(one: object, other: object) -> bool:
    return one is None or other is None or one == other
