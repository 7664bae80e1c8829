"""What a search compares, on every database."""

import unicodedata

_SPACES = dict.fromkeys(range(32), " ")


def folded(text: str) -> str:
    """What is compared: any case and either form of an accent are the same; control characters are spaces."""
    if text.isascii() and text.isprintable():
        return text.lower()
    return unicodedata.normalize("NFC", text.casefold()).translate(_SPACES)
