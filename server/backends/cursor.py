"""The cursor of keyset pagination: the sort key of the last task on a page, in base64url."""

import re
from base64 import urlsafe_b64decode, urlsafe_b64encode
from dataclasses import dataclass
from typing import Self

from server.errors import InvalidQuery

_BY_NUMBER = re.compile(r"n(?P<number>[0-9]{1,18})")
_IN_QUEUE = re.compile(r"q(?P<priority>-?[0-9]{1,9}),(?P<number>[0-9]{1,18})")
_END = (1 << 63) - 1


@dataclass(frozen=True, slots=True)
class Cursor:
    """The last task of a page: its number and, in the queue, its priority."""

    number: int
    priority: int | None = None

    @classmethod
    def read(cls, text: str | None, *, is_queue: bool) -> Self:
        """Decode `text`, after which the next page begins; None: the first page. Raises `InvalidQuery`."""
        if text is None:
            return cls(0, _END) if is_queue else cls(_END)
        found = (_IN_QUEUE if is_queue else _BY_NUMBER).fullmatch(_decoded(text))
        cursor = found and cls(**{name: int(value) for name, value in found.groupdict().items()})
        if not cursor or str(cursor) != text:  # the decoder ignores characters that are not base64
            raise InvalidQuery("cursor")
        return cursor

    def __str__(self) -> str:
        plain = f"n{self.number}" if self.priority is None else f"q{self.priority},{self.number}"
        return urlsafe_b64encode(plain.encode()).decode().rstrip("=")


def _decoded(cursor: str) -> str:
    try:
        return urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)).decode()
    except ValueError:  # not base64, not ASCII or not UTF-8
        raise InvalidQuery("cursor") from None
