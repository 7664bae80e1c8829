"""Fetches the pictures by which the source of a subscription is known, where they are others than before.

They are a bonus, like all pictures: what is wrong with one is logged, and costs the check nothing.
"""

import base64
from collections.abc import Mapping
from typing import Any, Final

from server.child.fetch.thumbnails import Thumbnails
from server.child.process.channel import Channel
from server.core.jobs import CheckWishes

SMALL: Final = 240  # pixels: the width of what lists show
_WIDTHS: Final = {"picture": (1400, SMALL), "banner": (1920,)}
_LARGEST: Final = 3 << 20  # bytes of a JPEG; one of 1400 pixels has a fifth of a million


def tell_pictures(
    check: CheckWishes, told: Mapping[str, Any], thumbnails: Thumbnails, channel: Channel
) -> None:
    """Tell of each picture that is not there yet, also if there is none at its address; `told` is what the
    check has found.
    """
    named = check.addresses if told.get("unchanged") else told.get("facts", {}).get("pictures", {})
    for role, url in named.items():
        if check.has_pictures.get(role) in (url, url.partition("?")[0]):
            continue
        made = thumbnails.of_source(url, *_WIDTHS[role])
        whole, *small = made if made and all(len(one) <= _LARGEST for one in made) else [None]
        data = {} if whole is None else {"data": base64.b64encode(whole).decode()}
        if small:
            data["small"] = base64.b64encode(small[0] or b"").decode()
        channel.send("source_picture", role=role, url=url, **data)
