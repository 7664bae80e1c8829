"""Estimates how many bytes a download will have in its directory at once, before it begins.

A job deletes nothing before it ends, so every step that writes another copy of the film counts: `STEPS` has
all of them. Publishing moves or uploads what was made, and takes no more room; nor does `+faststart`, which
moves the index of an MP4 to the front within the file. For a recording there is no estimate.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any, Final

from server.child.fetch.one_stream import is_plain
from server.child.media.cutting import SEEKABLE
from server.child.media.outputs import is_exact
from server.child.media.timeline import ALL, Kept, Span
from server.child.process.progress import weight
from server.core.jobs import Wishes

_RATES: Final = {"mp3": 190, "m4a": 160, "opus": 128, "flac": 900, "wav": 1411}
"""kbit/s of sound that is encoded, if no other rate is asked for; for lossless formats a usual rate."""

Stream = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Film:
    """What is known so far of a download; `sizes` are the bytes of its streams, in their order.

    `duration` is in seconds, that of the clip if there is one; `left_out` are the spans to cut out;
    `chapters` says whether the film has any.
    """

    wishes: Wishes
    sections: Sequence[Sequence[Stream]]
    duration: float | None
    sizes: Sequence[int | None] = ()
    left_out: Sequence[Span] = ()
    chapters: bool = False

    @property
    def streams(self) -> list[Stream]:
        streams = [stream for section in self.sections for stream in section]
        sizes = [*self.sizes, *[None] * (len(streams) - len(self.sizes))]
        return [
            stream | {"filesize": size or stream.get("filesize")}
            for stream, size in zip(streams, sizes, strict=True)
        ]

    def bytes_of(self, streams: Sequence[Stream]) -> float:
        """A size that the source does not state counts as 0: better an estimate too low than one too high."""
        return sum(weight(stream, self.duration) for stream in streams)

    @property
    def in_one(self) -> bool:
        return len(self.sections) == 1

    @property
    def kept(self) -> Kept:
        """The spans that are kept, in the film's time, also where only a clip of it is fetched."""
        clip = self.wishes.clip
        left = (Kept().within(clip.start, clip.end) if clip else ALL).without(self.left_out)
        return left if clip or left == ALL or not self.duration else left.within(0.0, self.duration)

    @property
    def share(self) -> float:
        """The share (0-1) of the bytes fetched that is kept: mostly no more than the clip is fetched."""
        return min(1.0, self.kept.length / self.duration) if self.duration else 1.0

    @property
    def is_spliced(self) -> bool:
        return len(self.kept.spans) > 1 and not is_exact(self.wishes)


class DiskEstimate:
    """Calls `tell` with the bytes that a download needs, and again when they turn out to be more.

    Many sources state the size of a file only when it is requested.
    """

    def __init__(self, film: Film, tell: Callable[[int], None]) -> None:
        self._film = film
        self._tell = tell
        self._told = 0

    def learn(self, **known: Any) -> None:
        """Take in what is now `known` of the film: fields of `Film`."""
        film = replace(self._film, **known)
        if film != self._film:
            self._film = film
            needs = in_all(film) or 0
            if needs > self._told:
                self._told = needs
                self._tell(needs)


def in_all(film: Film) -> int | None:
    """The bytes of all steps; None if the source states no sizes."""
    return int(sum(step(film) for step in STEPS.values())) if _fetched(film) else None


def _fetched(film: Film) -> float:
    return film.bytes_of(film.streams)


def _merged(film: Film) -> float:
    """See `server.child.media.parts`: sections are merged unless all are files of one kind."""
    kinds = {stream.get("ext") for stream in film.streams}
    alike = all(len(section) == 1 for section in film.sections) and len(kinds) == 1
    return 0 if film.in_one or alike else _fetched(film)


def _indexed(film: Film) -> float:
    """See `server.child.media.cutting`: what is cut must be in a container that knows its key frames."""
    if film.kept == ALL:
        return 0
    return film.bytes_of(
        [
            stream
            for stream in film.streams
            if not (film.in_one and (is_plain(stream) and stream.get("ext") in SEEKABLE))
        ]
    )


def _apart(film: Film) -> float:
    """See `cutting.apart`: picture and sound are written to a file each."""
    together = [stream for stream in film.streams if not (film.in_one and _is_apart(stream))]
    return film.bytes_of(together) if film.is_spliced else 0


def _is_apart(stream: Stream) -> bool:
    is_sound = stream.get("vcodec") == "none"
    return stream.get("acodec") == "none" or (is_sound and SEEKABLE.get(stream.get("ext") or "") == "mov")


def _spliced(film: Film) -> float:
    return _fetched(film) * film.share if film.is_spliced else 0


def _video(film: Film) -> float:
    is_made = "video" in film.wishes.outputs and not _is_moved(film)
    return _fetched(film) * film.share if is_made else 0


def _is_moved(film: Film) -> bool:
    """Whether the file that was fetched becomes the output unchanged."""
    wishes, streams = film.wishes, film.streams
    embeds = wishes.subtitles.embed or wishes.embed_metadata
    fits = len(streams) == 1 and is_plain(streams[0]) and not embeds and film.kept == ALL
    if wishes.mute and fits and streams[0].get("acodec") != "none":
        return False
    return fits and wishes.video_format in ("any", streams[0].get("ext"))


def _audio(film: Film) -> float:
    if "audio" not in film.wishes.outputs or _sound_is_moved(film):
        return 0
    return _sound(film)


def _sound(film: Film) -> float:
    rate = film.wishes.audio_quality or _RATES.get(film.wishes.audio_format)
    if rate and film.duration:
        return rate * 125 * film.duration * film.share
    return film.bytes_of([stream for stream in film.streams if _is_sound(stream)]) * film.share


def _sound_is_moved(film: Film) -> bool:
    wishes, sounds = film.wishes, [stream for stream in film.streams if _is_sound(stream)]
    if len(sounds) != 1 or not is_plain(sounds[0]) or wishes.embed_metadata or wishes.audio_quality:
        return False
    return wishes.audio_format in ("best", sounds[0].get("ext")) and film.kept == ALL


def _is_sound(stream: Stream) -> bool:
    return stream.get("vcodec") == "none"


def _chapters(film: Film) -> float:
    """See `server.child.media.splitting`: all of the film once more, or of its sound."""
    if not (film.wishes.split_chapters and film.chapters):
        return 0
    return _fetched(film) * film.share if "video" in film.wishes.outputs else _sound(film)


STEPS: Final[Mapping[str, Callable[[Film], float]]] = MappingProxyType(
    {
        "fetched": _fetched,
        "merged": _merged,
        "indexed": _indexed,
        "apart": _apart,
        "spliced": _spliced,
        "video": _video,
        "audio": _audio,
        "chapters": _chapters,
    }
)
"""What a job writes, in this order -> how many bytes of it. A new step that writes a copy belongs here."""
