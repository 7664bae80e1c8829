"""HTML pages that some sources send with success in place of a piece of media: they say that a link has
expired, or ask whether the visitor is still there.
"""

import re
from typing import Any, Final

_HEAD: Final = 512  # bytes
_BEGINS: Final = re.compile(rb"(\xef\xbb\xbf)?\s*<(!doctype\s+html|html|head|body)\b", re.IGNORECASE)


def is_one(response: Any) -> bool:
    """Whether `response`, of which nothing was read yet, is a page: by its Content-Type and its first bytes.

    The Content-Type is not enough: some sources call films HTML to hide them.
    """
    kind = response.headers.get("Content-Type") or ""
    return kind.lower().startswith("text/html") and bool(_BEGINS.match(response.look_ahead(_HEAD)))
