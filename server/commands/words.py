"""The texts of the commands, in the reader's language: the section `command` of a catalogue in
`server/locales`.

Only one catalogue is read, and without its model: commands start sooner so.
"""

import os
import tomllib
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path

_CATALOGUES = Path(__file__).parents[1] / "locales"
_DEFAULT_LANGUAGE = "en"


def language(environment: Mapping[str, str] = os.environ) -> str:
    """Return the first language of ours that one of the locale's variables names, whether or not that locale
    is installed.
    """
    for name in ("LC_ALL", "LC_MESSAGES", "LANG"):
        code = environment.get(name, "")[:2].lower()
        if code.isalpha() and (_CATALOGUES / f"{code}.toml").exists():
            return code
    return _DEFAULT_LANGUAGE


def word(key: str, **values: object) -> str:
    """Return the text `key`, with its placeholders filled in."""
    return _texts(language())[key].format_map(values)


@lru_cache
def _texts(code: str) -> dict[str, str]:
    texts: dict[str, str] = tomllib.loads((_CATALOGUES / f"{code}.toml").read_text("utf-8"))["command"]
    return texts


def one_line(text: str) -> str:
    """Return `text` as one line of printable characters: an answer or an error could hold commands for a
    terminal.
    """
    return " ".join("".join(letter if letter.isprintable() else " " for letter in text).split())
