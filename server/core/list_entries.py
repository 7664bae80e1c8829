"""An entry that a child finds in a list, and a list's counts of its entries."""

from pydantic import ConfigDict, Field, NonNegativeInt

from server.core.film import ListedInfo, VideoInfo
from server.core.jobs import SMUGGLED
from server.core.values import Frozen, HttpUrl, Stored, without_password


class ListEntry(Frozen):
    """An entry that a child found in a list; `index` counts the entries found.

    `url` is the entry's own link, perhaps with data that its extractor has added and that no client gets.
    With `item`, it is the link of the list, in which the entry has this number.
    """

    model_config = ConfigDict(extra="ignore")

    index: int = Field(ge=1)
    url: HttpUrl
    item: int | None = Field(default=None, ge=1)
    title: str | None = None
    duration: NonNegativeInt | None = None
    uploader: str | None = None
    says: ListedInfo | None = None

    @property
    def shown_url(self) -> str:
        return without_password(self.url.partition(SMUGGLED)[0])

    @property
    def video_info(self) -> VideoInfo:
        return VideoInfo(title=self.title, duration=self.duration, uploader=self.uploader)


class Entries(Stored):
    """Counts of a list's entries; `failed` counts all that have ended without being completed."""

    total: NonNegativeInt = 0
    completed: NonNegativeInt = 0
    failed: NonNegativeInt = 0
    truncated: bool = Field(default=False, description="the list has more entries than are taken of one list")

    @property
    def ended(self) -> int:
        return self.completed + self.failed
