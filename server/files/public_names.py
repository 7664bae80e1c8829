"""Public names of finished files: `video_<slug>_<short>.mp4`.

`short` is unguessable, unique, and the same for all files of one attempt: stores look files up by it.
"""

import base64
import re
import secrets
import unicodedata

from server.core.events import ProducedFile
from server.core.film import StoredFile

MAX_SLUG = 60
_SHORT_LENGTH = 13  # base32 characters: 65 bits
_NAME = re.compile(
    rf"[A-Za-z0-9-]{{1,40}}(?:_[a-z0-9-]{{1,{MAX_SLUG}}})?"
    rf"_(?P<short>[a-z2-7]{{{_SHORT_LENGTH}}})\.[A-Za-z0-9]{{1,8}}"
)


def name_files(produced: dict[str, ProducedFile], attempt: int, title: str | None) -> dict[str, StoredFile]:
    """The files that a child produced, with their public names and their paths below the task's directory."""
    short = new_short()
    return {
        kind: StoredFile(
            name=public_name(kind, title, short, file.path.rpartition(".")[2]),
            path=f"{folder_of(attempt)}/{file.path}",
            size=file.size,
            type=file.type,
            title=file.title,
            codec=file.codec,
            sha256=file.sha256,
            crc32=file.crc32,
        )
        for kind, file in produced.items()
    }


def folder_of(attempt: int) -> str:
    """Where the files of an attempt lie below their task's directory."""
    return str(attempt)


def new_short() -> str:
    return base64.b32encode(secrets.token_bytes(10)).decode().lower()[:_SHORT_LENGTH]


def public_name(kind: str, title: str | None, short: str, extension: str) -> str:
    """The public name of a file; it has no slug if `title` has no ASCII letter or digit."""
    words = (kind.replace(".", "-"), slug(title or ""), short)
    return "_".join(filter(None, words)) + f".{extension}"


def short_of(name: str) -> str | None:
    """The `short` in `name`, or None if `name` does not have the form of a public name."""
    match = _NAME.fullmatch(name)
    return match["short"] if match else None


def slug(title: str) -> str:
    """The ASCII words of `title` in lower case, joined by `-`, at most 60 bytes, whole words if possible."""
    plain = unicodedata.normalize("NFKD", title).encode("ascii", "ignore").decode().lower()
    joined = "-".join(re.findall(r"[a-z0-9]+", plain))
    if len(joined) <= MAX_SLUG:
        return joined
    cut = joined[: MAX_SLUG + 1].rpartition("-")[0]
    return cut or joined[:MAX_SLUG]
