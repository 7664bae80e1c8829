"""How many bytes a download will have in its directory at once, as far as is known before it begins.

What is fetched stays until everything is made of it, and lies beside that. Publishing moves what was made, or
sends it away: it takes no room of its own.
"""

from collections.abc import Callable, Sequence
from typing import Any, Final

from server.child.fetching import is_plain
from server.child.process.progress import weight
from server.jobs import Wishes

_RATES: Final = {"mp3": 190, "m4a": 160, "opus": 128, "flac": 900, "wav": 1411}
"""kbit/s of sound that is encoded, if no other rate is asked for; of lossless ones a usual rate."""

Streams = Sequence[dict[str, Any]]


class Needs:
    """Tells what a download needs, and again when that turns out to be more.

    Many sources say how large a file is only when it is asked for.
    """

    def __init__(
        self,
        wishes: Wishes,
        sections: Sequence[Streams],
        duration: float | None,
        tell: Callable[[int], None],
    ) -> None:
        self._wishes = wishes
        self._sections = sections
        self._duration = duration
        self._tell = tell
        self._told = 0
        self._sizes: Sequence[int | None] = ()

    def look(self, sizes: Sequence[int | None]) -> None:
        """At the streams again, of which these are the `sizes`, where they are known by now."""
        if sizes != self._sizes:
            self._sizes = sizes
            needs = in_all(self._wishes, self._with(list(sizes)), self._duration) or 0
            if needs > self._told:
                self._told = needs
                self._tell(needs)

    def _with(self, sizes: list[int | None]) -> Sequence[Streams]:
        return [
            [stream | {"filesize": sizes.pop(0) or stream.get("filesize")} for stream in section]
            for section in self._sections
        ]


def in_all(wishes: Wishes, sections: Sequence[Streams], duration: float | None) -> int | None:
    """Bytes of what is fetched, joined or cut, and made; None if the source says nothing of its sizes.

    A size that it does not say counts as nothing: then there is too little rather than too much.
    """
    streams = [stream for section in sections for stream in section]
    fetched = sum(weight(stream, duration) for stream in streams)
    if not fetched:
        return None
    joined = fetched if len(sections) > 1 or wishes.clip or wishes.sponsorblock else 0
    film = fetched if "video" in wishes.outputs and not _is_moved(wishes, streams) else 0
    sound = _sound(wishes, streams, duration) if "audio" in wishes.outputs else 0
    return int(fetched + joined + film + sound)


def _is_moved(wishes: Wishes, streams: Streams) -> bool:
    """Whether the film is what was fetched, as it came."""
    embeds = wishes.subtitles.embed or wishes.embed_metadata
    fits = len(streams) == 1 and is_plain(streams[0]) and not embeds and not wishes.clip
    return fits and wishes.video_format in ("any", streams[0].get("ext"))


def _sound(wishes: Wishes, streams: Streams, duration: float | None) -> float:
    rate = wishes.audio_quality or _RATES.get(wishes.audio_format)
    if rate and duration:
        return rate * 125 * duration
    alone = [stream for stream in streams if stream.get("vcodec") == "none"]
    return sum(weight(stream, duration) for stream in alone)
