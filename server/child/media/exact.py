"""The options that encode an exact clip, cut to the frame: in good quality, quickly, for every player."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Final

from server.child.media.timeline import Span

_H264: Final = ["-c:v:0", "libx264", "-preset", "veryfast", "-crf", "18", "-c:a", "aac", "-b:a", "192k"]
_VP9: Final = [
    *("-c:v:0", "libvpx-vp9", "-deadline", "realtime", "-cpu-used", "6", "-row-mt", "1"),
    *("-crf", "28", "-b:v", "0", "-c:a", "libopus", "-b:a", "160k"),
]
_ENCODINGS: Final = {"mp4": _H264, "mkv": _H264, "webm": _VP9}
_TIMES: Final = ("-enc_time_base:v", "1/90000")
"""By default ffmpeg rounds the time of each picture to the frame rate, so that it is off from the sound."""

_EVEN: Final = "crop=trunc(iw/2)*2:trunc(ih/2)*2,format=yuv420p"  # even sides and 4:2:0, as players expect


def container(wanted: str, source: str) -> str:
    """`wanted` if it can be encoded, else `source`, the container of the part, else MP4."""
    return next((each for each in (wanted, source) if each in _ENCODINGS), "mp4")


def encoding(target: str, spans: Sequence[Span]) -> list[str]:
    """ffmpeg's options for picture and sound, of which `spans` are kept; the first begins at 0."""
    return [*_ENCODINGS[target], *_TIMES, "-filter:v:0", f"{_only(spans)},{_EVEN}", *sounding(spans)]


def sounding(spans: Sequence[Span]) -> list[str]:
    """The same for sound alone. It is cut at its frames: with smaller frames ffmpeg 9 hangs."""
    return ["-af", _only(spans, "a")]


def _only(spans: Sequence[Span], kind: str = "") -> str:
    """The filters that keep `spans`. `-t` would count from the first frame, a little later than 0."""
    end = f"{kind}trim=end={spans[-1][1]:.6f}"
    if len(spans) == 1:
        return end
    kept = "+".join(f"gte(t,{start:.6f})*lt(t,{stop:.6f})" for start, stop in spans)
    gaps = [(start, start - stop) for (_, stop), (start, _) in pairwise(spans)]
    left_out = "+".join(f"gte(T,{start:.6f})*{gap:.6f}" for start, gap in gaps)
    return f"{end},{kind}select='{kept}',{kind}setpts='PTS-({left_out})/TB'"
