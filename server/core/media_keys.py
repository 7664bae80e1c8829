"""The key of a video: links with the same key lead to the same video, see docs/decisions/library.md.

A key is yt-dlp's own archive id, `youtube dQw4w9WgXcQ`, so that its archives can be imported; or
`url <normalised link>` where the extractor's ids are not unique: files and pages that only the generic
extractor knows. Two servers must make the same key of the same video, for ever: rows are found by it.

Decisions: docs/decisions/library.md
"""

import hashlib
import re
from collections.abc import Iterable
from urllib.parse import parse_qs, urlsplit

LONGEST_KEY = 500  # bytes; an index of PostgreSQL takes no more than 2,700
MOST_ALIASES = 20
_GUID = "guid "
# These extractors derive the id from the file's name: for all hosts, `/video.mp4` is "generic video".
NOT_UNIQUE = frozenset(("generic", "html5mediaembed", "html5", "rtmp", "mms", "viewsource", "commonmistakes"))
_DEFAULT_PORTS = {"http": 80, "https": 443}
_YOUTUBE_ID = r"[0-9A-Za-z_-]{11}"
_YOUTUBE_PATH = re.compile(rf"/(?:shorts|live|embed|v|e)/({_YOUTUBE_ID})(?:[/?]|$)")
_YOUTUBE_HOSTS = frozenset(("youtube.com", "youtube-nocookie.com", "youtu.be"))
_NOT_STORABLE = re.compile("[\0\ud800-\udfff]")  # characters that SQLite or PostgreSQL cannot store
_ARCHIVED = re.compile(r"([a-z0-9][a-z0-9:._+-]{0,99}) (\S.{0,399})")


def normalise_link(url: str) -> str:
    """Return `url` in the form that all spellings of it share: https, the host in lower case, no fragment, no
    user, no default port. No host name is resolved.
    """
    try:
        parts = urlsplit(url)
        host, port = (parts.hostname or "").lower().rstrip("."), parts.port
    except ValueError:
        return url
    host = f"[{host}]" if ":" in host else host
    where = host if port is None or port == _DEFAULT_PORTS.get(parts.scheme.lower()) else f"{host}:{port}"
    query = f"?{parts.query}" if parts.query else ""
    return f"https://{where}{parts.path or '/'}{query}"


def bound_key(key: str) -> str:
    """Return `key` in a form that fits into an index: if it is too long or cannot be stored as text, its kind
    and a hash.
    """
    if len(key.encode(errors="replace")) <= LONGEST_KEY and not _NOT_STORABLE.search(key):
        return key
    kind, _, rest = key.partition(" ")
    return f"{kind} #{hashlib.sha256(rest.encode(errors='replace')).hexdigest()}"


def key_of_link(url: str, item: int | None = None) -> str:
    """Return the key of a video that only its link identifies, or only its place, `item`, in a list there."""
    return bound_key(f"url {normalise_link(url)}{'' if item is None else f' {item}'}")


def key_of(
    extractor_key: str | None,
    media_id: str | None,
    url: str,
    item: int | None = None,
    media: str | None = None,
) -> str:
    """Return the key of a video: of its extractor and id if these are unique, else of `media`, the link of
    its file, else of `url` and `item`.
    """
    if extractor_key and media_id and extractor_key.lower() not in NOT_UNIQUE:
        return bound_key(f"{extractor_key.lower()} {media_id}")
    return key_of_link(url, item) if media is None else key_of_link(media)


def keys_of_link(url: str) -> list[str]:
    """Return the keys and aliases that a video at `url` may have, the surest first, without any request."""
    youtube = _youtube_id(url)
    return [*([f"youtube {youtube}"] if youtube else []), key_of_link(url)]


def _youtube_id(url: str) -> str | None:
    """Return the id in a link to one video of YouTube, whose links have several forms; None in any other."""
    try:
        parts = urlsplit(url)
        host = (parts.hostname or "").lower()
    except ValueError:
        return None
    site = ".".join(host.split(".")[-2:])
    if site not in _YOUTUBE_HOSTS:
        return None
    if site == "youtu.be":
        found = re.fullmatch(rf"/({_YOUTUBE_ID})/?", parts.path)
    else:
        found = _YOUTUBE_PATH.match(parts.path)
        if not found and parts.path == "/watch":
            [named, *_] = parse_qs(parts.query).get("v") or [""]
            found = re.fullmatch(rf"({_YOUTUBE_ID})", named)
    return found[1] if found else None


def keys_of_entry(
    extractor_key: str | None,
    media_id: str | None,
    url: str,
    item: int | None,
    guid: str | None,
    source_key: str,
    media: str | None = None,
) -> tuple[str, tuple[str, ...]]:
    """Return the key and the aliases of an entry of the list `source_key`.

    The aliases are its guid in this list, and its link if that leads to it alone. `media` is the link of
    the file, for an entry without a page of its own. Such an entry is not recognized by its place in the
    list, where another film may be when the list is read again.
    """
    key = key_of(extractor_key, media_id, url, item, media)
    guids = [f"{_GUID}{source_key} {guid}"] if guid else []
    links = [] if item is not None else [key_of_link(url)]
    return key, aliases_of(key, (*guids, *links))


def is_guid(alias: str) -> bool:
    """Whether `alias` is the guid of an entry in its feed."""
    return alias.startswith(_GUID)


def archived_key(line: str) -> str | None:
    """Return the key in a line of yt-dlp's `--download-archive`; None if there is none that is unique."""
    found = _ARCHIVED.fullmatch(line.strip())
    if not found or not line.isprintable() or found[1] in NOT_UNIQUE:
        return None
    return bound_key(f"{found[1]} {found[2]}")


def aliases_of(key: str, others: Iterable[str]) -> tuple[str, ...]:
    """Return at most `MOST_ALIASES` of `others`, each once, without `key` itself."""
    return tuple(alias for alias in dict.fromkeys(map(bound_key, others)) if alias != key)[:MOST_ALIASES]
