"""Moves the times of subtitles in SRT or WebVTT, when only some of their film is kept."""

import re
from typing import Final

from server.child.media.timeline import Kept

_TIME: Final = r"(?:(\d+):)?(\d{1,2}):(\d{1,2})[.,](\d{1,3})"
_CUE: Final = re.compile(rf"^[ \t]*{_TIME}[ \t]*-->[ \t]*{_TIME}(.*)$", re.MULTILINE)
_WITHIN: Final = re.compile(rf"<{_TIME}>")
_BLANK: Final = re.compile(r"\n[ \t]*\n+")


def follow(text: str, kind: str, kept: Kept) -> str | None:
    """`text`, which is `srt` or `vtt`, with its times in the cut film; None if no cue is left."""
    blocks, cues = list[str](), 0
    for block in _BLANK.split(text.replace("\r\n", "\n").strip("\n")):
        if not (found := _CUE.search(block)):
            blocks += [block] if kind == "vtt" else []
        elif moved := _moved(block, found, kind, kept):
            cues += 1
            blocks.append(f"{cues}\n{moved}" if kind == "srt" else moved)
    return "\n\n".join([*blocks, ""]) if cues else None


def _moved(block: str, found: re.Match[str], kind: str, kept: Kept) -> str | None:
    seen = kept.of(_seconds(*found.groups()[:4]), _seconds(*found.groups()[4:8]))
    if seen is None:
        return None
    times = f"{_written(seen[0], kind)} --> {_written(seen[1], kind)}{found[9]}"
    words = _WITHIN.sub(
        lambda within: f"<{_written(kept.when(_seconds(*within.groups())), kind)}>", block[found.end() :]
    )
    name = block[: found.start()] if kind == "vtt" else ""
    return f"{name}{times}{words}"


def _seconds(hours: str | None, minutes: str, seconds: str, thousandths: str) -> float:
    return int(hours or 0) * 3600 + int(minutes) * 60 + int(seconds) + int(thousandths.ljust(3, "0")) / 1000


def _written(moment: float, kind: str) -> str:
    whole, thousandths = divmod(round(moment * 1000), 1000)
    minutes, seconds = divmod(whole, 60)
    point = "," if kind == "srt" else "."
    return f"{minutes // 60:02}:{minutes % 60:02}:{seconds:02}{point}{thousandths:03}"
