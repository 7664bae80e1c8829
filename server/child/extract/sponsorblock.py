"""What SponsorBlock's users have marked in a film (https://wiki.sponsor.ajay.app/w/API_Docs), as yt-dlp asks.

The service gets the first four of the 64 hex digits of a hash of the film's id, and answers for all films
whose hash begins so. Its response is not trusted: malformed parts of it are ignored, and without a response
nothing is cut.

Decisions: docs/decisions/subtitles-tags-clips.md
"""

import hashlib
import json
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from threading import Event, Thread
from typing import Any, Final, NoReturn, cast
from urllib.parse import urlencode

from yt_dlp.networking import Request
from yt_dlp.networking.exceptions import HTTPError
from yt_dlp.utils import YoutubeDLError

from server.child.extract.youtube_dl import Engine
from server.child.media.timeline import Span
from server.child.network import guard
from server.child.process.job_failed import JobFailed
from server.child.process.log import Log

_SERVICES: Final = {"Youtube": "YouTube"}
"""yt-dlp's extractor -> SponsorBlock's name, as in yt-dlp's `SponsorBlockPP.EXTRACTORS`."""

_LONGEST: Final = 1e9  # seconds
_LARGEST: Final = 4 * 1024 * 1024  # bytes of an answer
_PATIENCE: Final = 20.0  # seconds for the whole response
_SILENCE: Final = 10.0  # seconds without a byte
_TICK: Final = 1.0  # seconds
_BLOCK: Final = 64 * 1024
_NONE_KNOWN: Final = 404
_BAD = (YoutubeDLError, JobFailed, OSError, ValueError, RecursionError)


def marked(
    engine: Engine, info: Mapping[str, Any], categories: Sequence[str], api: str, log: Log
) -> list[Span]:
    """The spans of the film in `info` that are marked as one of `categories`; [] without a response."""
    service, film = _SERVICES.get(info.get("extractor_key") or ""), str(info.get("id"))
    if not service:
        log.write(f"sponsorblock: it knows nothing of {info.get('extractor_key')}")
        return []
    try:
        with _alive(log):
            digest = hashlib.sha256(film.encode()).hexdigest()
            asked = {"categories": json.dumps(list(categories)), "actionTypes": '["skip"]'}
            answer = _ask(
                engine,
                (f"{api}/api/skipSegments/{digest[:4]}?{urlencode({'service': service, **asked})}"),
                api,
            )
    except _BAD as error:
        log.write(f"WARNING: sponsorblock does not answer, and nothing is cut out: {error}")
        return []
    spans, others = spans_in(answer, film, categories, info.get("duration"))
    if others:
        log.write("sponsorblock: some segments are of a video of another length, and are not cut out")
    log.write(f"sponsorblock: {len(spans)} segments are cut out")
    return spans


def spans_in(
    answer: object, film: str, categories: Sequence[str], duration: float | None
) -> tuple[list[Span], int]:
    """The spans of the film, and how many segments are left out because its length was another one."""
    found = [one for one in map(_segment, _segments(answer, film)) if one and one.category in categories]
    spans = [span for one in found if (span := _span(one, duration))]
    return spans, len(found) - len(spans)


@contextmanager
def _alive(log: Log) -> Iterator[None]:
    """Report progress every second: to wait for the service is no stall."""
    over = Event()

    def tell() -> None:
        while not over.wait(_TICK):
            log.alive()

    Thread(target=tell, name="alive", daemon=True).start()
    try:
        yield
    finally:
        over.set()


def _ask(engine: Engine, address: str, api: str) -> object:
    """The JSON of the service, [] for 404. The operator has named it, so its address may be private."""
    # If kept alive, the connection could serve other requests, past the guard.
    request = Request(address, headers={"Connection": "close"}, extensions={"timeout": _SILENCE})
    try:
        with guard.going_to(api), engine.urlopen(request) as response:
            data, until = b"", time.monotonic() + _PATIENCE
            while block := response.read(_BLOCK):
                data += block
                if len(data) > _LARGEST:
                    raise ValueError(f"it says more than {_LARGEST} bytes")
                if time.monotonic() > until:
                    raise ValueError(f"it takes more than {_PATIENCE} s")
            return json.loads(data, parse_constant=_refuse)
    except HTTPError as error:
        error.close()
        if error.status == _NONE_KNOWN:
            return []
        raise


def _refuse(word: str) -> NoReturn:
    raise ValueError(f"{word} is no number")


def _segments(answer: object, film: str) -> list[Any]:
    """The segments of `film`, of all films in the response; [] if it is malformed."""
    films = answer if isinstance(answer, list) else []
    found = next((one for one in films if isinstance(one, dict) and one.get("videoID") == film), {})
    segments = found.get("segments")
    return segments if isinstance(segments, list) else []


@dataclass(frozen=True, slots=True)
class _Segment:
    """Times in seconds; `of` is the length of the film in which it was marked, 0 if that is not known."""

    category: str
    start: float
    end: float
    of: float


def _segment(said: Any) -> _Segment | None:
    if not isinstance(said, dict) or said.get("actionType", "skip") != "skip":
        return None
    span = said.get("segment")
    if not isinstance(span, list) or len(span) != 2 or not isinstance(said.get("category"), str):
        return None
    numbers = [*span, said.get("videoDuration") or 0]
    if not all(_is_time(number) for number in numbers) or span[0] >= span[1]:
        return None
    return _Segment(said["category"], *map(float, numbers))


def _is_time(value: object) -> bool:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return is_number and 0 <= cast("float", value) < _LONGEST


def _span(said: _Segment, duration: float | None) -> Span | None:
    """As yt-dlp's `SponsorBlockPP`: a time within a second of the film's start or end is moved there.

    None if the segment was marked in a film of another length.
    """
    start, end = 0.0 if said.start <= 1 else said.start, said.end
    if duration and duration - end <= 1:
        end = max(start, duration)
    differs = abs(duration - said.of) if said.of and duration else 0.0
    fits = differs < 1 or (differs < 5 and differs < 0.05 * (end - start))
    return (start, end) if fits and end > start else None
