"""What a person may use: the limits of the settings, and those of one person in their place.

Decisions: docs/decisions/people.md
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

from server.settings import AccessSettings


@dataclass(frozen=True, slots=True)
class Limits:
    """The limits of one person. None: no limit. Bytes per day count what was downloaded; stored bytes, the
    finished files that are there.
    """

    max_running: int | None = None
    max_waiting: int | None = None
    max_bytes_per_day: int | None = None
    max_stored_bytes: int | None = None
    retention_hours: float | None = None

    @classmethod
    def of(cls, access: AccessSettings, of_person: Mapping[str, float | None]) -> Self:
        """`of_person` has the limits in which the person differs from the settings; 0: no limit."""

        def whole(name: str, common: int | None) -> int | None:
            value = of_person.get(name, common)
            return int(value) if value else None

        return cls(
            max_running=whole("max_running", access.max_running),
            max_waiting=whole("max_waiting", access.max_waiting),
            max_bytes_per_day=whole("max_bytes_per_day", access.max_bytes_per_day),
            max_stored_bytes=whole("max_stored_bytes", access.max_stored_bytes),
            retention_hours=of_person.get("retention_hours", access.retention_hours) or None,
        )
