"""How many bytes a download will have in its directory at once, as far as is known before it begins.

Nothing of it is deleted before its end, so every step that writes another copy of the film counts: `STEPS`
has all of them. Publishing moves what was made, or sends it away, and takes no room of its own; nor does the
index of an MP4, which ffmpeg moves to the front within the file. How large a broadcast will be nobody knows.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any, Final

from server.child.fetching import is_plain
from server.child.media.cutting import SEEKABLE
from server.child.media.outputs import is_exact
from server.child.media.timeline import ALL, Kept, Span
from server.child.process.progress import weight
from server.jobs import Wishes

_RATES: Final = {"mp3": 190, "m4a": 160, "opus": 128, "flac": 900, "wav": 1411}
"""kbit/s of sound that is encoded, if no other rate is asked for; of lossless ones a usual rate."""

Stream = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Film:
    """What is known by now of what is to be fetched; of its streams one after the other the `sizes`.

    `duration` is in seconds, of the clip if there is one; `left_out` is cut out. `chapters`: it has some.
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
        """A size that the source does not say counts as nothing: too little is better than too much."""
        return sum(weight(stream, self.duration) for stream in streams)

    @property
    def in_one(self) -> bool:
        return len(self.sections) == 1

    @property
    def kept(self) -> Kept:
        """Of its own time, or of its film's where it is a clip."""
        clip = self.wishes.clip
        left = (Kept().within(clip.start, clip.end) if clip else ALL).without(self.left_out)
        return left if clip or left == ALL or not self.duration else left.within(0.0, self.duration)

    @property
    def share(self) -> float:
        """Of what is fetched, in what is made of it: of a clip no more than that is fetched, mostly."""
        return min(1.0, self.kept.length / self.duration) if self.duration else 1.0

    @property
    def is_spliced(self) -> bool:
        return len(self.kept.spans) > 1 and not is_exact(self.wishes)


class Needs:
    """Tells what a download needs, and again when that turns out to be more.

    Many sources say how large a file is only when it is asked for.
    """

    def __init__(self, film: Film, tell: Callable[[int], None]) -> None:
        self._film = film
        self._tell = tell
        self._told = 0

    def learn(self, **known: Any) -> None:
        """More about the film: fields of `Film`."""
        film = replace(self._film, **known)
        if film != self._film:
            self._film = film
            needs = in_all(film) or 0
            if needs > self._told:
                self._told = needs
                self._tell(needs)


def in_all(film: Film) -> int | None:
    """Bytes; None if the source says nothing of its sizes."""
    return int(sum(step(film) for step in STEPS.values())) if _fetched(film) else None


def _fetched(film: Film) -> float:
    return film.bytes_of(film.streams)


def _merged(film: Film) -> float:
    """See `server.child.media.joining`: sections that are not all one file, of one kind."""
    kinds = {stream.get("ext") for stream in film.streams}
    alike = all(len(section) == 1 for section in film.sections) and len(kinds) == 1
    return 0 if film.in_one or alike else _fetched(film)


def _indexed(film: Film) -> float:
    """See `server.child.keeping`: what is cut must be in a container that knows its key frames."""
    if film.kept == ALL:
        return 0
    return film.bytes_of([stream for stream in film.streams if not (film.in_one and _is_seekable(stream))])


def _is_seekable(stream: Stream) -> bool:
    return is_plain(stream) and stream.get("ext") in SEEKABLE


def _apart(film: Film) -> float:
    """See `cutting.apart`: picture and sound, each for itself."""
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
    """Whether the film is what was fetched, as it came."""
    wishes, streams = film.wishes, film.streams
    embeds = wishes.subtitles.embed or wishes.embed_metadata
    fits = len(streams) == 1 and is_plain(streams[0]) and not embeds and film.kept == ALL
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
