"""`POST /api/tasks/actions`: one action on many tasks, selected by id, list, stage or error code."""

from collections.abc import Iterator
from http import HTTPStatus
from typing import Any

from aiohttp import web

from server.api.bodies import read_object, validated
from server.api.keys import TASKS
from server.api.openapi.operation import JSON, OF_CHANGES, READER, Operation, Reply
from server.api.openapi.schemas import ActionResults
from server.api.results import Result, respond_results
from server.api.route import post
from server.core.errors import AppError, WrongField
from server.core.models import MOST_AT_ONCE, ActionRequest, Stage
from server.core.ports import Filter
from server.tasks.bulk import Outcome, act_on_all

_RUNNING = (Stage.QUEUED, *(stage for stage in Stage if stage.is_running))
# A deletion makes its entries unknown, in whichever stage they are.
_EFFECTIVE: dict[str, tuple[Stage, ...]] = {
    "cancel": (*_RUNNING, Stage.PAUSED),
    "pause": _RUNNING,
    "resume": (Stage.PAUSED,),
    "retry": (Stage.FAILED, Stage.CANCELLED),
}


async def act(request: web.Request) -> web.Response:
    """Act on up to `MOST_AT_ONCE` tasks; if more match, the response has `more`."""
    body = await read_object(request)
    wanted = validated(ActionRequest, body, *_unclear(body))
    ids = await _found(request, wanted) if wanted.ids is None else list(wanted.ids)
    outcomes = await act_on_all(request.app[TASKS], wanted.action, ids[:MOST_AT_ONCE])
    return await respond_results(request, _results(outcomes), more=len(ids) > MOST_AT_ONCE)


async def _found(request: web.Request, wanted: ActionRequest) -> list[str]:
    """The ids of matching tasks; `MOST_AT_ONCE` + 1 if there are more than are acted on."""
    if wanted.playlist_id is not None:
        return await _entries(request, wanted.playlist_id, wanted.action)
    stage = wanted.stage or (Stage.CANCELLED if wanted.error_code == Stage.CANCELLED else Stage.FAILED)
    return await request.app[TASKS].ids_in(stage, wanted.error_code, MOST_AT_ONCE + 1)


async def _entries(request: web.Request, playlist_id: str, action: str) -> list[str]:
    """All entries of a list; of one with more than `MOST_AT_ONCE`, those on which the action has an effect.

    So a client that asks again, while there are `more`, comes to the others. A retry of a list leaves what is
    completed: only who names such a task wants it anew.
    """
    stages = tuple(stage for stage in Stage if action != "retry" or stage is not Stage.COMPLETED)
    page = await request.app[TASKS].page(Filter(stages, playlist_id=playlist_id), None, MOST_AT_ONCE + 1)
    if len(page.tasks) > MOST_AT_ONCE and (effective := _EFFECTIVE.get(action)):
        entries = Filter(effective, playlist_id=playlist_id)
        page = await request.app[TASKS].page(entries, None, MOST_AT_ONCE + 1)
    return [status.task_id for status in page.tasks]


def _unclear(body: dict[str, Any]) -> list[WrongField]:
    """The error of a body that selects no tasks, or that selects them in two ways; else nothing."""
    kind = any(body.get(name) is not None for name in ("stage", "error_code"))
    said = [name for name in ("ids", "playlist_id") if body.get(name) is not None]
    if not said and not kind:
        return [("ids", "tasks_missing", {})]
    return [(said[0], "ids_alone", {})] if len(said) + kind > 1 else []


def _results(outcomes: list[Outcome]) -> Iterator[Result]:
    for outcome in outcomes:
        if isinstance(outcome, AppError):
            yield outcome
        else:
            yield HTTPStatus.OK if outcome else HTTPStatus.NO_CONTENT, outcome


ROUTES = [
    post(
        "/api/tasks/actions",
        act,
        Operation(
            "act",
            "Tasks",
            "Act on many tasks",
            {200: Reply("What became of each, in order", {JSON: ActionResults})},
            "On those that `ids` names, on the entries of a list, or on all in a `stage`, "
            "with an `error_code`, or both. What goes wrong with one stops no other.",
            parameters=READER,
            body=ActionRequest,
            errors=OF_CHANGES,
        ),
    )
]
