"""What a page without a film says instead: that one has to log in, be of age or no robot, or that it is gone.

Only for a hint: sites say such things in pages with the status 200, which otherwise are as good as any page.
"""

import re
from html.parser import HTMLParser
from typing import Final, Literal

Seen = Literal["seen_age", "seen_captcha", "seen_login", "seen_removed"]

_MOST: Final = 128 * 1024  # characters of a page that are looked at
_SHORT: Final = 2000  # characters: a page with more to say than this is not about why there is no film
_HEADINGS: Final = frozenset(("title", "h1", "h2"))
_UNSEEN: Final = frozenset(("script", "style", "template"))
_WORDS: Final[tuple[tuple[Seen, re.Pattern[str]], ...]] = (
    (
        "seen_captcha",
        re.compile(
            r"captcha|robot check|not a robot|\bhuman\b|unusual traffic|checking your browser"
            r"|人机验证|安全验证|验证码"
        ),
    ),
    (
        "seen_age",
        re.compile(
            r"\bage[ -]?(verif|restrict|check|gate|confirm)|your age\b|(over|at least) (18|21)\b|\b18\+"
            r"|18 years|adults only|年龄|未成年|满 ?18"
        ),
    ),
    (
        "seen_removed",
        re.compile(
            r"(been|was|were|is) (removed|deleted|taken down)|no longer (available|exist)|n[o']t exist"
            r"|not (be )?found|\b404\b|(video|content|clip) (is )?(unavailable|gone)"
            r"|已(被)?(删除|下架|移除)|不存在|已失效"
        ),
    ),
    ("seen_login", re.compile(r"(log|sign)[ -]?(in|on)\b|登录|登入")),
)


def what_it_says(page: str) -> Seen | None:
    """What the HTML of `page` gives as the reason why there is no film; None if it gives none."""
    reader = _Reader()
    reader.feed(page[:_MOST])
    headings, text = " / ".join(reader.headings).lower(), " ".join(" ".join(reader.texts).lower().split())
    if found := _first(headings):
        return found
    if reader.asks_for_password:
        return "seen_login"
    found = _first(text) if len(text) <= _SHORT else None
    return None if found == "seen_login" else found  # every page has a link for that


def _first(text: str) -> Seen | None:
    return next((seen for seen, words in _WORDS if words.search(text)), None)


class _Reader(HTMLParser):
    """Collects the headings, all visible text, and whether there is a field for a password."""

    def __init__(self) -> None:
        super().__init__()
        self.headings: list[str] = []
        self.texts: list[str] = []
        self.asks_for_password = False
        self._in: str | None = None

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in _HEADINGS or tag in _UNSEEN:
            self._in = tag
        elif tag == "input" and ("type", "password") in attrs:
            self.asks_for_password = True

    def handle_endtag(self, tag: str) -> None:
        if tag == self._in:
            self._in = None

    def handle_data(self, data: str) -> None:
        if self._in in _UNSEEN:
            return
        self.texts.append(data)
        if self._in:
            self.headings.append(data)
