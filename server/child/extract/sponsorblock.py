"""Requests from SponsorBlock the segments of a film that its users have marked, as yt-dlp does; its API is
described at https://wiki.sponsor.ajay.app/w/API_Docs.

The service gets the first four of the 64 hex digits of a hash of the film's id, and answers for all films
whose hash begins so. Its response is not trusted: malformed parts of it are ignored, and without a response
nothing is cut.

Decisions: docs/decisions/subtitles-tags-clips.md
"""

import hashlib
import json
import time
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any, Final, NoReturn
from urllib.parse import urlencode

from yt_dlp.networking import Request
from yt_dlp.networking.exceptions import HTTPError
from yt_dlp.utils import YoutubeDLError

from server.child.extract.youtube_dl import Engine
from server.child.media.timeline import Span
from server.child.network import guard
from server.child.process.job_failed import JobFailed
from server.child.process.log import Log
from server.child.process.progress import each_second

_SERVICES: Final = {"Youtube": "YouTube"}
"""yt-dlp's extractor -> SponsorBlock's name, as in yt-dlp's `SponsorBlockPP.EXTRACTORS`."""

_MAX_SECONDS: Final = 1e9  # of a film; a segment with a later time is ignored
_MAX_BYTES: Final = 4 * 1024 * 1024  # of a response
_TIMEOUT: Final = 20.0  # seconds for the whole response
_READ_TIMEOUT: Final = 10.0  # seconds without a byte
_BLOCK: Final = 64 * 1024  # bytes
_ERRORS = (YoutubeDLError, JobFailed, OSError, ValueError, RecursionError)


def find_segments(
    engine: Engine, info: Mapping[str, Any], categories: Sequence[str], api: str, log: Log
) -> list[Span]:
    """Return the spans of the film in `info` that are marked with `categories`; [] without a response."""
    service, film = _SERVICES.get(info.get("extractor_key") or ""), str(info.get("id"))
    if not service:
        log.write(f"sponsorblock: it has no segments for {info.get('extractor_key')}")
        return []
    digest = hashlib.sha256(film.encode()).hexdigest()
    query = {"service": service, "categories": json.dumps(list(categories)), "actionTypes": '["skip"]'}
    request = Request(
        f"{api}/api/skipSegments/{digest[:4]}?{urlencode(query)}",
        # If kept alive, the connection could serve other requests, past the guard.
        headers={"Connection": "close"},
        extensions={"timeout": _READ_TIMEOUT},
    )
    data, deadline = b"", time.monotonic() + _TIMEOUT
    try:
        try:
            # The operator chose the service, so its address may be private. Waiting for it is no stall.
            with each_second(log.alive), guard.also_allow(api), engine.urlopen(request) as response:
                while block := response.read(_BLOCK):
                    data += block
                    if len(data) > _MAX_BYTES:
                        raise ValueError(f"it sends more than {_MAX_BYTES} bytes")
                    if time.monotonic() > deadline:
                        raise ValueError(f"it takes more than {_TIMEOUT} s")
            answer = json.loads(data, parse_constant=_refuse)
        except HTTPError as error:
            error.close()
            if error.status != HTTPStatus.NOT_FOUND:
                raise
            answer = []  # none of these films has segments
    except _ERRORS as error:
        log.write(f"WARNING: sponsorblock does not answer, and nothing is cut out: {error}")
        return []
    spans, others = read_spans(answer, film, categories, info.get("duration"))
    if others:
        log.write("sponsorblock: some segments are of a video of another length, and are not cut out")
    log.write(f"sponsorblock: {len(spans)} segments are cut out")
    return spans


def read_spans(
    answer: object, film: str, categories: Sequence[str], duration: float | None
) -> tuple[list[Span], int]:
    """Return the spans in SponsorBlock's `answer`, and how many are left out because the film in which they
    were marked had another duration.

    Anything in the answer that is no segment of one of `categories` is ignored. Durations are compared as by
    yt-dlp's `SponsorBlockPP`; a time within a second of the film's start or end is moved there.
    """
    spans, others = list[Span](), 0
    films = answer if isinstance(answer, list) else []
    found = next((one for one in films if isinstance(one, dict) and one.get("videoID") == film), {})
    segments = found.get("segments")
    for segment in segments if isinstance(segments, list) else []:
        if not isinstance(segment, dict) or segment.get("actionType", "skip") != "skip":
            continue
        times = segment.get("segment")
        if segment.get("category") not in categories or not isinstance(times, list) or len(times) != 2:
            continue
        numbers = [*times, segment.get("videoDuration") or 0]
        are_numbers = [isinstance(one, int | float) and not isinstance(one, bool) for one in numbers]
        if (
            not all(are_numbers)
            or not all(0 <= one < _MAX_SECONDS for one in numbers)
            or times[0] >= times[1]
        ):
            continue
        start, end, marked_duration = map(float, numbers)  # the last is 0 if unknown
        start = 0.0 if start <= 1 else start
        if duration and duration - end <= 1:
            end = max(start, duration)
        difference = abs(duration - marked_duration) if marked_duration and duration else 0.0
        if end > start and (difference < 1 or (difference < 5 and difference < 0.05 * (end - start))):
            spans.append((start, end))
        else:
            others += 1
    return spans, others


def _refuse(word: str) -> NoReturn:
    raise ValueError(f"{word} is no number")
