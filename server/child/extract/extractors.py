"""Finds the extractors of yt-dlp that may know a link, without trying 1,750 patterns.

yt-dlp asks each extractor in turn. Most patterns have texts that every matching link contains. Where they are
missing, the extractor is not asked, and its pattern is never compiled: together that would take more time
than a small download.

Decisions: docs/decisions/children.md
"""

import functools
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from itertools import chain
from typing import Any, Final

from yt_dlp import YoutubeDL
from yt_dlp.extractor import gen_extractor_classes, lazy_extractors
from yt_dlp.extractor.common import InfoExtractor
from yt_dlp.extractor.lazy_extractors import LazyLoadExtractor
from yt_dlp.utils import variadic
from yt_dlp.version import __version__

from server.child.extract import plugins
from server.child.process import warm_cache, yt_dlp_parts

USUAL: Final = "https://www.warm.invalid/x.com/watch/video/a.html"
"""A link that has what many links have in common: who may know this one is asked of most links."""

_LETTERS: Final = r"\\(?:[xuU][0-9a-fA-F]+|N\{[^}]*\}|\d+|(.))|\[\^?\]?(?:\\.|[^\]\\])*\]|[.^$]"
_PLAIN: Final = re.compile(_LETTERS, re.DOTALL)
_VERBOSE: Final = re.compile(rf"{_LETTERS}|(?-s:#.*)|\s+", re.DOTALL)
_GROUP: Final = re.compile(r"\((?:\?:|\?P<\w+>)?([^()]*)\)")
_BREAK: Final = re.compile(r".\0?(?:[?*]|\{[^}]*\})[?+]?|\+[?+]?|\0", re.DOTALL)
_SHORTEST: Final = 4


@functools.cache
def enabled() -> dict[str, Any]:
    """The extractors that yt-dlp enables by default, by their names, in its order."""
    there = {kind.ie_key(): kind for kind in gen_extractor_classes()}
    return {name: there[name] for name in _needed()}


def asked(link: str) -> Iterator[str]:
    """Yield the names of the extractors that may know `link`, in yt-dlp's order, plugins first."""
    own, lowered, (names, texts, always) = plugins.extractors, link.lower(), _texts()
    yield from own
    places: Iterable[int] = range(len(names))
    if link.isascii():  # other letters may be equal to ASCII's where case is ignored
        starts = ((at, lowered[at : at + _SHORTEST]) for at in range(len(lowered)))
        found = {
            place
            for at, start in starts
            for text, place in texts.get(start, ())
            if lowered.startswith(text, at)
        }
        places = sorted(found.union(always))
    yield from (name for name in map(names.__getitem__, places) if name not in own)


def in_each_match(pattern: str) -> tuple[str, ...]:
    """Return texts in lower case, one of which is in each match of `pattern`; none if there are no such
    texts.
    """
    if not pattern.isascii() or re.search(r"\(\?[a-zA-Z-]*x[a-zA-Z-]*:", pattern):
        return ()  # the latter: a part that is verbose
    is_verbose = re.match(r"\(\?[a-zA-Z]*x[a-zA-Z]*\)", pattern)
    text = (_VERBOSE if is_verbose else _PLAIN).sub(_letter, pattern)
    groups: list[str] = []  # what is in them; in the text each becomes one character, from "\x80" on

    def group(inner: re.Match[str]) -> str:
        groups.append("" if inner[1].startswith("?") else inner[1])  # "?": looks around, and others
        return f"\0{chr(0x7F + len(groups))}\0"

    count = 1
    while count:
        text, count = _GROUP.subn(group, text)
    return () if "(" in text or ")" in text else _in_each(text, groups)


def _in_each(alternatives: str, groups: list[str]) -> tuple[str, ...]:
    """The same of a text in which each group is one character; not within `in_each_match`, where a function
    that calls itself would be a reference cycle for each pattern: 1.7 MB."""
    each = list[tuple[str, ...]]()
    for one in alternatives.split("|"):
        pieces = _BREAK.split(one)
        longest = max((piece for piece in pieces if piece.isascii()), key=len).lower()
        if len(longest) >= _SHORTEST and longest not in USUAL:
            each.append((longest,))
        else:
            inner = (_in_each(groups[ord(piece) - 0x80], groups) for piece in pieces if not piece.isascii())
            each.append(next(filter(None, inner), ()))
    return tuple(chain(*each)) if all(each) else ()


def _letter(part: re.Match[str]) -> str:
    """A character that stands for itself; nothing for spaces and comments, else \\0: a place that varies."""
    if (escaped := part[1]) and not escaped.isalnum() and escaped not in r"\|()?*+{}":
        return escaped
    return "" if part[0][0] == "#" or part[0].isspace() else "\0"


@functools.cache
def _texts() -> tuple[list[str], dict[str, list[tuple[str, int]]], list[int]]:
    """Return all names; the texts by their first characters, with the indexes of extractors that need them;
    and the indexes of the others, which are always asked.
    """
    texts, always = defaultdict(list), []
    for place, each in enumerate(_needed().values()):
        if each is None:
            always.append(place)
        else:
            for text in each:
                texts[text[:_SHORTEST]].append((text, place))
    return list(_needed()), dict(texts), always


@functools.cache
def _needed() -> Mapping[str, list[str] | None]:
    """The names of all extractors that yt-dlp enables, each with texts one of which is in every link that it
    knows; None for one that is always asked.

    It takes 0.1 s of CPU to list them and to read their patterns, so it is kept for the next fork server.
    """
    is_fit = yt_dlp_parts.fits("patterns")
    of = [*map(warm_cache.identity, (lazy_extractors.__file__, __file__)), __version__, is_fit]
    found: Mapping[str, list[str] | None] = warm_cache.kept("extractors", of, lambda: _read_patterns(is_fit))
    return found


def _read_patterns(is_fit: bool) -> dict[str, list[str] | None]:
    """Texts count only for extractors whose patterns alone decide."""
    usual = {_ways(kind) for kind in (InfoExtractor, LazyLoadExtractor) if is_fit}
    with YoutubeDL({"quiet": True, "cachedir": False, "js_runtimes": {}}) as ydl:
        enabled = dict(ydl._ies)
    needed: dict[str, list[str] | None] = {}
    for name, kind in enabled.items():
        each = [in_each_match(pattern) for pattern in variadic(kind._VALID_URL or ())] if usual else [()]
        needed[name] = [*chain(*each)] if all(each) and _ways(kind) in usual else None
    return needed


def _ways(kind: Any) -> tuple[Any, Any]:
    """Return the functions that say whether a link fits."""
    return kind.suitable.__func__, kind._match_valid_url.__func__
