"""What features want to be told of while the service runs; without features nobody is."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field

from server.core.events import Broken
from server.core.task import TaskStatus

AttemptFailed = Callable[[TaskStatus, Broken], None]
"""Is told of a child that has failed: the status before, and what the child said last."""
CookiesStored = Callable[[Sequence[str]], Awaitable[None]]
"""Is told of the hosts of new cookies. May raise `StoreUnavailable`."""


@dataclass(frozen=True, slots=True)
class Hooks:
    attempt_failed: list[AttemptFailed] = field(default_factory=list)
    cookies_stored: list[CookiesStored] = field(default_factory=list)
