"""The progress of a job, and the limit of its rate.

One percentage stands for the whole job: 20 when the download starts, then by the bytes of all streams, then
by ffmpeg's work, up to 99. `Meter` does the arithmetic, `Reporter` decides what is sent and when. Several
threads call yt-dlp's hooks.

`Throttle` limits the bytes a second over all connections of the job; the limit can change at any time.
yt-dlp's own limit applies to the mean rate since the start: a lower limit would stop a running download for
minutes. Here received bytes are a debt, which is paid off at the current rate.
"""

import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

START, END = 20.0, 99.0
SHORTEST_PAUSE = 0.25  # seconds between two reports
ALIVE_AFTER = 2.0  # seconds without a report, after which a sign of life is sent
_MEASURE_SECONDS = 1.0  # seconds before a speed is reported
_MAX_BYTES = 1 << 60
_HALF_OF_UNKNOWN = 32_000_000
"""The bytes after which a stream of unknown length counts as half fetched."""


class Sender(Protocol):
    def send(self, kind: str, **fields: Any) -> None: ...


@dataclass(slots=True)
class StreamProgress:
    """How much of a stream has come: `done` bytes of `size`, which is None until it is known.

    `share` is that of the stream, 0-1; `weight` is the stream's share of all.
    """

    weight: float = 1.0
    size: int | None = None
    done: int = 0
    share: float = 0.0
    _began: bool = False

    def update(self, hook: Mapping[str, Any]) -> int:
        """Update from one of yt-dlp's progress dicts; return how many bytes have come since the last one."""
        finished = hook.get("status") == "finished"
        size = hook.get("total_bytes")
        before, self.done = self.done, hook.get("downloaded_bytes") or (finished and size) or self.done
        # A size below the number of bytes received is wrong.
        self.size = self.done if finished else size or self.size
        if self.size is not None and self.size < self.done:
            self.size = None
        if finished:
            share = 1.0
        elif self.size:
            share = self.done / self.size
        elif count := hook.get("fragment_count"):
            # The share of fragments is steadier than yt-dlp's estimate of the bytes
            share = float(min(1.0, (hook.get("fragment_index") or 0) / count))
        else:
            share = self.done / (self.done + _HALF_OF_UNKNOWN)
        self.share = max(self.share, share)
        # The first report includes the bytes that an earlier attempt left on the disk.
        came_in, self._began = (self.done - before if self._began else 0), True
        return max(0, came_in)


class Meter:
    """Computes one percentage for the job from all `streams`; `convert` is ffmpeg's share of the work,
    0-1.
    """

    def __init__(self, streams: list[StreamProgress], convert: float = 0.0) -> None:
        self.streams = streams
        self._download_end = START + (END - START) * (1.0 - convert)
        self._weight = sum(stream.weight for stream in streams) or 1.0

    @property
    def downloaded(self) -> int:
        return sum(stream.done for stream in self.streams)

    @property
    def at_least(self) -> int:
        """Return the bytes of all streams whose sizes are known by now."""
        return sum(max(stream.done, stream.size or 0) for stream in self.streams)

    @property
    def total(self) -> int | None:
        """Return the bytes of all streams; None unless all sizes are known."""
        sizes = self.sizes
        return sum(size for size in sizes if size) if sizes and None not in sizes else None

    @property
    def sizes(self) -> list[int | None]:
        """Return the bytes of each stream, None where unknown."""
        return [stream.size for stream in self.streams]

    def of_download(self) -> float:
        """Return the percentage while streams are fetched."""
        share = sum(stream.weight * stream.share for stream in self.streams) / self._weight
        return START + (self._download_end - START) * share

    def of_convert(self, share: float) -> float:
        """Return the percentage when ffmpeg has done `share` of its work, 0-1."""
        return self._download_end + (END - self._download_end) * min(max(share, 0.0), 1.0)


def progress_of_streams(formats: Iterable[Mapping[str, Any]], duration: float | None) -> list[StreamProgress]:
    """Return the progress of streams of these formats, weighted by size, else by bit rate, else all alike.

    `duration` is in seconds.
    """
    formats = list(formats)
    weights = [weight(chosen, duration) for chosen in formats]
    known = [weight for weight in weights if weight]
    mean = sum(known) / len(known) if known else 1.0
    return [
        StreamProgress(weight or mean, chosen.get("filesize") or None)
        for chosen, weight in zip(formats, weights, strict=True)
    ]


def weight(chosen: Mapping[str, Any], duration: float | None) -> float:
    """Return the bytes of a format, perhaps estimated; 0 if unknown, or too large for a file."""
    size = chosen.get("filesize") or chosen.get("filesize_approx")
    estimate = size or (chosen.get("tbr") or 0) * 125 * (duration or 0)
    return float(estimate) if 0 < estimate < _MAX_BYTES else 0.0


class Reporter:
    """Sends progress to the server, at most four times a second and never a lower percentage than before."""

    def __init__(self, sender: Sender) -> None:
        self._sender = sender
        self._lock = threading.Lock()
        self._highest = START
        self._sent_at = time.monotonic()
        self._converting = False
        self._needs = 0  # the most bytes of disk space that were reported as needed
        self._is_held = self._is_fetching = self._sent_held = False
        self._pending: tuple[Meter, Mapping[str, Any]] | None = None
        self._timer: threading.Timer | None = None

    def download(self, meter: Meter, hook: Mapping[str, Any]) -> None:
        """Report the download; `hook` is yt-dlp's progress dict.

        If no report is due yet, it is sent a little later, unless a newer one replaces it.
        """
        with self._lock:
            self._pending = (meter, hook)
            self._send_when_due()

    def hold(self, held: bool) -> None:
        """Note whether downloads are held; it is reported only while something is being fetched."""
        with self._lock:
            self._is_held = held
            self._send_hold()

    @contextmanager
    def fetching(self) -> Iterator[None]:
        """While the block runs, something is being fetched that can be held."""
        try:
            with self._lock:
                self._is_fetching = True
                self._send_hold()
            yield
        finally:
            with self._lock:
                self._is_fetching = False
                self._send_hold()

    def _send_hold(self) -> None:
        held = self._is_held and self._is_fetching
        if held != self._sent_held:
            self._sent_held = held
            self.send("held", held=held)

    def send_pending(self) -> None:
        """Send the pending report: the server's reaction to a failure depends on the bytes received."""
        with self._lock:
            self._send_download()

    def convert(self, value: float, downloaded_bytes: int | None = None) -> None:
        """Report ffmpeg's progress. The first report is sent at once: the change of stage must not wait."""
        with self._lock:
            if self._converting and not self._is_due():
                return
            self._converting, self._pending = True, None
            self._send_progress(value, stage="convert", downloaded_bytes=downloaded_bytes)

    def need(self, size: int) -> None:
        """Report that the job needs `size` bytes of the disk, if these are more than before."""
        if size > self._needs:
            self._needs = size
            self._sender.send("needs", needs=size)

    def _send_when_due(self) -> None:
        if self._is_due():
            self._send_download()
        elif self._pending and not self._timer:

            def send_later() -> None:
                with self._lock:
                    self._timer = None
                    self._send_when_due()

            self._timer = threading.Timer(SHORTEST_PAUSE, send_later)
            self._timer.daemon = True
            self._timer.start()

    def _send_download(self) -> None:
        if self._converting or not self._pending:
            return
        (meter, hook), self._pending = self._pending, None
        # yt-dlp can report a negative speed for resumed fragments.
        speed, total = float(max(0.0, hook.get("speed") or 0.0)), meter.total
        self._send_progress(
            meter.of_download(),
            stage="download",
            downloaded_bytes=meter.downloaded,
            total_bytes=total,
            speed=round(speed) or None,
            eta=None if not speed or total is None else int(max(0, total - meter.downloaded) / speed),
        )

    def report_alive(self) -> None:
        """Send `alive` if nothing was sent for `ALIVE_AFTER` seconds, so that the server sees no stall."""
        with self._lock:
            if time.monotonic() - self._sent_at >= ALIVE_AFTER:
                self.send("alive")

    def _is_due(self) -> bool:
        return time.monotonic() - self._sent_at >= SHORTEST_PAUSE

    def _send_progress(self, value: float, **fields: Any) -> None:
        self._highest = max(self._highest, min(value, END))
        known = {name: field for name, field in fields.items() if field is not None}
        self.send("progress", progress=round(self._highest, 1), **known)

    def send(self, kind: str, **fields: Any) -> None:
        self._sent_at = time.monotonic()
        self._sender.send(kind, **fields)


@contextmanager
def each_second(tick: Callable[[], None]) -> Iterator[None]:
    """Call `tick` each second, in another thread, while the block runs."""
    is_over = threading.Event()

    def call() -> None:
        while not is_over.wait(1.0):
            tick()

    thread = threading.Thread(target=call, name="alive", daemon=True)
    thread.start()
    try:
        yield
    finally:
        is_over.set()
        thread.join()


LARGEST_BLOCK = 256 * 1024  # bytes
_LONGEST_NAP = 1.0  # seconds that a throttled download sleeps at a time


class Throttle:
    """Limits downloads to `rate` bytes a second; 0 holds them all, None is no limit.

    `on_nap` is called about once a second while the throttle holds a download back.
    """

    def __init__(self, rate: int | None = None, on_nap: Callable[[], None] = lambda: None) -> None:
        self._rate = rate
        self._on_nap = on_nap
        self._debt = 0.0
        self._paid_at = time.monotonic()
        self._changed = threading.Condition()
        self.holds = int(rate == 0)
        """How often the rate has become 0."""

        self._came_in = 0  # bytes received since the rate last changed
        self._changed_at: float | None = None

    def set_rate(self, bytes_per_second: int | None) -> None:
        with self._changed:
            self._pay()
            before, self._rate = self._rate, bytes_per_second
            self.holds += self._rate == 0 and before != 0
            if before != bytes_per_second:
                self._came_in, self._changed_at = 0, time.monotonic()
            self._changed.notify_all()

    def speed(self, hook: Mapping[str, Any], came_in: int) -> float | None:
        """Return bytes a second since the rate last changed, after `came_in` more bytes; None in the first
        second after that. Without any change it is yt-dlp's speed, in `hook`, the mean since the start.
        """
        self._came_in += came_in
        if self._changed_at is None:
            return hook.get("speed")
        passed = time.monotonic() - self._changed_at
        return self._came_in / passed if passed >= _MEASURE_SECONDS else None

    def pace(self, count: int, *, stops: bool = True) -> None:
        """Count `count` received bytes; block until more may be received.

        Unless it `stops`, a rate of 0 does not block: a broadcast that is being recorded is sent only once.
        """
        if self._rate is None:
            return
        with self._changed:
            self._pay()
            self._debt += count
            while nap := self._nap(stops):
                self._changed.wait(nap)
                self._pay()
                if self._nap(stops):
                    self._on_nap()

    def _nap(self, stops: bool) -> float:
        if self._rate == 0:
            return _LONGEST_NAP if stops else 0.0
        return min(self._debt / self._rate, _LONGEST_NAP) if self._rate else 0.0

    def block_size(self, wanted: int) -> int:
        """Return how many bytes to read at once: few enough that progress and the rate are steady."""
        quarter_second = self._rate // 4 if self._rate else LARGEST_BLOCK
        return max(1024, min(wanted, quarter_second, LARGEST_BLOCK))

    def _pay(self) -> None:
        now = time.monotonic()
        paid = (now - self._paid_at) * self._rate if self._rate else self._debt
        self._debt = max(0.0, self._debt - paid)
        self._paid_at = now
