"""Fetches the pictures of a subscription's source, such as a channel's avatar, if they have changed.

They are a bonus, like all pictures: an error is logged, and does not fail the check.
"""

import base64
from collections.abc import Mapping
from typing import Any, Final

from server.child.fetch.thumbnails import Thumbnails
from server.child.process.channel import Channel
from server.core.jobs import CheckWishes

_SMALL_WIDTH: Final = 240  # pixels, as lists show it
_WIDTHS: Final = {"picture": (1400, _SMALL_WIDTH), "banner": (1920,)}
_MAX_BYTES: Final = 3 << 20  # of a JPEG; usually one of 1400 pixels has 200,000


def send_pictures(
    check: CheckWishes, found: Mapping[str, Any], thumbnails: Thumbnails, channel: Channel
) -> None:
    """Send an event for each picture that the server does not have, without data if it cannot be fetched.

    `found` are the fields of the event `checked`.
    """
    urls = check.addresses if found.get("unchanged") else found.get("facts", {}).get("pictures", {})
    for role, url in urls.items():
        if check.has_pictures.get(role) in (url, url.partition("?")[0]):
            continue
        made = thumbnails.fetch_in_widths(url, *_WIDTHS[role])
        full_size, *small = made if made and all(len(one) <= _MAX_BYTES for one in made) else [None]
        data = {} if full_size is None else {"data": base64.b64encode(full_size).decode()}
        if small:
            data["small"] = base64.b64encode(small[0] or b"").decode()
        channel.send("source_picture", role=role, url=url, **data)
