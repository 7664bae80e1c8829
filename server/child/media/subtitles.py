"""Converts a source's subtitles to SRT or WebVTT, which players read, in UTF-8 without a BOM.

Subtitles in the wanted format keep their text. ffmpeg converts others, and yt-dlp TTML, which ffmpeg does not
read.
"""

import codecs
import re
from collections.abc import Callable
from pathlib import Path
from typing import Final

from yt_dlp.utils import dfxp2srt

from server.child.media import run_ffmpeg
from server.child.process.job_failed import JobFailed

_BOMS: Final = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
# Language -> the encoding of its subtitles before UTF-8; `_WESTERN` for others.
_TAIWANESE: Final = re.compile(r"zh.*(Hant|TW|HK|MO)", re.IGNORECASE)
_OLD: Final = {
    **dict.fromkeys(("zh", "chi", "zho"), "gb18030"),
    **dict.fromkeys(("ja", "jpn"), "cp932"),
    **dict.fromkeys(("ko", "kor"), "cp949"),
    **dict.fromkeys(("ru", "uk", "be", "bg", "mk", "sr", "rus", "ukr", "bul"), "cp1251"),
    **dict.fromkeys(("pl", "cs", "sk", "hu", "hr", "sl", "ro", "bs", "sq"), "cp1250"),
    **dict.fromkeys(("et", "lv", "lt"), "cp1257"),
    "el": "cp1253", "tr": "cp1254", "he": "cp1255", "iw": "cp1255", "ar": "cp1256", "fa": "cp1256",
    "th": "cp874", "vi": "cp1258",
}  # fmt: skip
_WESTERN: Final = "cp1252"
_TIMES: Final = re.compile(r"\d[ \t]*-->[ \t]*\d")
_MARKUP: Final = re.compile(r"<(\?xml|(\w+:)?tt\b)")
_DECLARED: Final = re.compile(r"^\s*<\?xml[^>]*\?>")
_PAGE: Final = re.compile(r"<(!doctype|html|head|body)\b", re.IGNORECASE)
_DEMUXERS: Final = {"srt": "srt", "vtt": "webvtt", "ass": "ass"}
_MUXERS: Final = {"srt": "srt", "vtt": "webvtt"}
_OTHERS: Final = "sami,subviewer,subviewer1,microdvd,mpl2,mpsub,lrc,pjs,realtext,vplayer,jacosub,aqtitle,stl"
"""Formats that ffmpeg detects by their content; without playlists, which name other files."""


def text_of(data: bytes, language: str) -> str:
    """`data` as text: by its BOM, else as UTF-8, else in the encoding that was usual for `language`."""
    for mark, encoding in _BOMS:
        if data.startswith(mark):
            return _clean(data[len(mark) :].decode(encoding, "replace"))
    try:
        return _clean(data.decode())
    except UnicodeDecodeError:
        return _clean(data.decode(_old_encoding(language), "replace"))


def kind_of(text: str) -> str | None:
    """`srt`, `vtt`, `ass`, `ttml`; None if ffmpeg is to detect it. Raises `JobFailed` for other content."""
    head = text[:2000].lstrip()
    if head.startswith("WEBVTT"):
        return "vtt"
    if head.startswith("[Script Info]"):
        return "ass"
    if _PAGE.match(head) or not head or head.startswith("[{") or re.match(r"\{\s*\"", head):
        raise JobFailed("conversion_failed", "it is empty" if not head else "it is a page, or data")
    if _MARKUP.match(head):
        return "ttml"
    return "srt" if _TIMES.search(head) else None


def make(source: Path, target: Path, language: str, ffmpeg: str, log: Callable[[str], None]) -> None:
    """Convert `source`, which is in `language`, to `target`, in the format of its suffix.

    Raises `JobFailed` if it is no subtitles, cannot be converted, or has no cue.
    """
    wanted, text = target.suffix[1:], text_of(source.read_bytes(), language)
    kind = kind_of(text)
    if kind == "ttml":
        kind, text = "srt", _from_ttml(text)
    if kind == wanted:
        target.write_text(text, encoding="utf-8", newline="")
    else:
        _convert(text, kind, target, ffmpeg, log)
    if not _TIMES.search(target.read_text(encoding="utf-8")):
        target.unlink()
        raise JobFailed("conversion_failed", "nothing in it is ever shown")


def _convert(text: str, kind: str | None, target: Path, ffmpeg: str, log: Callable[[str], None]) -> None:
    written = target.parent.parent / "subtitle.source"
    written.write_text(text, encoding="utf-8", newline="")
    known = ["-f", _DEMUXERS[kind]] if kind else ["-format_whitelist", _OTHERS]
    muxer = _MUXERS[target.suffix[1:]]
    try:
        run_ffmpeg.convert(ffmpeg, [*known, "-i", f"file:{written}", "-f", muxer, f"file:{target}"], log)
    except JobFailed:
        target.unlink(missing_ok=True)
        raise
    finally:
        written.unlink()


def _from_ttml(text: str) -> str:
    try:
        return str(dfxp2srt(_DECLARED.sub("", text).encode()))
    except Exception as error:  # yt-dlp's converter may raise anything for damaged XML
        raise JobFailed("conversion_failed", f"damaged TTML: {error}") from error


def _clean(text: str) -> str:
    """Without NULs, at which ffmpeg and players stop reading."""
    return text.removeprefix("\ufeff").replace("\0", "")


def _old_encoding(language: str) -> str:
    if _TAIWANESE.match(language):
        return "big5hkscs"
    return _OLD.get(re.split("[-_]", language.lower())[0], _WESTERN)
