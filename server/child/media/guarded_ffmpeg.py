"""Has ffmpeg fetch streams from the network by itself, where the guard still checks every address.

ffmpeg can connect to one port of this machine only, that of a proxy whose own connections the guard checks.
RTMP, for which ffmpeg supports no proxy, is refused.

Decisions: docs/decisions/broadcasts.md
"""

import io
import re
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from threading import Thread
from typing import Any, Final, TextIO

from yt_dlp.networking.common import Response
from yt_dlp.networking.exceptions import HTTPError
from yt_dlp.utils import determine_protocol

from server.child.media import run_ffmpeg
from server.child.media.run_ffmpeg import NetworkAccess
from server.child.network.proxy import Proxy
from server.child.network.range_server import RangeServer
from server.child.process import yt_dlp_parts
from server.child.process.job_failed import JobFailed
from server.child.process.log import Excerpt, Log, lines_of

Streams = Sequence[Mapping[str, Any]]

_HLS: Final = ("m3u8", "m3u8_native")
_PLAIN: Final = ("http", "https")
_DASH: Final = "http_dash_segments"
_READ_TIMEOUT: Final = "20000000"  # microseconds that ffmpeg waits for a byte
_LAST_LINES: Final = 40
_HTTP_ERROR: Final = re.compile(r"^\[\w+ @ 0x[0-9a-f]+\] HTTP error (\d{3}) ", re.MULTILINE)


def can_fetch(stream: Mapping[str, Any]) -> bool:
    """Whether ffmpeg can fetch `stream` under the guard."""
    protocol = determine_protocol(stream)
    if protocol == _DASH:
        return bool(stream.get("manifest_url")) and yt_dlp_parts.fits("periods")
    return protocol in (*_HLS, *_PLAIN)


def is_dash(stream: Mapping[str, Any]) -> bool:
    return bool(determine_protocol(stream) == _DASH)


def is_hls(stream: Mapping[str, Any]) -> bool:
    return determine_protocol(stream) in _HLS


class Run:
    """A running ffmpeg; `messages` are the last lines that it wrote."""

    def __init__(self, program: Any) -> None:
        self.program = program
        self._last_lines: deque[str] = deque(maxlen=_LAST_LINES)

    @property
    def messages(self) -> str:
        return "\n".join(self._last_lines)

    def ask_to_end(self) -> None:
        """Have ffmpeg complete its output and end; it obeys only when the next bytes of its input come."""
        try:
            self.program.stdin.write("q")
            self.program.stdin.flush()
        except OSError:
            # ffmpeg has just ended. Closing flushes again what could not be written, and fails as well.
            with suppress(OSError):
                self.program.stdin.close()

    def listen(self, lines: TextIO, log: Log) -> None:
        """Read `lines` to their end; of very many only the first and the last are logged."""
        excerpt = Excerpt()
        for line in lines_of(lines):
            self._last_lines.append(line)
            if excerpt.add(line):
                log.write(line)
        log.write("\n".join(excerpt.rest))


@contextmanager
def running(command: list[str], server: Proxy | RangeServer, log: Log) -> Iterator[Run]:
    """Run ffmpeg while the block lasts. After it ffmpeg has ended or was killed, and its output is logged."""
    with run_ffmpeg.start(command, NetworkAccess(server.port, server.url)) as program:
        run = Run(program)
        listener = Thread(target=run.listen, args=(program.stderr, log), name="ffmpeg", daemon=True)
        listener.start()
        try:
            with run_ffmpeg.kill_afterwards(program):
                yield run
        finally:
            listener.join()


def source(
    stream: Mapping[str, Any], server: Proxy, hls: list[str], jar: Any, playlist: str | None = None
) -> list[str]:
    """Return ffmpeg's arguments to read `stream`, or in its place the playlist at the URL `playlist`."""
    protocol = determine_protocol(stream)
    options = hls if protocol in (*_HLS, _DASH) else []
    headers = {name: str(value) for name, value in (stream.get("http_headers") or {}).items()}
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items() if "\n" not in value)
    return [
        *(["-headers", lines] if lines else []),
        *_cookies(stream, server, jar),
        "-rw_timeout",
        _READ_TIMEOUT,
        *options,
        "-i",
        playlist or address(stream),
    ]


def address(stream: Mapping[str, Any]) -> str:
    """Return the URL of `stream`, or of its DASH manifest."""
    return str(stream["manifest_url"] if determine_protocol(stream) == _DASH else stream["url"])


def hls_options(ffmpeg: str, start: int | None = None) -> list[str]:
    """Return the options for HLS that this ffmpeg has. It begins with segment `start` of the playlist, -1
    being the last one; by default it chooses.
    """
    supported = run_ffmpeg.help_on(ffmpeg, "demuxer=hls")
    wanted = {"-extension_picky": "0", "-seg_max_retry": "3", "-http_persistent": "0"}
    begin = ["-live_start_index", str(start)] if start is not None else []
    return ["-f", "hls", *begin, *(word for item in wanted.items() if item[0] in supported for word in item)]


def error_of_messages(messages: str) -> Exception:
    """Return the error of an ffmpeg that got nothing: an `HTTPError` if `messages` have an HTTP status."""
    if not (found := _HTTP_ERROR.search(messages)):
        return JobFailed("incomplete", "ffmpeg got nothing")
    error: Exception = HTTPError(Response(io.BytesIO(), "", {}, int(found[1])))
    return error


def _cookies(stream: Mapping[str, Any], server: Proxy, jar: Any) -> list[str]:
    """Return ffmpeg's arguments for the cookies of an https URL; for http the proxy adds them.

    ffmpeg compares only how a host's name ends. With a leading dot in a domain it would send nothing to the
    domain's own host, so the dot is removed; then other hosts may match, which the proxy refuses.
    """
    if not address(stream).startswith("https:"):
        return []
    found = jar.get_cookies_for_url(address(stream))
    server.cookie_domains.update(one.domain for one in found)
    lines = [f"{one.name}={one.value}; path={one.path}; domain={one.domain.lstrip('.')};" for one in found]
    return ["-cookies", "\n".join(lines)] if lines else []
