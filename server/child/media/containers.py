"""Which streams a container takes: codecs that players expect in it, and subtitles in its own format."""

from collections import Counter

from server.child.media.parts import Part
from server.child.media.probe import Track

# container -> the codecs of pictures and of sound that players expect in it
_FITS: dict[str, tuple[frozenset[str], frozenset[str]]] = {
    "mp4": (
        frozenset(("h264", "hevc", "av1", "vp9", "mpeg4", "mpeg2video")),
        frozenset(("aac", "mp3", "opus", "flac", "alac", "ac3", "eac3")),
    ),
    "webm": (frozenset(("vp8", "vp9", "av1")), frozenset(("opus", "vorbis"))),
}
_TEXTS = frozenset(("subrip", "srt", "ass", "ssa", "webvtt", "mov_text", "text"))
_BITMAPS = frozenset(("hdmv_pgs_subtitle", "dvd_subtitle", "dvb_subtitle"))
_AS_TEXT = {"mp4": "mov_text", "mov": "mov_text", "webm": "webvtt"}


def fits(container: str, video: str, audio: str | None) -> bool:
    if container == "mkv":
        return True
    videos, audios = _FITS[container]
    return video in videos and (audio is None or audio in audios)


def sort_out(container: str, picture: Part, *, with_sound: bool) -> tuple[list[str], list[str], list[str]]:
    """For the file of `picture`: ffmpeg's specifiers of the streams that `container` takes, the options that
    its subtitles need, and what is left out.

    Its sound is taken only `with_sound`. A specifier ends in `?` where ffmpeg may find no such stream: the
    index of an MP4 was read without ffmpeg.
    """
    taken, left, seen = ["V:0"], list[str](), Counter[str]()
    subtitles = [track.codec for track in picture.media.tracks if _takes(container, track)]
    for track in picture.media.tracks:
        at = seen[track.kind]
        seen[track.kind] += 1
        if track.kind in ("audio", "subtitle") and _takes(container, track):
            if with_sound or track.kind != "audio":
                taken.append(f"{track.kind[0]}:{at}?")
        elif track.kind == "attachment" and container == "mkv":  # the fonts of its subtitles
            taken.append(f"t:{at}?")
        elif (track.kind, at) != ("video", 0):
            left.append(f"{track.kind} {track.codec}".strip())
    return taken, _as_subtitles(container, subtitles), left


def _takes(container: str, track: Track) -> bool:
    if track.kind == "subtitle":
        return track.codec in _TEXTS or (container == "mkv" and track.codec in _BITMAPS)
    return container in ("mkv", "mov") or track.codec in _FITS[container][1]


def _as_subtitles(container: str, codecs: list[str]) -> list[str]:
    """The option for the subtitles' codec: Matroska takes all as they are, except MP4's `mov_text`."""
    to = "srt" if "mov_text" in codecs else "copy"
    return ["-c:s", _AS_TEXT.get(container, to)] if _TEXTS & set(codecs) else []
