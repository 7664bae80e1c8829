"""A film that claims to be YouTube's, and SponsorBlock's API, which marks its third second as a sponsor's."""

import hashlib

from aiohttp import web
from yarl import URL

FILM = "dQw4w9WgXcQ"
CUT = (2.0, 3.0)  # seconds between which a sponsor's part is marked

_DIGITS = hashlib.sha256(FILM.encode()).hexdigest()[:4]


async def film(request: web.Request) -> web.Response:
    """Return the film at the path `src=`, as a result of YouTube's extractor, for `tests.fakes.told`."""
    link = str(request.url.origin().join(URL(request.query["src"], encoded=True)))
    told = {"id": FILM, "extractor_key": "Youtube", "title": "A film", "url": link, "ext": "mp4"}
    return web.json_response(told)


async def segments(_request: web.Request) -> web.Response:
    """Answer as SponsorBlock does, for the films whose hash begins with the four digits in the path."""
    marked = {"segment": CUT, "category": "sponsor", "actionType": "skip", "videoDuration": 0}
    return web.json_response([{"videoID": FILM, "segments": [marked]}])


ROUTES = [
    web.get("/told/sponsored", film),
    web.get(f"/api/skipSegments/{_DIGITS}", segments),
]
