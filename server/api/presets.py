"""`GET /api/presets`: the presets of the configuration, named sets of request fields."""

from aiohttp import web

from server.api.bodies import respond_json
from server.api.keys import SETTINGS
from server.api.openapi.operation import JSON, Operation, Reply
from server.api.openapi.schemas import PresetList
from server.api.route import get


async def list_presets(request: web.Request) -> web.Response:
    return respond_json({"presets": request.app[SETTINGS].presets})


ROUTES = [
    get(
        "/api/presets",
        list_presets,
        Operation(
            "presets",
            "Tasks",
            "The presets of the configuration",
            {200: Reply("What each of them sets", {JSON: PresetList})},
        ),
    )
]
