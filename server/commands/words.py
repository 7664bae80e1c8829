"""What the commands say, in the reader's language: the section `command` of a catalogue in `server/locales`.

Only the one catalogue is read, and without its model: a command that only asks a server is to start at once.
"""

import os
import tomllib
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path

_CATALOGUES = Path(__file__).parents[1] / "locales"
_ELSE = "en"


def language(environment: Mapping[str, str] = os.environ) -> str:
    """The first language of ours that a variable begins with, whether or not the locale is installed."""
    for name in ("LC_ALL", "LC_MESSAGES", "LANG"):
        begins = environment.get(name, "")[:2].lower()
        if begins.isalpha() and (_CATALOGUES / f"{begins}.toml").exists():
            return begins
    return _ELSE


def word(key: str, **values: object) -> str:
    """The text `key`, with its placeholders filled in."""
    return _texts(language())[key].format_map(values)


@lru_cache
def _texts(of: str) -> dict[str, str]:
    texts: dict[str, str] = tomllib.loads((_CATALOGUES / f"{of}.toml").read_text("utf-8"))["command"]
    return texts


def one_line(text: str) -> str:
    """`text` as one line that does nothing to a terminal, whatever an answer or an error holds."""
    return " ".join("".join(letter if letter.isprintable() else " " for letter in text).split())
