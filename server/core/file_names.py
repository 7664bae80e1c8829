"""Names of files and folders, made of texts that strangers wrote, for any file system and any program.

The names are valid on ext4 and on a Windows share: in NFC, without characters that Windows refuses, not
reserved there, not longer than allowed, and without characters that a reader cannot see.

Decisions: docs/decisions/library.md
"""

import re
import unicodedata

LONGEST_FOLDER = 120  # bytes of a folder's name in UTF-8
LONGEST_BASE = 200  # bytes of a file's name without its ending; ext4 allows 255 with it
LONGEST_PATH = 240  # UTF-16 units of a path below the root: Windows programs allow 259 with the root
# Full-width characters that look alike; yt-dlp uses the same.
_TWINS = str.maketrans('"*:<>?|/\\', "＂＊：＜＞？｜⧸⧹")
_RESERVED = re.compile(
    r"(CON|PRN|AUX|NUL|CLOCK\$|CONIN\$|CONOUT\$|(COM|LPT)[0-9¹²³])\s*(\..*)?", re.IGNORECASE | re.DOTALL
)
_LONGEST_GRAPHEME = 32  # characters: a letter with more marks is cut between the marks
_INVISIBLE = frozenset(("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"))
# Letters, marks and symbols without a visible form: fillers, and the selectors of a variant.
_EMPTY = re.compile(
    "[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u2800\u3164\ufe00-\ufe0f\uffa0\U000e0100-\U000e01ef]"
)


# Emoji that consist of several joined ones: a family, a rainbow flag, a woman running.
_EMOJI = "[\u2190-\u2bff\U0001f000-\U0001faff]\ufe0f?[\U0001f3fb-\U0001f3ff]?"
_JOINED = re.compile(f"({_EMOJI}(?:\u200d{_EMOJI})+)")


def clean(text: str) -> str:
    """Make `text` one line of characters that a name can have: in NFC, without controls, bidi controls and
    characters of no width, except those that join emoji, and with full-width twins of what Windows refuses.

    The result may be empty, and of any length.
    """
    if "\u200d" in text:
        pieces = _JOINED.split(text)
        return "".join(piece if number % 2 else _clean(piece) for number, piece in enumerate(pieces))
    return _clean(text)


def _clean(text: str) -> str:
    spaced = _EMPTY.sub("", re.sub(r"\s+", " ", text))
    visible = spaced
    if not spaced.isprintable():
        visible = "".join(letter for letter in spaced if unicodedata.category(letter) not in _INVISIBLE)
    return re.sub(" +", " ", unicodedata.normalize("NFC", visible)).translate(_TWINS)


def trim_ends(name: str) -> str:
    """Remove dots and spaces from both ends: Windows drops trailing ones; a leading dot hides a file."""
    return name.strip(" .")


def avoid_reserved(name: str) -> str:
    """Return `name`, changed a little if Windows reserves it for a device (`CON`, `com1.txt`)."""
    if not _RESERVED.fullmatch(name):
        return name
    stem, dot, rest = name.partition(".")
    return f"{stem.rstrip()}_{dot}{rest}"


def file_name(text: str, longest: int) -> str:
    """Make a name of `text`, of `longest` bytes at most; empty if no character of it can be in a name."""
    name = trim_ends(cut(trim_ends(clean(text)), longest))
    return avoid_reserved(name)


def cut(text: str, longest: int) -> str:
    """Return the beginning of `text`, of `longest` bytes at most; it ends between two graphemes, which are
    what readers see as one character.
    """
    encoded = text.encode(errors="ignore")
    if len(encoded) <= longest:
        return text
    end = len(encoded[: max(longest, 0)].decode(errors="ignore"))
    place = end
    while end - place < _LONGEST_GRAPHEME and not _may_end(text, place):
        place -= 1
    return text[: place if _may_end(text, place) else end]


def _may_end(text: str, place: int) -> bool:
    """Whether a grapheme ends before `place` (UAX 29, as far as `clean` leaves such characters)."""
    if place in (0, len(text)):
        return True
    before, after = text[place - 1], text[place]
    # Marks, and skin tones of emoji.
    if unicodedata.category(after)[0] == "M" or "\U0001f3fb" <= after <= "\U0001f3ff":
        return False
    if "\u200d" in (before, after):  # the zero-width joiner, which `clean` leaves only between emoji
        return False
    if _is_jamo(before) and _is_jamo(after):
        return False
    # A conjunct of an Indic script.
    if unicodedata.combining(before) == 9 and unicodedata.category(after)[0] == "L":
        return False
    flags = 0
    while flags < place and _is_flag(text[place - flags - 1]):
        flags += 1
    return not (_is_flag(after) and flags % 2)


def _is_jamo(letter: str) -> bool:
    """Whether the character is a part of a Hangul syllable that has no character of its own, or may continue
    such a part.
    """
    return "\u1100" <= letter <= "\u11ff" or "\ua960" <= letter <= "\ua97c" or "\uac00" <= letter <= "\ud7fb"


def _is_flag(letter: str) -> bool:
    return "\U0001f1e6" <= letter <= "\U0001f1ff"


def utf16_length(text: str) -> int:
    """Return the length of `text` as Windows counts it, in units of UTF-16."""
    return len(text.encode("utf-16-le", errors="replace")) // 2
