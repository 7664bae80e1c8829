"""The name under which a client saves a file: its film's title, safe in headers and on file systems."""

import re
import unicodedata
from urllib.parse import quote

from server.core.file_names import avoid_reserved

MAX_FILENAME = 180  # bytes in UTF-8 before the extension; file systems allow 255 in all
_NOT_IN_FILENAMES = re.compile(r'["/\\:*?<>|]')
_ATTR_CHAR = "!#$&+-.^_`|~"  # what `attr-char` of RFC 8187, section 3.2.1, has beside letters and digits


def disposition(name: str, title: str | None, *, inline: bool, chapter: str | None = None) -> str:
    """`Content-Disposition` (RFC 6266) with the title as file name, and an ASCII name for old clients."""
    kind = "inline" if inline else "attachment"
    filename = filename_of(name, title, chapter)
    if filename == name:
        return f'{kind}; filename="{name}"'
    plain = filename if filename.isascii() and "%" not in filename else name
    encoded = quote(filename, safe=_ATTR_CHAR)
    return f"{kind}; filename=\"{plain}\"; filename*=UTF-8''{encoded}"


def filename_of(name: str, title: str | None, chapter: str | None = None) -> str:
    """The name under which a client saves the file that is published as `name`.

    Subtitles become `Film.en.srt`, since players look for that name beside `Film.mp4`. A chapter with a title
    is called as by yt-dlp: `Film - 001 Opening.mp4`.
    """
    stem = filename_stem(title or "")
    what, _, which = name.partition("_")[0].partition("-")
    if what == "chapter" and stem and (named := filename_stem(chapter or "")):
        # The film's and the chapter's title get half of the bytes each, so that the number is never cut off.
        stem, which = f"{_cut(stem)} - {which:>03} {_cut(named)}", ""
    elif what == "chapter":
        which = f"chapter-{which:>03}"
    return ".".join(filter(None, (stem, which, name.rpartition(".")[2]))) if stem else name


def _cut(stem: str) -> str:
    return stem.encode()[: MAX_FILENAME // 2].decode(errors="ignore").strip(". ")


def filename_stem(title: str) -> str:
    """Return `title` without characters that trouble file systems, shells or headers, and cut off; may be
    empty.
    """
    # White space and control characters become spaces. Other characters of Unicode's category C, such as text
    # direction marks and surrogates, are removed.
    printable = ""
    for char in title:
        category = unicodedata.category(char)
        if category == "Cc" or category.startswith("Z"):
            printable += " "
        elif not category.startswith("C"):
            printable += char
    words = _NOT_IN_FILENAMES.sub(" ", printable).split()
    cut = " ".join(words).encode()[:MAX_FILENAME].decode(errors="ignore")
    return avoid_reserved(cut.strip(". "))
