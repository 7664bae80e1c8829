"""A film that is said to be YouTube's, and SponsorBlock's word that its third second is a sponsor's."""

import hashlib

from aiohttp import web
from yarl import URL

FILM = "dQw4w9WgXcQ"
CUT = (2.0, 3.0)  # seconds

_DIGITS = hashlib.sha256(FILM.encode()).hexdigest()[:4]


async def film(request: web.Request) -> web.Response:
    """The film at the path `src=`, as YouTube's extractor tells of it. For `tests.fakes.told` alone."""
    link = str(request.url.origin().join(URL(request.query["src"], encoded=True)))
    told = {"id": FILM, "extractor_key": "Youtube", "title": "A film", "url": link, "ext": "mp4"}
    return web.json_response(told)


async def segments(_request: web.Request) -> web.Response:
    """SponsorBlock's answer for all films whose hash begins so."""
    marked = {"segment": CUT, "category": "sponsor", "actionType": "skip", "videoDuration": 0}
    return web.json_response([{"videoID": FILM, "segments": [marked]}])


ROUTES = [
    web.get("/told/sponsored", film),
    web.get(f"/api/skipSegments/{_DIGITS}", segments),
]
