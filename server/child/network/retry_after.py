"""When a source wants the next request, by its `Retry-After`."""

import re
import time
from email.utils import parsedate_to_datetime

LONGEST_WAIT = 86_400.0


def seconds(header: str | None) -> float | None:
    """A `Retry-After` (RFC 9110, 10.2.3) as seconds from now, at most a day; None if it is malformed."""
    if header is None:
        return None
    if re.fullmatch(r"\s*\d{1,9}\s*", header):
        return min(float(header), LONGEST_WAIT)
    try:
        moment = parsedate_to_datetime(header).timestamp()
    except (ValueError, OverflowError):
        return None
    return min(max(moment - time.time(), 0.0), LONGEST_WAIT)
