"""One number for everything: 20 when the download starts, then the bytes of all streams, then ffmpeg, 99.

`Meter` is arithmetic, `Reporter` decides what is said and when. yt-dlp's hooks come from several threads.
"""

import threading
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

START, END = 20.0, 99.0
SHORTEST_PAUSE = 0.25
ALIVE_AFTER = 2.0
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
        sizes = [stream.size for stream in self.streams]
        return sum(size for size in sizes if size) if sizes and None not in sizes else None

    def of_download(self) -> float:
        share = sum(stream.weight * stream.share for stream in self.streams) / self._weight
        return START + (self._turn - START) * share

    def of_convert(self, share: float) -> float:
        return self._turn + (END - self._turn) * min(max(share, 0.0), 1.0)


def expected(formats: Iterable[Mapping[str, Any]], duration: float | None) -> list[Stream]:
    """Streams for the chosen formats, weighted by size, else by bit rate, else all alike."""
    formats = list(formats)
    weights = [_weight(chosen, duration) for chosen in formats]
    known = [weight for weight in weights if weight]
    usual = sum(known) / len(known) if known else 1.0
    return [
        Stream(weight or usual, chosen.get("filesize") or None)
        for chosen, weight in zip(formats, weights, strict=True)
    ]


def _weight(chosen: Mapping[str, Any], duration: float | None) -> float:
    size = chosen.get("filesize") or chosen.get("filesize_approx")
    return float(size or (chosen.get("tbr") or 0) * 125 * (duration or 0))


class Reporter:
    """Tells the server, at most four times a second; never a lower number than before."""

    def __init__(self, sender: Sender) -> None:
        self._sender = sender
        self._lock = threading.Lock()
        self._highest = START
        self._said_at = time.monotonic()
        self._converting = False

    def download_started(self) -> None:
        self._say("download_started")

    def download(self, meter: Meter, hook: Mapping[str, Any]) -> None:
        with self._lock:
            if self._converting or not self._is_due():
                return
            self._send_progress(
                meter.of_download(),
                stage="download",
                downloaded_bytes=meter.downloaded,
                total_bytes=meter.total,
                speed=round(hook.get("speed") or 0) or None,
                eta=_eta(meter, hook),
            )

    def convert(self, value: float) -> None:
        """The first one is always sent: the change of stage must not wait."""
        with self._lock:
            if self._converting and not self._is_due():
                return
            self._converting = True
            self._send_progress(value, stage="convert")

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


def _eta(meter: Meter, hook: Mapping[str, Any]) -> int | None:
    """Seconds for what is left of all streams; None where either is not known."""
    speed, total = hook.get("speed"), meter.total
    if not speed or total is None:
        return None
    return int(max(0, total - meter.downloaded) / speed)
