"""Finds out what a file is: its container by its first bytes, its streams by its index or by ffmpeg.

Names and content types of sources may be wrong, and ffprobe may be missing.
"""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final

from server.child.media import mp4, run_ffmpeg
from server.child.process.job_failed import JobFailed

_EBML: Final = b"\x1a\x45\xdf\xa3"  # the ID of the first element of a Matroska or WebM file
_SEGMENT: Final = b"\x18\x53\x80\x67"  # that of the second


def is_matroska_cut_off(path: Path) -> bool:
    """Whether the segment, which is all but the EBML header, states that it is longer than the file."""
    with path.open("rb") as file:
        if file.read(4) != _EBML or (size := _element_size(file)) is None:
            return False
        file.seek(size, 1)
        if file.read(4) != _SEGMENT or (size := _element_size(file)) is None:
            return False
        return file.tell() + size > path.stat().st_size


def _element_size(file: BinaryIO) -> int | None:
    """Read the size of an EBML element (RFC 8794, 6); None if it is marked as unknown, or is damaged."""
    first = file.read(1)
    length = 9 - first[0].bit_length() if first else 9
    rest = file.read(length - 1)
    if length > 8 or len(rest) < length - 1:
        return None
    size = int.from_bytes(first + rest) & (1 << 7 * length) - 1
    return None if size == (1 << 7 * length) - 1 else size


HEAD = 1024  # bytes that `sniff` needs
_GIF = b"GIF8"
_PICTURES: tuple[tuple[int, bytes], ...] = (
    (0, b"\x89PNG"),
    (0, b"\xff\xd8\xff"),
    (0, _GIF),
    (8, b"WEBP"),
    *((4, b"ftyp" + brand) for brand in (b"avif", b"avis", b"heic", b"heix", b"mif1", b"msf1")),
)
_ANIMATED = b"NETSCAPE2.0"  # the extension by which animated GIFs state their loops
_DOCUMENTS = (b"%PDF", b"PK\x03\x04", b"\x1f\x8b", b"7z\xbc\xaf", b"Rar!", b"BZh", b"\xfd7zXZ", b"\x7fELF")
_BINARY = re.compile(rb"[\x00-\x08\x0e-\x1a\x1c-\x1f]")
_OTHER_KINDS = re.compile(r"(text|image|font)/|application/([\w.-]+\+)?(json|xml|pdf|zip|gzip|javascript)\b")
_SIGNATURES: tuple[tuple[int, bytes, str], ...] = (
    (4, b"ftypqt  ", "mov"),
    (4, b"ftypM4A ", "m4a"),
    (4, b"ftyp3g", "3gp"),
    (4, b"ftyp", "mp4"),
    (4, b"styp", "mp4"),
    *((4, box, "mov") for box in (b"moov", b"mdat", b"wide", b"free", b"skip", b"pnot")),
    (0, b"FLV\x01", "flv"),
    (8, b"AVI ", "avi"),
    (8, b"WAVE", "wav"),
    (8, b"AIFF", "aiff"),
    (0, b"caff", "caf"),
    (0, b"#!AMR", "amr"),
    (0, b".RMF", "rm"),
    (0, b"fLaC", "flac"),
    (0, b"ID3", "mp3"),
    (0, b"\x00\x00\x01\xba", "mpg"),
    (0, b"\x00\x00\x01\xb3", "mpg"),
    (0, b"\x30\x26\xb2\x75\x8e\x66\xcf\x11", "wmv"),
)
_HANDLERS = {"vide": "video", "soun": "audio", "text": "subtitle", "sbtl": "subtitle", "subt": "subtitle"}
MP4 = ("mp4", "m4a", "mov", "3gp")
"""Containers of one family, whose index is a `moov` box."""
_INPUT = re.compile(r"^Input #0, ([^,\s]+)", re.MULTILINE)
_STILL_PICTURE = re.compile(r"image2|.*_pipe|tty|gif")
_SUFFIXES = {"matroska": "mkv", "mov": "mp4", "mpegts": "ts", "mpeg": "mpg", "mpegvideo": "mpg", "asf": "wmv"}
"""ffmpeg's names of containers -> the usual suffix, where that is another one."""
_STREAM = re.compile(
    r"Stream #0:\d+.*?: (?P<kind>Video|Audio|Subtitle|Data|Attachment): (?P<codec>\w+)(?P<rest>.*)"
)
_FIRST_FRAMES = ("-map", "0:V:0?", "-map", "0:a:0?", "-frames:v", "1", "-frames:a", "1")
# The first picture may come later than `_FIRST_FRAMES` reads.
_FIRST_PICTURE = ("-map", "0:V:0", "-frames:v", "1")
_NO_DECODER = re.compile(r"no decoder found|Decoder .*not found", re.IGNORECASE)
_ON_ITS_SIDE = re.compile(r"(displaymatrix|Display Matrix): rotation of -?(90|270)\.")
_DURATION = re.compile(r"Duration: (\d+):(\d\d):(\d\d(?:\.\d+)?)")
_SIZE = re.compile(r"\b(?P<width>[1-9]\d{1,4})x(?P<height>[1-9]\d{1,4})\b")
_RATE = re.compile(r"\b(\d+) kb/s")


@dataclass(frozen=True, slots=True)
class Track:
    """One of a file's streams; `kind` is ffmpeg's word in small letters, or `cover`."""

    kind: str
    codec: str


@dataclass(frozen=True, slots=True)
class Media:
    """What is in a file. `container` is the usual suffix, `duration` in seconds; codecs have ffmpeg's names,
    None if there is no such stream.

    `tracks` are all streams in their order, the first picture and sound among them.
    """

    container: str
    duration: float | None = None
    video: str | None = None
    audio: str | None = None
    width: int | None = None
    height: int | None = None
    audio_rate: int | None = None
    """kbit/s"""
    tracks: tuple[Track, ...] = ()


def sniff(head: bytes) -> str | None:
    """Return the container that begins with `head`; None if no known one does."""
    if head.startswith(_GIF) and _ANIMATED in head:
        return "gif"
    if _is_picture(head):
        return None
    for at, signature, container in _SIGNATURES:
        if head[at : at + len(signature)] == signature:
            return container
    if head.startswith(b"\x1a\x45\xdf\xa3"):
        return "webm" if b"webm" in head[:64] else "mkv"
    if head.startswith(b"OggS"):
        return "opus" if b"OpusHead" in head[:64] else "ogg"
    if head[:1] == head[188:189] == b"\x47":
        return "ts"
    if len(head) > 1 and head[0] == 0xFF and head[1] & 0xE0 == 0xE0:
        return {0: "aac", 2: "mp3", 4: "mp3"}.get(head[1] & 0x06)
    return None


def is_something_else(kind: str, head: bytes) -> bool:
    """Whether what begins with `head` is certainly neither video nor sound; `kind` is its Content-Type.

    `kind` does not count if `head` looks like a film: servers send files of unknown suffixes as text.
    """
    # An animated GIF counts as a film, which only `inspect` finds out.
    if sniff(head) or head.startswith(_GIF):
        return False
    known = _is_picture(head) or head.startswith(_DOCUMENTS) or not _BINARY.search(head)
    return known or bool(_OTHER_KINDS.match(kind.lower()))


def _is_picture(head: bytes) -> bool:
    return any(head[at : at + len(signature)] == signature for at, signature in _PICTURES)


def is_cut_off(path: Path) -> bool:
    """Whether the file states that it should be longer; only MP4, Matroska and their variants do."""
    container = _container(path)
    if container in MP4:
        return mp4.is_cut_off(path)
    return container in ("mkv", "webm") and is_matroska_cut_off(path)


def inspect(path: Path, ffmpeg: str, *, need_rate: bool = False) -> Media:
    """Return what is in the file at `path`; raises `JobFailed` if it is neither video nor sound, or cannot be
    decoded.

    With `need_rate` ffmpeg reads the file in any case, and finds out `audio_rate`.
    """
    container = _container(path)
    if container in MP4 and not need_rate and (movie := mp4.read(path)) and mp4.is_plausible(path, movie):

        def first(kind: str) -> mp4.Mp4Track | None:
            return next((track for track in movie.tracks if track.kind == kind), None)

        picture, sound = first("vide"), first("soun")
        return Media(
            container,
            movie.duration,
            picture.codec if picture else None,
            sound.codec if sound else None,
            picture.width if picture else None,
            picture.height if picture else None,
            tracks=tuple(Track(_HANDLERS.get(track.kind, "data"), track.codec) for track in movie.tracks),
        )
    result = _run_ffmpeg(path, ffmpeg, *_FIRST_FRAMES)
    media = _of_report(container, result.errors)
    if not (_decodes(result) or _decodes(_run_ffmpeg(path, ffmpeg, *_FIRST_PICTURE))):
        raise JobFailed("no_media", "nothing of it can be decoded")
    return media


def read_index(path: Path) -> mp4.Movie | None:
    """Read the index of an MP4, without ffmpeg; None for other files, and where `mp4.read` returns None."""
    return mp4.read(path) if _container(path) in MP4 else None


def _container(path: Path) -> str | None:
    with path.open("rb") as file:
        return sniff(file.read(HEAD))


def _run_ffmpeg(path: Path, ffmpeg: str, *outputs: str) -> run_ffmpeg.FfmpegResult:
    """Have ffmpeg describe its input, and write a line for each frame that it decodes."""
    # With more threads ffmpeg would decode further pictures in advance.
    one_thread = ("-hide_banner", "-threads", "1")
    return run_ffmpeg.run([ffmpeg, *one_thread, "-i", f"file:{path}", *outputs, "-f", "framecrc", "-"])


def _decodes(result: run_ffmpeg.FfmpegResult) -> bool:
    """Whether ffmpeg decoded anything, or has no decoder for it: players may have one."""
    decoded = any(not line.startswith("#") for line in result.output.splitlines())
    return decoded or bool(_NO_DECODER.search(result.errors))


def _of_report(container: str | None, report: str) -> Media:
    opened_as = found[1] if (found := _INPUT.search(report)) else ""
    if _STILL_PICTURE.fullmatch(opened_as) and container != "gif":
        raise JobFailed("no_media", f"it is {opened_as}")
    report = report.partition("\nStream mapping:")[0]
    streams = list(_STREAM.finditer(report))
    picture = next((found for found in streams if _kind(found) == "video"), None)
    sound = next((found for found in streams if _kind(found) == "audio"), None)
    if picture is None and sound is None:
        raise JobFailed("no_media", (report.strip().splitlines() or ["nothing in it"])[-1])
    size = _SIZE.search(picture["rest"]) if picture else None
    width, height = (int(size["width"]), int(size["height"])) if size else (None, None)
    if picture and _ON_ITS_SIDE.search(report[picture.end() :].partition("Stream #")[0]):
        width, height = height, width
    length = _DURATION.search(report)
    rate = _RATE.search(sound["rest"]) if sound else None
    return Media(
        container or _SUFFIXES.get(opened_as, opened_as),
        int(length[1]) * 3600 + int(length[2]) * 60 + float(length[3]) if length else None,
        picture["codec"] if picture else None,
        sound["codec"] if sound else None,
        width,
        height,
        int(rate[1]) if rate else None,
        tuple(Track(_kind(found), found["codec"]) for found in streams),
    )


def _kind(found: re.Match[str]) -> str:
    return "cover" if "attached pic" in found["rest"] else found["kind"].lower()
