"""`/api/library`: a preview of paths, and actions on the whole library.

The preview needs no folder, and works without `library.path`: it tells somebody who writes a template what
that means.
"""

from datetime import date
from http import HTTPStatus
from typing import TYPE_CHECKING, Final

from aiohttp import web

from server.api.bodies import read_object, respond, respond_answer, validated
from server.api.keys import TASKS, admins_alone, restricted_to, tasks_of
from server.api.openapi.operation import JSON, OF_CHANGES, READER, TASK_ID, Operation, Reply
from server.api.payload import TaskPayload
from server.api.route import post
from server.core.errors import (
    AdminOnly,
    LibraryIsAway,
    LibraryIsBusy,
    NoFiles,
    NoLibrary,
    StorageAway,
    TaskNotFound,
)
from server.core.library import OUTPUTS, Library
from server.library.library_actions import LibraryActions
from server.library.library_names import Film, episode_of, place_of, roles_of
from server.library.placement_rows import PlacementRows
from server.library.placements import LibraryRequest, PlaceRequest
from server.library.task_placing import TaskPlacing

if TYPE_CHECKING:
    from server.library.library_schemas import LibrarySample

_SCHEMAS = "server.library.library_schemas"  # of responses
LIBRARY_ACTIONS = web.AppKey("library_actions", LibraryActions)
TASK_PLACING = web.AppKey("task_placing", TaskPlacing)
PLACEMENTS: web.AppKey[PlacementRows] = web.AppKey("placements")
_DAY: Final = date(2026, 3, 14)
_SAMPLES: Final = (
    Film(
        key="youtube dQw4w9WgXcQ",
        day=_DAY,
        episode=episode_of(_DAY, 1),
        id="dQw4w9WgXcQ",
        extractor="Youtube",
        title="A walk by the sea",
        channel="Some Channel",
        channel_id="UC4QobU6STFB0P71PMvOGN5A",
    ),
    Film(
        key="youtube 0123456789a",
        day=_DAY,
        episode=episode_of(_DAY, 2),
        id="0123456789a",
        extractor="Youtube",
        title="What is 1/2? S01E02: 答案",
        channel="Some Channel",
        channel_id="UC4QobU6STFB0P71PMvOGN5A",
        playlist="Numbers",
        playlist_index=7,
    ),
    Film(
        key="url https://example.org/talk.mp4",
        day=_DAY,
        episode=episode_of(_DAY, 1),
        url="https://example.org/talk.mp4",
        id="talk",
        extractor="generic",
        title="talk",
    ),
)
"""A usual one; one of a list, whose title has what no name can have; and a file without a channel."""


async def preview(request: web.Request) -> web.Response:
    """Return the paths that some invented films would get."""
    library = validated(Library, await read_object(request))
    from server.library.library_schemas import LibraryPreview

    return respond_answer(LibraryPreview(samples=[_sample(library, film) for film in _SAMPLES]))


def _sample(library: Library, film: Film) -> "LibrarySample":
    from server.library.library_schemas import LibrarySample

    place = place_of(library, film)
    is_sound = library.form is not None and OUTPUTS[library.form] == "audio"
    paths = [place.path("film", "mp3" if is_sound else "mp4")]
    if not is_sound:
        paths.append(place.path("subtitles", "srt", "en"))
    paths += [place.path(role) for role in roles_of(library, place)]
    return LibrarySample(title=film.title, channel=film.channel, playlist=film.playlist, paths=paths)


async def act(request: web.Request) -> web.Response:
    admins_alone(request)
    wanted = validated(LibraryRequest, await read_object(request))
    request.app[TASKS].refuse_when_closing()
    return respond_answer(await request.app[LIBRARY_ACTIONS].act(wanted.action, dry_run=wanted.dry_run))


async def place(request: web.Request) -> web.Response:
    """Place the files of a task, as the body says, or without a body as the task's request says."""
    body = await read_object(request) if request.body_exists else {}
    wanted = validated(PlaceRequest, body)
    task_id = request.match_info["task_id"]
    if restricted_to(request) is not None:
        await tasks_of(request).status(task_id)
    status = await request.app[TASK_PLACING].place(task_id, wanted.library)
    return respond(request, status, HTTPStatus.ACCEPTED)


ROUTES = [
    post(
        "/api/tasks/{task_id}/place",
        place,
        Operation(
            "place",
            "Tasks",
            "Place in the library",
            {202: Reply("It is placed in the background: `library` says when", {JSON: TaskPayload})},
            "What was fetched goes into the library, too, without another download. "
            "Without a body as the task or its subscriptions say.",
            parameters=(TASK_ID, *READER),
            body=PlaceRequest,
            errors=(TaskNotFound, NoFiles, NoLibrary, StorageAway, *OF_CHANGES),
        ),
    ),
    post(
        "/api/library/preview",
        preview,
        Operation(
            "previewLibrary",
            "Library",
            "What paths would be",
            {
                200: Reply(
                    "Those of three films that are made up",
                    {JSON: f"{_SCHEMAS}:LibraryPreview"},
                )
            },
            "The body is that of `library` in a request. Nothing is fetched, and nothing is written.",
            parameters=READER,
            body=Library,
            errors=OF_CHANGES,
        ),
    ),
    post(
        "/api/library/actions",
        act,
        Operation(
            "act_on_library",
            "Library",
            "Rename, verify or describe all that lies there",
            {200: Reply("What was done, or would be", {JSON: f"{_SCHEMAS}:LibraryOutcome"})},
            "Moves and rewritten files are made in the background.",
            parameters=READER,
            body=LibraryRequest,
            errors=(AdminOnly, LibraryIsAway, LibraryIsBusy, *OF_CHANGES),
        ),
    ),
]
