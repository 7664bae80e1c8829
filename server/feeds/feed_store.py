"""Podcast feeds: which subscriptions have one, and the secret that their addresses share.

Podcast apps send no tokens, so whoever knows the secret may read the feeds and their files, and nothing
else. It is made with the first feed, and lasts until a client has it renewed.

Decisions: docs/decisions/library.md
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Listed:
    """An item of a subscription whose task has files. Times are as in `StoredItem`.

    `revision` is the task's: the episode depends on nothing else, as the item's `about` never changes.
    """

    key: str
    number: int
    published_at: str | None
    found_at: float
    fetched_at: float | None
    task_id: str
    revision: int
