"""Finds the extractors of yt-dlp that may know a link, without trying 1,750 patterns.

yt-dlp tries each extractor in turn. Most patterns have texts that every matching link contains. If a link
lacks them, the extractor is not tried, and its pattern is never compiled: to compile all would take more time
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

TYPICAL: Final = "https://www.warm.invalid/x.com/watch/video/a.html"
"""A link with the texts that many links have: a text in it selects no extractor."""

_LETTERS: Final = r"\\(?:[xuU][0-9a-fA-F]+|N\{[^}]*\}|\d+|(.))|\[\^?\]?(?:\\.|[^\]\\])*\]|[.^$]"
_PLAIN: Final = re.compile(_LETTERS, re.DOTALL)
_VERBOSE: Final = re.compile(rf"{_LETTERS}|(?-s:#.*)|\s+", re.DOTALL)
_GROUP: Final = re.compile(r"\((?:\?:|\?P<\w+>)?([^()]*)\)")
_BREAK: Final = re.compile(r".\0?(?:[?*]|\{[^}]*\})[?+]?|\+[?+]?|\0", re.DOTALL)
_MIN_CHARS: Final = 4  # shorter texts are not used


@functools.cache
def enabled() -> dict[str, Any]:
    """Return the extractors that yt-dlp enables by default, by their names, in its order."""
    there = {kind.ie_key(): kind for kind in gen_extractor_classes()}
    return {name: there[name] for name in _needed()}


def find_candidates(link: str) -> Iterator[str]:
    """Yield the names of the extractors that may know `link`, in yt-dlp's order, plugins first."""
    own, lowered, (names, texts, always) = plugins.extractors, link.lower(), _texts()
    yield from own
    places: Iterable[int] = range(len(names))
    if link.isascii():  # ignoring case, some letters outside ASCII equal ASCII letters
        starts = ((at, lowered[at : at + _MIN_CHARS]) for at in range(len(lowered)))
        found = {
            place
            for at, start in starts
            for text, place in texts.get(start, ())
            if lowered.startswith(text, at)
        }
        places = sorted(found.union(always))
    yield from (name for name in map(names.__getitem__, places) if name not in own)


def required_texts(pattern: str) -> tuple[str, ...]:
    """Return texts in lower case, at least one of which is in each match of `pattern`; none if unknown."""
    has_verbose_group = re.search(r"\(\?[a-zA-Z-]*x[a-zA-Z-]*:", pattern)
    if not pattern.isascii() or has_verbose_group:
        return ()
    is_verbose = re.match(r"\(\?[a-zA-Z]*x[a-zA-Z]*\)", pattern)
    text = (_VERBOSE if is_verbose else _PLAIN).sub(_letter, pattern)
    # The contents of groups; in the text each group is replaced by one character, from "\x80" on.
    groups: list[str] = []

    def group(inner: re.Match[str]) -> str:
        groups.append("" if inner[1].startswith("?") else inner[1])  # "?": lookarounds, and others
        return f"\0{chr(0x7F + len(groups))}\0"

    count = 1
    while count:
        text, count = _GROUP.subn(group, text)
    return () if "(" in text or ")" in text else _required(text, groups)


def _required(alternatives: str, groups: list[str]) -> tuple[str, ...]:
    """Do the work of `required_texts` for a pattern in which each group is one character.

    This is not defined within `required_texts`: a nested function that calls itself would be a reference
    cycle for each pattern, 1.7 MB in all.
    """
    each = list[tuple[str, ...]]()
    for one in alternatives.split("|"):
        pieces = _BREAK.split(one)
        longest = max((piece for piece in pieces if piece.isascii()), key=len).lower()
        if len(longest) >= _MIN_CHARS and longest not in TYPICAL:
            each.append((longest,))
        else:
            inner = (_required(groups[ord(piece) - 0x80], groups) for piece in pieces if not piece.isascii())
            each.append(next(filter(None, inner), ()))
    return tuple(chain(*each)) if all(each) else ()


def _letter(part: re.Match[str]) -> str:
    """Return an escaped character without the escape; "" for whitespace and comments; \0 for anything that
    varies.
    """
    if (escaped := part[1]) and not escaped.isalnum() and escaped not in r"\|()?*+{}":
        return escaped
    return "" if part[0][0] == "#" or part[0].isspace() else "\0"


@functools.cache
def _texts() -> tuple[list[str], dict[str, list[tuple[str, int]]], list[int]]:
    """Return all names; the required texts, grouped by their first characters, with the indexes of extractors
    that need them; and the indexes of the extractors without such texts, which are always candidates.
    """
    texts, always = defaultdict(list), []
    for place, each in enumerate(_needed().values()):
        if each is None:
            always.append(place)
        else:
            for text in each:
                texts[text[:_MIN_CHARS]].append((text, place))
    return list(_needed()), dict(texts), always


@functools.cache
def _needed() -> Mapping[str, list[str] | None]:
    """Return the names of all extractors that yt-dlp enables, each with the `required_texts` of its links;
    None for one that is always a candidate.

    To list them and to read their patterns takes 0.1 s of CPU, so the result is cached for the next fork
    server.
    """
    is_fit = yt_dlp_parts.fits("patterns")
    of = [*map(warm_cache.identity, (lazy_extractors.__file__, __file__)), __version__, is_fit]
    found: Mapping[str, list[str] | None] = warm_cache.cached(
        "extractors", of, lambda: _read_patterns(is_fit)
    )
    return found


def _read_patterns(is_fit: bool) -> dict[str, list[str] | None]:
    """Return the texts that the extractor's patterns require; None if more than its patterns decides."""
    usual = {_matchers(kind) for kind in (InfoExtractor, LazyLoadExtractor) if is_fit}
    with YoutubeDL({"quiet": True, "cachedir": False, "js_runtimes": {}}) as ydl:
        enabled = dict(ydl._ies)
    needed: dict[str, list[str] | None] = {}
    for name, kind in enabled.items():
        each = [required_texts(pattern) for pattern in variadic(kind._VALID_URL or ())] if usual else [()]
        needed[name] = [*chain(*each)] if all(each) and _matchers(kind) in usual else None
    return needed


def _matchers(kind: Any) -> tuple[Any, Any]:
    """Return the functions that decide whether an extractor knows a link."""
    return kind.suitable.__func__, kind._match_valid_url.__func__
