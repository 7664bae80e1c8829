"""One number for everything: 20 when the download starts, then the bytes of all streams, then ffmpeg, 99.

`Meter` is arithmetic, `Reporter` decides what is said and when. yt-dlp's hooks come from several threads.
"""

import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

START, END = 20.0, 99.0
SHORTEST_PAUSE = 0.25
ALIVE_AFTER = 2.0
_LEAST_PASSED = 1.0  # seconds from which a speed is more than chance
_LARGEST = 1 << 60  # bytes
_GUESS = 32_000_000
"""Of a stream without a known length: the bytes at which it counts as half done."""


class Sender(Protocol):
    def send(self, kind: str, **fields: Any) -> None: ...


@dataclass(slots=True)
class Stream:
    """One of the streams; `weight` is its share of the work, `size` is None until it is known."""

    weight: float = 1.0
    size: int | None = None
    done: int = 0
    share: float = 0.0
    _began: bool = False

    def update(self, hook: Mapping[str, Any]) -> int:
        """Take in one of yt-dlp's progress dicts; return how many bytes came in since the last one."""
        finished = hook.get("status") == "finished"
        size = hook.get("total_bytes")
        before, self.done = self.done, hook.get("downloaded_bytes") or (finished and size) or self.done
        # A size that the bytes that came exceed is wrong.
        self.size = self.done if finished else size or self.size
        if self.size is not None and self.size < self.done:
            self.size = None
        self.share = max(self.share, 1.0 if finished else self._share(hook))
        # The first report counts what an earlier attempt left, which did not come in now.
        came_in, self._began = (self.done - before if self._began else 0), True
        return max(0, came_in)

    def _share(self, hook: Mapping[str, Any]) -> float:
        if self.size:
            return self.done / self.size
        if count := hook.get("fragment_count"):  # steadier than yt-dlp's estimate of the bytes
            return float(min(1.0, (hook.get("fragment_index") or 0) / count))
        return self.done / (self.done + _GUESS)


class Meter:
    """`convert` is the part of the work that ffmpeg has, 0-1."""

    def __init__(self, streams: list[Stream], convert: float = 0.0) -> None:
        self.streams = streams
        self._turn = START + (END - START) * (1.0 - convert)
        self._weight = sum(stream.weight for stream in streams) or 1.0

    @property
    def downloaded(self) -> int:
        return sum(stream.done for stream in self.streams)

    @property
    def at_least(self) -> int:
        """What all of it comes to, as far as that is known by now."""
        return sum(max(stream.done, stream.size or 0) for stream in self.streams)

    @property
    def total(self) -> int | None:
        """The bytes of all streams, only if all are known."""
        sizes = self.sizes
        return sum(size for size in sizes if size) if sizes and None not in sizes else None

    @property
    def sizes(self) -> list[int | None]:
        """Of each stream, where it is known."""
        return [stream.size for stream in self.streams]

    def of_download(self) -> float:
        share = sum(stream.weight * stream.share for stream in self.streams) / self._weight
        return START + (self._turn - START) * share

    def of_convert(self, share: float) -> float:
        return self._turn + (END - self._turn) * min(max(share, 0.0), 1.0)


def expected(formats: Iterable[Mapping[str, Any]], duration: float | None) -> list[Stream]:
    """Streams for the chosen formats, weighted by size, else by bit rate, else all alike."""
    formats = list(formats)
    weights = [weight(chosen, duration) for chosen in formats]
    known = [weight for weight in weights if weight]
    usual = sum(known) / len(known) if known else 1.0
    return [
        Stream(weight or usual, chosen.get("filesize") or None)
        for chosen, weight in zip(formats, weights, strict=True)
    ]


def weight(chosen: Mapping[str, Any], duration: float | None) -> float:
    """Bytes, at least about; 0 if nobody can tell, or what is told is no size of a file."""
    size = chosen.get("filesize") or chosen.get("filesize_approx")
    told = size or (chosen.get("tbr") or 0) * 125 * (duration or 0)
    return float(told) if 0 < told < _LARGEST else 0.0


class Speed:
    """yt-dlp's is the mean since the start; here it is that since the pace was changed."""

    def __init__(self) -> None:
        self._came_in = 0
        self._changed_at: float | None = None

    def changed(self) -> None:
        self._came_in, self._changed_at = 0, time.monotonic()

    def of(self, hook: Mapping[str, Any], came_in: int) -> float | None:
        """Bytes a second, of which so many more came in; None if nobody can tell yet."""
        self._came_in += came_in
        if self._changed_at is None:
            return hook.get("speed")
        passed = time.monotonic() - self._changed_at
        return self._came_in / passed if passed >= _LEAST_PASSED else None


class Reporter:
    """Tells the server, at most four times a second; never a lower number than before."""

    def __init__(self, sender: Sender) -> None:
        self._sender = sender
        self._lock = threading.Lock()
        self._highest = START
        self._said_at = time.monotonic()
        self._converting = False
        self._held = self._fetches = self._said_held = False
        self._news: tuple[Meter, Mapping[str, Any]] | None = None
        self._later: threading.Timer | None = None

    def download_started(self) -> None:
        self._say("download_started")

    def download(self, meter: Meter, hook: Mapping[str, Any]) -> None:
        """What is not due yet is told a little later, if nothing newer is."""
        with self._lock:
            self._news = (meter, hook)
            self._tell_when_due()

    def hold(self, held: bool) -> None:
        """Nothing more may be fetched, or it may go on; that is told of what is fetched."""
        with self._lock:
            self._held = held
            self._tell_hold()

    @contextmanager
    def fetching(self) -> Iterator[None]:
        """While the block runs there is something to hold."""
        try:
            self._set_fetching(True)
            yield
        finally:
            self._set_fetching(False)

    def _set_fetching(self, fetches: bool) -> None:
        with self._lock:
            self._fetches = fetches
            self._tell_hold()

    def _tell_hold(self) -> None:
        held = self._held and self._fetches
        if held != self._said_held:
            self._said_held = held
            self._say("held", held=held)

    def last(self) -> None:
        """Tell what was not due yet: what follows a fault depends on the bytes."""
        with self._lock:
            self._tell_news()

    def convert(self, value: float, downloaded_bytes: int | None = None) -> None:
        """The first one is always sent: the change of stage must not wait."""
        with self._lock:
            if self._converting and not self._is_due():
                return
            self._converting, self._news = True, None
            self._send_progress(value, stage="convert", downloaded_bytes=downloaded_bytes)

    def _tell_when_due(self) -> None:
        if self._is_due():
            self._tell_news()
        elif self._news and not self._later:
            self._later = threading.Timer(SHORTEST_PAUSE, self._tell_late)
            self._later.daemon = True
            self._later.start()

    def _tell_late(self) -> None:
        with self._lock:
            self._later = None
            self._tell_when_due()

    def _tell_news(self) -> None:
        if self._converting or not self._news:
            return
        (meter, hook), self._news = self._news, None
        self._send_progress(
            meter.of_download(),
            stage="download",
            downloaded_bytes=meter.downloaded,
            total_bytes=meter.total,
            speed=round(_speed(hook)) or None,
            eta=_eta(meter, hook),
        )

    def moved(self) -> None:
        """Something moves, though there is nothing new to say: the server must not take it for a stall."""
        with self._lock:
            if time.monotonic() - self._said_at >= ALIVE_AFTER:
                self._say("alive")

    def _is_due(self) -> bool:
        return time.monotonic() - self._said_at >= SHORTEST_PAUSE

    def _send_progress(self, value: float, **fields: Any) -> None:
        self._highest = max(self._highest, min(value, END))
        known = {name: field for name, field in fields.items() if field is not None}
        self._say("progress", progress=round(self._highest, 1), **known)

    def _say(self, kind: str, **fields: Any) -> None:
        self._said_at = time.monotonic()
        self._sender.send(kind, **fields)


def _speed(hook: Mapping[str, Any]) -> float:
    """0 where it is not known: of fragments that are gone on with, yt-dlp takes off what was never there."""
    return float(max(0.0, hook.get("speed") or 0.0))


def _eta(meter: Meter, hook: Mapping[str, Any]) -> int | None:
    """Seconds for what is left of all streams; None where either is not known."""
    speed, total = _speed(hook), meter.total
    if not speed or total is None:
        return None
    return int(max(0, total - meter.downloaded) / speed)
