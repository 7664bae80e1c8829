"""A client's action on a list, which its entries follow.

An action is stored once, with the list, whatever the number of its entries. What an entry shows is its row
with those actions applied that it has not taken yet (`shown`): a pure function, so every reader sees the same
revision with the same content. Later the row takes them (`server.tasks.list_actions`).

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
"""The number of the last action on a list: it is removed."""


ListKind = Literal["pause", "resume", "start", "cancel", "retry", "move", "remove"]


class ListAction(Stored):
    """`at` is the time for ages and waits, `wall` that by which `start_at` goes (see `server.core.clock`)."""

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
            case "cancel" | "remove":  # what is removed has to end for other lists that count it
                return Cancelled()

    @property
    def stops(self) -> bool:
        """Whether what runs has to stop."""
        return self.kind in ("pause", "cancel", "remove")

    def concerns(self, stage: Stage, *, paused_alone: bool) -> bool:
        """Whether it is meant for an entry in this stage. What was paused by itself stays so when its list
        goes on, and what has ended by itself stays so unless it is retried.
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


def shown(status: TaskStatus, actions: Iterable[Numbered]) -> TaskStatus | None:
    """The status of an entry whose row is `status`, `status` itself if it has taken all `actions`; None if it
    is removed with its list.
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
