"""A client's action on a list, which its entries follow.

An action is stored once, with the list, whatever the number of its entries. A reader of an entry's row
applies the actions that the row has not taken yet (`status_after_actions`, a pure function): so every reader
sees the same revision with the same content. Later the row takes the actions (`server.tasks.list_actions`).

Decisions: docs/decisions/playlists.md
"""

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Literal

from server.core.events import (
    Cancelled,
    Event,
    Paused,
    Prioritized,
    Resumed,
    Retried,
    StartAsked,
    apply,
)
from server.core.task import Stage, TaskStatus
from server.core.values import Stored

REMOVAL = 1 << 40
"""The number that the removal of a list has among the actions on it: no other action follows."""


ListKind = Literal["pause", "resume", "start", "cancel", "retry", "move", "remove"]


class ListAction(Stored):
    """An action on a list. `at` is its time by `Clock.now()`, for ages and waits; `wall` that by
    `Clock.wall()`, with which `start_at` is compared.
    """

    kind: ListKind
    at: datetime
    wall: datetime
    priority: int | None = None
    rank: int | None = None

    @property
    def event(self) -> Event:
        match self.kind:
            case "pause":
                return Paused(with_list=True)
            case "resume":
                return Resumed()
            case "start":
                return StartAsked()
            case "retry":
                return Retried()
            case "move":
                return Prioritized(priority=self.priority, rank=self.rank)
            case "cancel" | "remove":  # End the entry, since other lists may count it.
                return Cancelled()

    @property
    def stops(self) -> bool:
        """Whether the action ends a running attempt."""
        return self.kind in ("pause", "cancel", "remove")

    def concerns(self, stage: Stage, *, paused_alone: bool) -> bool:
        """Whether the action applies to an entry in this stage. An entry that a client paused by itself stays
        paused when its list is resumed; an entry that has ended changes only by a retry.
        """
        match self.kind:
            case "resume" | "start":
                return stage is Stage.PAUSED and not paused_alone
            case "retry":
                return stage.has_failed
            case "pause":
                return not stage.is_final and stage is not Stage.PAUSED
            case "cancel" | "move" | "remove":
                return not stage.is_final


Numbered = tuple[int, ListAction]
"""An action, and its number on its list, which grows by one with each."""

ListActions = Sequence[Numbered]
"""Those on one list that some of its entries have not taken yet, in their order."""


def status_after_actions(status: TaskStatus, actions: Iterable[Numbered]) -> TaskStatus | None:
    """Apply those of `actions` that the entry with the row `status` has not taken; None if one removes it.

    Returns `status` itself if the entry has taken all of them.
    """
    last = status.list_action
    for number, action in actions:
        if number <= last:
            continue
        if action.kind == "remove":
            return None
        last = number
        if action.concerns(status.stage, paused_alone=status.paused_alone):
            status = apply(status, action.event, action.at, action.wall)
    return status if last == status.list_action else status.model_copy(update={"list_action": last})
