"""Reads query parameters, by the same rules for all routes.

A number is written in ASCII digits, without a sign, leading zeros or surrounding characters. A repeated
parameter is an error, because it is ambiguous, and so is one that is empty: it names nothing, and a client
whose variable is empty by mistake must not get everything. Only a text that is searched for may be empty.
"""

import re
from collections.abc import Collection
from typing import TypeVar

from aiohttp import web

from server.core.errors import InvalidQuery

Default = TypeVar("Default")
_WHOLE = re.compile(r"0|[1-9][0-9]{0,17}")
_DECIMAL = re.compile(r"(0|[1-9][0-9]*)(\.[0-9]+)?")


class Query:
    """Reads one parameter at a time; then `check` raises `InvalidQuery` with the names of all invalid ones.

    Until then an invalid parameter has its default.
    """

    def __init__(self, request: web.Request) -> None:
        self._query = request.query
        self._wrong: list[str] = []

    def get(self, name: str) -> str | None:
        """The value as sent, not empty; None if the parameter is missing."""
        values = self._query.getall(name, ())
        if not values:
            return None
        return values[0] if len(values) == 1 and values[0] else self._is_wrong(name, None)

    def text(self, name: str, longest: int) -> str | None:
        """At most `longest` characters, without NUL, which PostgreSQL text cannot hold; None if missing."""
        value = self.get(name)
        if value is None or (len(value) <= longest and "\0" not in value):
            return value
        return self._is_wrong(name, None)

    def search(self, name: str, longest: int) -> str:
        """Like `text`, but may be empty, as if it were missing: that finds everything."""
        return "" if self._query.getall(name, ()) == [""] else self.text(name, longest) or ""

    def one_of(self, name: str, choices: Collection[str]) -> str | None:
        """One of `choices`; None if missing."""
        value = self.get(name)
        return value if value is None or value in choices else self._is_wrong(name, None)

    def ids(self, name: str, most: int) -> list[str] | None:
        """From 1 to `most` different ids, comma-separated, in the order of their first mention; None if
        missing.
        """
        value = self.get(name)
        if value is None:
            return None
        found = list(dict.fromkeys(value.split(",")))
        return found if len(found) <= most and all(found) else self._is_wrong(name, None)

    def some_of(self, name: str, choices: Collection[str]) -> frozenset[str] | None:
        """Some of `choices`, comma-separated; None if missing."""
        value = self.get(name)
        if value is None:
            return None
        values = frozenset(value.split(","))
        return values if values <= set(choices) else self._is_wrong(name, None)

    def whole(self, name: str, least: int, most: int, default: int) -> int:
        value = self.get(name)
        if value is None:
            return default
        number = int(value) if _WHOLE.fullmatch(value) else -1
        return number if least <= number <= most else self._is_wrong(name, default)

    def seconds(self, name: str, most: float) -> float | None:
        """Seconds, perhaps with a fraction, capped at `most`; None if missing."""
        value = self.get(name)
        if value is None:
            return None
        return min(float(value), most) if _DECIMAL.fullmatch(value) else self._is_wrong(name, None)

    def flag(self, name: str) -> bool:
        """True for `1`; False for `0` or a missing parameter."""
        return self.one_of(name, ("0", "1")) == "1"

    def check(self) -> None:
        if self._wrong:
            raise InvalidQuery(*self._wrong)

    def _is_wrong(self, name: str, default: Default) -> Default:
        self._wrong.append(name)
        return default
