"""Lists as extractors give them: lazy, read from the source only as far as an entry is asked for."""

from collections.abc import Mapping
from typing import Any, Final

from yt_dlp.utils import LazyList, PagedList

AS_LISTS: Final = (list, PagedList, LazyList)

EMBEDDED: Final = "_embedded"
"""Key in an info dict: this playlist is no list, but a page with several films in it."""


def as_list(entries: Any) -> Any:
    """`entries` as a sequence, so that each can be read by its index."""
    return entries if isinstance(entries, AS_LISTS) else LazyList(entries)


def has(entries: Any, at: int) -> bool:
    """Whether there is an entry at index `at`; that may send a request to the source."""
    try:
        entries[at]
    except IndexError:
        return False
    return True


def is_list(playlist: Mapping[str, Any]) -> bool:
    """Whether it is a list of several entries: not a page that has several films in it, nor a list of one."""
    if playlist.get(EMBEDDED):
        return False
    entries = playlist["entries"]
    if isinstance(entries, list):
        return len([entry for entry in entries if entry]) > 1
    return has(entries, 1)
