"""What a child tells of a film and of the files made of it, as it is stored and shown.

A source's texts have been made harmless by the child (`server.child.extract.video_info`).
"""

from typing import Annotated

from pydantic import Field, NonNegativeFloat, NonNegativeInt

from server.core.values import Stored


class VideoInfo(Stored):
    """What the source says of the film; every field is absent until it is known."""

    title: str | None = None
    duration: NonNegativeInt | None = Field(default=None, description="whole seconds")
    uploader: str | None = None
    webpage_url: str | None = None
    extractor: str | None = None
    width: NonNegativeInt | None = None
    height: NonNegativeInt | None = None
    filesize: NonNegativeInt | None = Field(default=None, description="bytes")
    live: bool | None = Field(default=None, description="a broadcast that goes on, or went on when recorded")
    cut: bool | None = Field(
        default=None, description="its files are a part of the film, and their times are not the film's"
    )
    id: str | None = Field(default=None, description="at its source")
    extractor_key: str | None = Field(default=None, description="with `id` unique, unless it is Generic")
    channel: str | None = None
    channel_id: str | None = None
    published_at: str | None = Field(
        default=None, description="in UTC, like 2026-01-31T08:00:00Z; where no more is known, a day"
    )


SMALL_WIDTH = 192  # pixels: the width of a row's picture on a screen with two pixels for each CSS pixel


class StoredFile(Stored):
    """A published file: its public `name`, its `path` below the task's directory, its `size` in bytes."""

    name: str
    path: str
    size: NonNegativeInt
    type: str
    title: str | None = Field(default=None, description="of a chapter")
    codec: str | None = Field(default=None, description="of its picture, or of its sound if it has none")
    sha256: str | None = Field(
        default=None, description="of the content; files of the first releases lack it"
    )
    crc32: int | None = Field(default=None, description="of the content, for archives; as with `sha256`")


class Thumbnail(StoredFile):
    """The picture of a task, and the same picture in `SMALL_WIDTH` if the large one is wider."""

    small: StoredFile | None = Field(
        default=None, description="at most 192 pixels wide; tasks of earlier releases lack it"
    )

    def for_width(self, width: int) -> StoredFile:
        """The smallest file that is at least `width` pixels wide, else the largest."""
        return self.small if self.small and width <= SMALL_WIDTH else self


class ChapterMark(Stored):
    """A chapter of a film as it is in its files, in seconds; without an end it lasts until the next."""

    start: NonNegativeFloat
    end: NonNegativeFloat | None = None
    title: str | None = Field(default=None, max_length=500)


class About(Stored):
    """What the source says of a film beyond `video_info`; the library and feeds describe it with this."""

    description: str | None = Field(default=None, max_length=10_000, description="with its lines")
    tags: tuple[Annotated[str, Field(max_length=500)], ...] = Field(default=(), max_length=100)
    chapters: tuple[ChapterMark, ...] = Field(default=(), max_length=500)


class Manifest(Stored):
    """Stored beside finished files, so that a server that dies between publishing them and saving the status
    can complete the task later.
    """

    attempt: NonNegativeInt
    files: dict[str, StoredFile]
    video_info: VideoInfo
    fetched: NonNegativeInt | None = Field(
        default=None, description="bytes of the file that was fetched, if it was a single one"
    )
    about: About | None = Field(default=None, description="of a film whose job has asked for it")


class ListedInfo(Stored):
    """What a list says of an entry; it takes precedence over what the entry's own page says."""

    title: str | None = None
    uploader: str | None = None
    description: str | None = None
    thumbnail: str | None = None
    timestamp: NonNegativeFloat | None = Field(default=None, description="of its publication")
    series: str | None = None
    season_number: NonNegativeInt | None = None
    episode: str | None = None
    episode_number: NonNegativeInt | None = None
