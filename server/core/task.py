"""A task: its request and its status; and what the queue knows of one that waits in it."""

from dataclasses import dataclass
from datetime import datetime
from typing import Self

from pydantic import ValidationError

from server.core.links import host_of
from server.core.process_request import ProcessRequest
from server.core.task_status import TaskStatus


@dataclass(frozen=True, slots=True)
class Task:
    """A request and its status; `request` is None if only a newer release knows what it asks for.

    `row` is the status as it is stored, if the task is an entry that has not taken all actions on its list.
    """

    request: ProcessRequest | None
    status: TaskStatus
    row: TaskStatus | None = None

    @property
    def wanted(self) -> ProcessRequest | None:
        """The request with what remedies have changed; None if this release cannot say what it asks.

        Fields that only a newer release knows are passed over; their values are kept with the status.
        """
        if self.request is None or not self.status.amended:
            return self.request
        try:
            amended = self.request.model_dump(mode="json") | self.status.amended
            return ProcessRequest.model_validate(amended, extra="ignore")
        except ValidationError:
            return None


@dataclass(frozen=True, slots=True)
class Queued:
    """What the queue needs to know of a task that waits in it."""

    task_id: str
    number: int
    urgency: int
    revision: int
    host: str
    waiting: str | None = None
    not_before: datetime | None = None
    begins_at: datetime | None = None
    playlist_id: str | None = None
    list_action: int = 0

    @classmethod
    def of(cls, status: TaskStatus) -> Self:
        return cls(
            status.task_id,
            status.number,
            status.urgency,
            status.revision,
            host_of(status.url),
            status.waiting,
            status.not_before,
            status.begins_at,
            status.playlist_id,
            status.list_action,
        )
