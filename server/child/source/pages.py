"""What some sources send in place of a part of a film, as if it were that: a page that says that a link has
expired, or asks whether somebody is there.
"""

import re
from typing import Any, Final

_HEAD: Final = 512  # bytes
_BEGINS: Final = re.compile(rb"(\xef\xbb\xbf)?\s*<(!doctype\s+html|html|head|body)\b", re.IGNORECASE)


def is_one(response: Any) -> bool:
    """Whether `response`, of which nothing was read yet, is one: by what it says, and by how it begins.

    Some call films pages, so that nobody looks at them.
    """
    kind = response.headers.get("Content-Type") or ""
    return kind.lower().startswith("text/html") and bool(_BEGINS.match(response.look_ahead(_HEAD)))
