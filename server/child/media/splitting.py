"""Splits a finished film, or sound, into a file for each chapter, as yt-dlp's `--split-chapters` does.

Streams are copied, so that a chapter of a film begins with the key frame before it. Lossless sound is encoded
anew, which loses nothing and makes length and checksum right. When ffmpeg cuts an MP4, the times of its
subtitles go wrong, so there the files they came from are cut.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

from server.child.media import embedding, timeline
from server.child.media.embedding import Embedded, Extras, Tags
from server.child.media.making import Of, Recipe, Word, arguments
from server.child.media.parts import Part
from server.child.media.probe import Media
from server.child.media.timeline import ChapterSpan, Kept
from server.child.process.job_failed import OF_ERRNO, JobFailed

MAX_CHAPTERS: Final = 200
"""Each is a file in the task's payload."""

_COARSE_SEEKS: Final = (*embedding.OGG, "mka")
"""Containers in which ffmpeg's seeks are off by seconds: it reads from earlier on and drops the surplus."""

_EARLIER_SECONDS: Final = 10.0

_LOSSLESS: Final = {"flac": ["-c:a", "flac"], "wav": ["-c:a", "pcm_s16le"]}
_WITHOUT_CUES: Final = {".srt": "\n", ".vtt": "WEBVTT\n"}
_LIKE_MP4: Final = ("mp4", "mov")


def split(
    whole: Path,
    chapters: Sequence[ChapterSpan],
    subtitles: tuple[Embedded, ...],
    tags: Tags | None,
    run: Callable[[list[str]], None],
    log: Callable[[str], None],
) -> dict[str, str]:
    """Make the files beside `whole` and return them, kind -> name; a chapter that fails is left out.

    `subtitles` are those embedded in `whole`. The tags of each file are its own title and number, and `tags`.
    Raises `JobFailed` for faults of the machine.
    """
    if len(chapters) > MAX_CHAPTERS:
        log(f"WARNING: chapters: the first {MAX_CHAPTERS} of {len(chapters)} become files")
    made = dict[str, str]()
    for number, chapter in enumerate(chapters[:MAX_CHAPTERS], 1):
        texts = _cut(subtitles, chapter, whole.parent.parent) if whole.suffix[1:] in _LIKE_MP4 else ()
        recipe = _recipe(whole, chapter, f"{number}/{len(chapters)}", texts, tags)
        try:
            run(arguments(whole.parent, recipe))
        except JobFailed as error:
            (whole.parent / recipe.name).unlink(missing_ok=True)
            if error.code in OF_ERRNO.values():
                raise
            log(f"WARNING: chapter {number} could not be made, and is left out")
        else:
            made[f"chapter.{number}"] = recipe.name
    return made


def _recipe(
    whole: Path, chapter: ChapterSpan, number: str, subtitles: tuple[Embedded, ...], tags: Tags | None
) -> Recipe:
    suffix = whole.suffix[1:]
    earlier = min(chapter.start, _EARLIER_SECONDS) if suffix in _COARSE_SEEKS else 0.0
    begin = ("-ss", f"{chapter.start - earlier:.3f}")
    source = Part(whole, Media(suffix), plain=False, reading=begin)
    words = [*_streams(source, subtitles), *_LOSSLESS.get(suffix, ()), "-map_chapters", "-1"]
    words += ["-ss", f"{earlier:.3f}"] if earlier else []
    # `-t` as an output option: as an input option it would not limit subtitles.
    words += ["-t", f"{chapter.end - chapter.start:.3f}"]
    if suffix in embedding.TAGGED:
        of_chapter = {"title": chapter.title or number.partition("/")[0], "track": number}
        of_film = tags or Tags({})
        chapter_tags = replace(of_film, values={**of_film.values, **of_chapter}, chapters=())
        written = embedding.write_tags(chapter_tags, whole.parent.parent)
        # Of two values of a tag ffmpeg takes the first: that of the chapter.
        if suffix in embedding.OGG:
            of_stream = "-map_metadata:s:a:0"
            words += [of_stream, Of(written.ogg, "g"), of_stream, Of(source, "s:a:0")]
        else:
            words += ["-map_metadata", Of(written.plain, "g"), "-map_metadata", Of(source, "g")]
        words += embedding.attach_cover(written) if suffix == "mkv" else []
    front = ["-movflags", "+faststart"] if suffix in ("mp4", "m4a", "mov") else []
    return Recipe(f"chapter-{int(number.partition('/')[0]):03}.{suffix}", [*words, *front])


def _streams(source: Part, subtitles: tuple[Embedded, ...]) -> list[Word]:
    container, copy = source.media.container, ["-dn", "-ignore_unknown", "-c", "copy"]
    # Sound alone: in these containers other streams would begin too early, or cannot be written.
    if container in _COARSE_SEEKS:
        return ["-map", Of(source, "a"), *copy]
    if container == "mkv":  # leave out the cover, which would become a video stream
        kinds = ("V", "a?", "s?")
        return [*(word for kind in kinds for word in ("-map", Of(source, kind))), *copy]
    if container not in _LIKE_MP4:
        return ["-map", Of(source), *copy]
    added = embedding.add(container, Extras(subtitles), source)
    maps = [word for part, name in added.subtitles for word in ("-map", Of(part, name))]
    return ["-map", Of(source, "v?"), "-map", Of(source, "a?"), *maps, *copy, *added.words]


def _cut(subtitles: Iterable[Embedded], chapter: ChapterSpan, folder: Path) -> tuple[Embedded, ...]:
    """Write the cues of `subtitles` that are shown in `chapter`, at their times in it, to `folder`."""
    made, kept = [], Kept(((chapter.start, chapter.end),))
    for number, whole in enumerate(subtitles):
        text = timeline.retime_subtitles(whole.path.read_text(encoding="utf-8"), whole.path.suffix[1:], kept)
        path = folder / f"chapter-{number}{whole.path.suffix}"
        path.write_text(text or _WITHOUT_CUES[whole.path.suffix], encoding="utf-8", newline="")
        made.append(replace(whole, path=path))
    return tuple(made)
