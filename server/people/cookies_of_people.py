"""Gives or deletes the cookie files of people who are removed, and gives a person those of nobody."""

from collections.abc import Iterable
from time import time

from server.core.cookie_facts import facts_of, with_facts
from server.core.cookie_format import parse, split_stored_name, stored_name
from server.core.long_work import compute
from server.core.ports import Cookies


class CookiesOfPeople:
    """`for_all` are names of cookie files that the configuration lets everybody use: these are never given to
    a person.
    """

    def __init__(self, cookies: Cookies, for_all: Iterable[str]) -> None:
        self._cookies = cookies
        self._for_all = frozenset(for_all)

    async def move(self, name: str | None, to: str | None) -> bool:
        """Give the files of `name` to `to`, whose own file of the same name stays."""
        found = await self._of(name)
        names = await self._cookies.names()
        for stored in found:
            new_name = stored_name(split_stored_name(stored)[1], to)
            file = await self._cookies.get(stored)
            if file is not None and new_name not in names:
                await self._cookies.put(new_name, await compute(_with_facts, file.text))
            await self._cookies.delete(stored)
        return bool(found)

    async def delete(self, name: str) -> bool:
        found = await self._of(name)
        for stored in found:
            await self._cookies.delete(stored)
        return bool(found)

    async def _of(self, name: str | None) -> list[str]:
        if name is None and not self._cookies.are_separate:  # all people share the files
            return []
        return [
            stored
            for stored in await self._cookies.names()
            if split_stored_name(stored)[0] == name and (name is not None or stored not in self._for_all)
        ]


def _with_facts(text: str) -> str:
    return with_facts(text, facts_of(parse(text), time()))
