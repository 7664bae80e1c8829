"""Functions of features that the kernel calls while the service runs."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field

from server.core.events import Broken, Event
from server.core.task import Task, TaskStatus

AttemptFailed = Callable[[TaskStatus, Broken], None]
"""Is called when a child has failed, with the status before and the child's last event."""
BeforeAttempt = Callable[[Task], Awaitable[Event | None]]
"""Returns what happens to a task before its attempt begins; if that has it wait, the attempt does not begin.
May raise `StoreUnavailable`.
"""
CookiesStored = Callable[[Sequence[str], str | None], Awaitable[None]]
"""Is called with the hosts of new cookies, and with the person whose they are; None: nobody's, or all share
them. May raise `StoreUnavailable`.
"""
MoveThings = Callable[[str | None, str | None], Awaitable[bool]]
"""Makes some things of a person, or of nobody, those of another, or nobody's; says whether it found any."""
DeleteThings = Callable[[str], Awaitable[bool]]
"""Deletes some of a person's things; says whether it found any."""


@dataclass(frozen=True, slots=True)
class Hooks:
    attempt_failed: list[AttemptFailed] = field(default_factory=list)
    before_attempt: list[BeforeAttempt] = field(default_factory=list)
    cookies_stored: list[CookiesStored] = field(default_factory=list)
    move_things: list[MoveThings] = field(default_factory=list)
    delete_things: list[DeleteThings] = field(default_factory=list)
    are_complete: asyncio.Event = field(default_factory=asyncio.Event)  # set once all features are open
