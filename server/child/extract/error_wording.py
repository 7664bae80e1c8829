"""yt-dlp's own error messages, without words from elsewhere: links, ids, words of libraries and servers."""

import re
from collections.abc import Iterator, Sequence
from urllib.parse import unquote

from yt_dlp import utils
from yt_dlp.networking import exceptions as network

from server.child.extract.exception_facts import Trail

_URL = re.compile(r"\S+://\S+")
_APOSTROPHES = str.maketrans("‘’ʼ", "'''")
_QUOTES = frozenset("\"'`“”«»")
_ENDS_CLAUSE = re.compile(r"\s*([.,;!?)\]](\s|$)|/ |$)")
_NAMES_SUBJECT = re.compile(r":(\s|$)|\s+does not exist")
_BEFORE_CLAUSE = re.compile(r"[.,:;!?(\[/](?=\s)")
_LINKING = re.compile(
    r"(an?|and|are|as|be|been|being|by|currently|either|ha[sv]e?|is|likely|longer|needs|not?|now|or|requires"
    r"|still|the|to|uses|was|were|with)"
)
"""What follows one of these words says something, and names nothing: "is private", "set to private"."""


def own_words(errors: Sequence[BaseException], trail: Trail) -> str:
    """What yt-dlp itself says in `errors`, in lower case; "" if it only repeats what others say."""
    told = (words.replace(trail.told_in(words)[0], "") for words in _told(errors))
    text = " / ".join(told).lower().translate(_APOSTROPHES)
    for name in _names(errors, trail.url):
        pattern = rf"(?<!\w){re.escape(name)}(?!\w)"
        text = re.sub(pattern, lambda found: "" if _names_something(found) else found[0], text)
    return _URL.sub("", text)


def _names_something(found: re.Match[str]) -> bool:
    """Whether a name of the link or an id is mentioned there, and not a word that happens to be the same.

    A film at `/private.mp4` may be private, and a stream at `/offline` offline. So a name counts only where
    extractors put names: in quotes, before a colon or "does not exist", and at the end of a clause
    ("Unable to extract <name>"), unless it is what that clause says ("Stream is offline", "Video private").
    """
    before, after = found.string[: found.start()], found.string[found.end() :]
    if before and after and before[-1] in _QUOTES and after[0] in _QUOTES:
        return True
    if _NAMES_SUBJECT.match(after):
        return True
    clause = _BEFORE_CLAUSE.split(before)[-1].split()
    return bool(_ENDS_CLAUSE.match(after)) and len(clause) > 1 and not _LINKING.fullmatch(clause[-1])


def _told(errors: Sequence[BaseException]) -> Iterator[str]:
    extracting = any(isinstance(error, utils.ExtractorError) for error in errors)
    for error in errors:
        match error:
            case utils.ExtractorError():
                yield "" if _hands_on(error) else error.orig_msg
            case utils.DownloadError() if extracting:
                pass  # it repeats the `ExtractorError`, with more around it
            case network.RequestError() if not _is_of_yt_dlp(error):
                pass
            case utils.YoutubeDLError():
                yield str(error)


def _hands_on(error: utils.ExtractorError) -> bool:
    """Whether `_request_webpage` made `error` of a network error: a note, and that error's message."""
    return isinstance(error.cause, network.RequestError) and (error.cause.msg or "") in error.orig_msg


def _is_of_yt_dlp(error: network.RequestError) -> bool:
    """Whether `YoutubeDL.urlopen` itself says why it cannot send a request, rather than a library."""
    return type(error) is network.RequestError and not isinstance(error.cause, OSError | ValueError)


def _names(errors: Sequence[BaseException], url: str) -> list[str]:
    """Names of the link and ids of the video, longest first; not those of two letters, which may be words."""
    names = {url.partition("?")[0].rstrip("/").rpartition("/")[2]}
    names |= {str(error.video_id) for error in errors if isinstance(error, utils.ExtractorError)}
    names |= {unquote(name) for name in names}
    names |= {name.rpartition(".")[0] for name in names}
    return sorted((name.lower() for name in names if len(name) > 2), key=len, reverse=True)
