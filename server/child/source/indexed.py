"""Lists as extractors give them: read as far as somebody asks for an entry."""

from collections.abc import Mapping
from typing import Any, Final

from yt_dlp.utils import LazyList, PagedList

AS_LISTS: Final = (list, PagedList, LazyList)

EMBEDDED: Final = "_embedded"
"""Marks what is no list, but a page with several films in it."""


def as_list(entries: Any) -> Any:
    """The same, of which each can be asked for by its place."""
    return entries if isinstance(entries, AS_LISTS) else LazyList(entries)


def has(entries: Any, at: int) -> bool:
    """Whether there is an entry at that place, from 0 on; the source may have to be asked for it."""
    try:
        entries[at]
    except IndexError:
        return False
    return True


def is_list(playlist: Mapping[str, Any]) -> bool:
    """Whether it is a list of several, and not one page that has several films in it, or just one."""
    if playlist.get(EMBEDDED):
        return False
    entries = playlist["entries"]
    if isinstance(entries, list):
        return len([entry for entry in entries if entry]) > 1
    return has(entries, 1)
