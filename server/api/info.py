"""`POST /api/info`: what a link offers, before anything is downloaded."""

from aiohttp import web

from server.api.bodies import read_object, respond_json, validated
from server.api.connections import CONNECTIONS
from server.api.cookies import cookies_named, unknown_cookies
from server.api.keys import COOKIES, INSPECTOR, SETTINGS
from server.api.openapi.operation import JSON, OF_CHANGES, READER, Operation, Reply
from server.api.openapi.schemas import Info
from server.api.process import unknown_preset, with_preset
from server.api.route import post
from server.core.errors import SourceRefused, TooManyRequests
from server.core.models import InfoRequest


async def inspect(request: web.Request) -> web.Response:
    body, presets = await read_object(request), request.app[SETTINGS].presets
    name = with_preset(body, presets).get("cookies")  # what else a preset sets is not needed here
    whole = body | {"cookies": name} if name is not None else body
    unknown = unknown_cookies(whole, await cookies_named([whole], request.app[COOKIES]))
    wanted = validated(InfoRequest, whole, *unknown_preset(body, presets), *unknown)
    looking = request.app[INSPECTOR].inspect(wanted)
    return respond_json(await request.app[CONNECTIONS].attended(request.protocol, looking))


ROUTES = [
    post(
        "/api/info",
        inspect,
        Operation(
            "info",
            "Tasks",
            "What a link offers",
            {200: Reply("Nothing of it is kept", {JSON: Info})},
            parameters=READER,
            body=InfoRequest,
            errors=(SourceRefused, TooManyRequests, *OF_CHANGES),
        ),
    )
]
