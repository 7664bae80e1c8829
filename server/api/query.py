"""Query parameters, and numbers in them: read one way everywhere.

A number is written in ASCII digits, without a sign, leading zeros or anything around it. A parameter that is
given twice is wrong: which of the two was meant?
"""

import re
from collections.abc import Collection
from typing import TypeVar

from aiohttp import web

from server.errors import InvalidQuery

Default = TypeVar("Default")
_WHOLE = re.compile(r"0|[1-9][0-9]{0,17}")
_DECIMAL = re.compile(r"(0|[1-9][0-9]*)(\.[0-9]+)?")


class Query:
    """Reads parameter by parameter; `check` raises `InvalidQuery` with the names of all that were wrong.

    Until then a wrong one has its default.
    """

    def __init__(self, request: web.Request) -> None:
        self._query = request.query
        self._wrong: list[str] = []

    def get(self, name: str) -> str | None:
        """As it was sent; None if it is not there."""
        values = self._query.getall(name, ())
        if len(values) > 1:
            self._is_wrong(name, None)
        return values[0] if len(values) == 1 else None

    def text(self, name: str, longest: int) -> str:
        """Empty if it is not there; at most `longest` characters, and no NUL, which databases do not take."""
        value = self.get(name) or ""
        if len(value) <= longest and "\0" not in value:
            return value
        return self._is_wrong(name, "")

    def one_of(self, name: str, choices: Collection[str]) -> str:
        """Empty if it is not there."""
        value = self.get(name) or ""
        return value if not value or value in choices else self._is_wrong(name, "")

    def whole(self, name: str, least: int, most: int, default: int) -> int:
        value = self.get(name)
        if value is None:
            return default
        number = int(value) if _WHOLE.fullmatch(value) else -1
        return number if least <= number <= most else self._is_wrong(name, default)

    def seconds(self, name: str, most: float) -> float | None:
        """With a fraction, if there is one; more than `most` is `most`. None if it is not there."""
        value = self.get(name)
        if value is None:
            return None
        return min(float(value), most) if _DECIMAL.fullmatch(value) else self._is_wrong(name, None)

    def flag(self, name: str) -> bool:
        """`1`: yes; `0`, nothing after the name, or no such parameter: no."""
        return self.one_of(name, ("0", "1")) == "1"

    def check(self) -> None:
        if self._wrong:
            raise InvalidQuery(*self._wrong)

    def _is_wrong(self, name: str, default: Default) -> Default:
        self._wrong.append(name)
        return default
