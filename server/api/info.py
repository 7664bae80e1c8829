"""`POST /api/info`: what a link offers, before anything is downloaded."""

from aiohttp import web

from server.api.bodies import read_object, respond_json, validated
from server.api.keys import INSPECTOR, SETTINGS
from server.api.process import with_preset
from server.models import InfoRequest


async def inspect(request: web.Request) -> web.Response:
    body = await read_object(request)
    with_preset(body, request.app[SETTINGS].presets)  # must exist; nothing in it changes what a link offers
    found = await request.app[INSPECTOR].inspect(validated(InfoRequest, body))
    return respond_json(found)


ROUTES = [web.post("/api/info", inspect)]
