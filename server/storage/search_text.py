"""Folds text for the search, alike on every database."""

import unicodedata

_SPACES = dict.fromkeys(range(32), " ")


def folded(text: str) -> str:
    """Casefold `text` and normalise it to NFC, so that case and the form of accents do not matter.

    Control characters become spaces.
    """
    if text.isascii() and text.isprintable():
        return text.lower()
    return unicodedata.normalize("NFC", text.casefold()).translate(_SPACES)
