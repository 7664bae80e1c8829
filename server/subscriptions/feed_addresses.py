"""Where the podcast feed of a subscription is."""

from aiohttp import web

from server.api.keys import SETTINGS
from server.api.security import DOORS


def address_of(request: web.Request, secret: str, path: str) -> str:
    """Return the address of the feed, which contains the secret of all feeds. It begins with
    `feeds.public_url`, else with the address at which the client reaches this server.
    """
    settings = request.app[SETTINGS]
    base = settings.feeds.public_url or request.app[DOORS].origin(request) + settings.server.base_path
    return f"{base}/feeds/{secret}{path}"
