"""Podcast feeds: which subscriptions have one, and the secret that their addresses share.

Podcast apps send no tokens, so that whoever knows the secret may read the feeds and their files, and nothing
else. It is made with the first feed, and lasts until a client has it renewed.

Decisions: docs/decisions/library.md
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from server.subscriptions.subscription import Subscription


@dataclass(frozen=True, slots=True)
class Listed:
    """An item of a subscription whose task has files. Times are as in `Item`.

    `revision` is the task's: what is told of the item depends on nothing else, as its `about` never changes.
    """

    key: str
    number: int
    published_at: str | None
    found_at: float
    fetched_at: float | None
    task_id: str
    revision: int


class Feeds(Protocol):
    """All methods may raise `StoreUnavailable`."""

    async def secret(self) -> str | None:
        """None if there never was a feed."""
        ...

    async def renew(self) -> str | None:
        """Make another secret, so that all addresses change; None if there never was a feed."""
        ...

    async def find(self, name: str) -> tuple[str | None, Subscription | None]:
        """The secret, and the subscription whose feed has this name."""
        ...

    async def all(self) -> tuple[str | None, Sequence[tuple[str, Subscription]]]:
        """The secret, and all feeds by their names, in the order of names."""
        ...

    async def fetched(self, subscription_id: str, most: int) -> Sequence[Listed]:
        """The newest items whose task may have files, the newest first: by when they were published, which
        was not after they were fetched.
        """
        ...

    async def about(self, subscription_id: str, keys: Sequence[str]) -> Mapping[str, Mapping[str, Any]]:
        """What `Item.about` has, of those of `keys` that are there."""
        ...

    async def has(self, subscription_id: str, task_id: str) -> bool:
        """Whether the task is that of an item that `fetched` would return."""
        ...
