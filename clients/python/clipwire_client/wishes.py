"""The fields of `POST /api/process` and `POST /api/subscriptions` besides `url`, with their types.

The service's documents explain each.
"""

from collections.abc import Sequence
from typing import Literal, TypedDict

Output = Literal["video", "audio", "thumbnail", "subtitles"]
Category = Literal[
    "sponsor", "selfpromo", "interaction", "intro", "outro", "preview", "hook", "filler", "music_offtopic"
]


class SubtitleWishes(TypedDict, total=False):
    languages: Sequence[str]
    automatic: bool
    embed: bool
    format: Literal["srt", "vtt"]


class ClipWish(TypedDict, total=False):
    start: float | str
    end: float | str
    exact: bool


class LibraryWish(TypedDict, total=False):
    layout: Literal["shows", "movies", "music", "podcast"]
    folder: str
    name: str
    nfo: bool
    artwork: bool
    keep_task: bool


class Wishes(TypedDict, total=False):
    outputs: Sequence[Output]
    quality: Literal["best", "2160", "1440", "1080", "720", "480", "360", "worst"]
    video_format: Literal["mp4", "mkv", "webm", "any"]
    codec: Literal["auto", "h264", "h265", "vp9", "av1"]
    audio_format: Literal["mp3", "m4a", "opus", "flac", "wav", "best"]
    audio_quality: int
    audio_language: str
    format: str
    subtitles: SubtitleWishes
    mute: bool
    embed_metadata: bool
    split_chapters: bool
    clip: ClipWish
    sponsorblock: Sequence[Category]
    live: Literal["reject", "record", "wait"]
    playlist: bool
    playlist_items: str
    cookies: str
    auto_start: bool
    start_at: str
    reuse: bool
    preset: str
    priority: int
    webhook: str
    title: str
    library: LibraryWish


class FilterWishes(TypedDict, total=False):
    title: str | None
    not_title: str | None
    min_duration: int | None
    max_duration: int | None
    since: str | None
    until: str | None
    kinds: Sequence[Literal["video", "short", "stream"]] | None
    members: bool | None
    min_age: str | None


class KeepWish(TypedDict, total=False):
    days: int | None
    last: int | None


class FeedWish(TypedDict, total=False):
    name: str
    category: str
    explicit: bool


class SinceWish(TypedDict):
    since: str


class LastWish(TypedDict):
    last: int


class SubscriptionWishes(TypedDict, total=False):
    """The settings of a subscription. In a change, None sets one back to its default, or to that of its
    profile.
    """

    name: str | None
    enabled: bool | None
    interval: str | None
    request: Wishes | None
    filters: FilterWishes | None
    backlog: Literal["none", "all"] | LastWish | SinceWish | None
    keep: KeepWish | None
    library: LibraryWish | None
    feed: FeedWish | None
    profile: str | None
