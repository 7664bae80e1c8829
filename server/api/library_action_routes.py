"""`POST /api/library/actions`: what is done to all that lies in the library."""

from aiohttp import web

from server.api.bodies import read_object, respond_json, validated
from server.api.keys import LIBRARY_ACTIONS, TASKS
from server.api.openapi.operation import JSON, OF_CHANGES, READER, Operation, Reply
from server.api.route import post
from server.core.errors import LibraryIsAway, LibraryIsBusy
from server.core.placements import LibraryRequest


async def act(request: web.Request) -> web.Response:
    wanted = validated(LibraryRequest, await read_object(request))
    request.app[TASKS].refuse_when_closing()
    return respond_json(await request.app[LIBRARY_ACTIONS].act(wanted.action, dry_run=wanted.dry_run))


ROUTES = [
    post(
        "/api/library/actions",
        act,
        Operation(
            "act_on_library",
            "Library",
            "Rename, verify or describe all that lies there",
            {200: Reply("What was done, or would be", {JSON: "LibraryOutcome"})},
            "Moves and rewritten files are made in the background.",
            parameters=READER,
            body=LibraryRequest,
            errors=(LibraryIsAway, LibraryIsBusy, *OF_CHANGES),
        ),
    ),
]
