"""What the source of a subscription says of itself, and the pictures by which it is known.

The pictures are fetched by the child that checks the source. They are stored with the subscription, for any
node and over restarts: players, media servers and the page get ours, never the address of somebody else's.

Decisions: docs/decisions/library.md
"""

import hashlib
from collections.abc import Mapping, Sequence
from typing import Annotated, Literal

from pydantic import Base64Bytes, ConfigDict, Field, NonNegativeFloat

from server.core.values import Frozen, HttpUrl, Stored

# Seconds until a picture is fetched again that could not be fetched, or whose link has another signature.
TRY_AGAIN_AFTER = 86_400.0
PictureRole = Literal["picture", "banner"]
_JPEG = b"\xff\xd8\xff"
MOST_PICTURES = 2  # one for each role
Line = Annotated[str, Field(max_length=500)]


class SourceFacts(Stored):
    """`id` and `channel` tell whose films a list has: those of a channel, or a selection of somebody's."""

    id: Line | None = None
    channel: Line | None = None
    author: Line | None = None
    description: str | None = Field(default=None, max_length=4000, description="with its lines")
    pictures: dict[PictureRole, HttpUrl] = Field(default_factory=dict)


class PictureNote(Stored):
    """The last try to fetch a picture, from `url`; `is_lost`: it failed. `tag` is that of the
    stored picture.
    """

    url: str
    tried_at: NonNegativeFloat
    is_lost: bool = False
    tag: str | None = None


class SourcePicture(Frozen):
    """A picture of a source, which a check has read: `data` and `small` are JPEG, None if `url` has none."""

    model_config = ConfigDict(extra="ignore")

    role: PictureRole
    url: HttpUrl
    data: Base64Bytes | None = Field(default=None, max_length=4 << 20)
    small: Base64Bytes | None = Field(default=None, max_length=1 << 20)

    @property
    def is_there(self) -> bool:
        return self.data is not None and all(
            one.startswith(_JPEG) for one in (self.data, self.small) if one is not None
        )

    @property
    def tag(self) -> str:
        return hashlib.sha256(self.data or b"").hexdigest()[:12]


def need_not_be_fetched(notes: Mapping[PictureRole, PictureNote], now: float) -> dict[str, str]:
    """Return `CheckWishes.has_pictures`. A picture that could not be fetched is tried again after a day. Some
    sources sign the links anew for each check: within a day another signature makes no other picture.
    """
    addresses = dict[str, str]()
    for role, note in notes.items():
        is_recent = 0 <= now - note.tried_at < TRY_AGAIN_AFTER
        if is_recent or not note.is_lost:
            addresses[role] = note.url.partition("?")[0] if is_recent else note.url
    return addresses


def noted(
    notes: Mapping[PictureRole, PictureNote], pictures: Sequence[SourcePicture], now: float
) -> dict[PictureRole, PictureNote]:
    """Return `notes` as they are after a check. If a source no longer has a picture, the stored one stays."""
    after = dict(notes)
    for one in pictures:
        before = notes.get(one.role)
        tag = one.tag if one.is_there else before.tag if before else None
        after[one.role] = PictureNote(url=one.url, tried_at=now, is_lost=not one.is_there, tag=tag)
    return after


def shown_of(facts: SourceFacts, notes: Mapping[PictureRole, PictureNote]) -> object:
    """Return the facts that media servers see, to compare them with earlier ones."""
    tags = {role: note.tag for role, note in notes.items() if note.tag is not None}
    return facts.description, facts.author, tags
