"""`/api/me`: the person who asks, with their tokens and log-ins."""

import json
import math
from datetime import UTC, datetime, timedelta
from http import HTTPStatus
from time import monotonic
from typing import TYPE_CHECKING

from aiohttp import web
from pydantic import ConfigDict, Field

from server.api.bodies import read_object, respond_answer, validated
from server.api.keys import DONE, SCOPE, SETTINGS, principal_of
from server.api.openapi.operation import JSON, OF_CHANGES, READER, Operation, Parameter, Reply
from server.api.route import delete, get, patch, post
from server.api.security import DOORS
from server.api.session import LOG_INS, MAX_WRONG, SESSION
from server.core.errors import (
    LabelTaken,
    LogInNotFound,
    PersonNotFound,
    PersonTokenNotFound,
    TooManyRequests,
    TooManyTokens,
    WrongPassword,
)
from server.core.ports import Session
from server.core.values import Frozen
from server.people.passwords import LONGEST, SHORTEST
from server.people.people_routes import (
    PEOPLE,
    TOKEN_LABEL,
    AddTokenRequest,
    respond_new_token,
    respond_revoked,
    respond_tokens,
    shown_limits,
)
from server.people.people_rows import set_password
from server.people.usage import Usage, Use

if TYPE_CHECKING:
    from server.people.people_schemas import LimitUse, LogInInfo

_SCHEMAS = "server.people.people_schemas"  # of responses
USAGE = web.AppKey("usage", Usage)
SHORT_ID = 16  # characters of the hash of a cookie's value: enough to tell log-ins apart


async def get_me(request: web.Request) -> web.Response:
    from server.people.people_schemas import Me

    principal = principal_of(request)
    person = request.app[PEOPLE].people.get(principal.name) if principal.name else None
    use = await request.app[USAGE].of(person.name) if person else None
    return respond_answer(
        Me(
            name=principal.name,
            role=principal.role,
            way="token" if person is None and request.get(SCOPE) else principal.way,
            separate_lists=request.app[SETTINGS].access.separate_lists,
            has_password=person is not None and person.password is not None,
            limits=shown_limits(request, person.limits if person else {}),
            used=shown_use(use) if use else None,
        )
    )


class MeChange(Frozen):
    """`old_password` is needed where there is a password."""

    model_config = ConfigDict(strict=True)

    password: str = Field(min_length=SHORTEST, max_length=LONGEST)
    old_password: str | None = Field(None, min_length=1, max_length=LONGEST)


async def change_me(request: web.Request) -> web.Response:
    """Change the caller's password. All their other log-ins end."""
    name, change = _name(request), validated(MeChange, await read_object(request))
    people, who = request.app[PEOPLE], (request.app[DOORS].client(request), name)
    person = people.people.get(name)
    if person is None:
        raise PersonNotFound
    if person.password is not None and not await people.passwords.matches(
        person.password, change.old_password or "", who
    ):
        if people.wrong.count(name) > MAX_WRONG:
            raise TooManyRequests(people.wrong.left(name))
        raise WrongPassword
    hashed = await people.passwords.hashed(change.password, who)
    session = request.get(SESSION)
    spared = session.session_id if session else ""
    await people.change(lambda tables: set_password(tables, name, hashed, spared))
    request[DONE] = [("password_changed", name)]
    await request.app[LOG_INS].catch_up()
    return await get_me(request)


async def list_tokens(request: web.Request) -> web.Response:
    return await respond_tokens(request, principal_of(request).name or "")


async def add_token(request: web.Request) -> web.Response:
    return await respond_new_token(request, _name(request))


async def revoke_token(request: web.Request) -> web.Response:
    return await respond_revoked(request, _name(request))


async def list_sessions(request: web.Request) -> web.Response:
    from server.people.people_schemas import LogInList

    current = request.get(SESSION)
    found = await _sessions(request)
    return respond_answer(
        LogInList(sessions=[_shown(one, is_current=bool(current and one == current)) for one in found])
    )


async def end_session(request: web.Request) -> web.Response:
    """End one of the caller's log-ins, with its WebSockets and event streams."""
    for session in await _sessions(request):
        if session.session_id[:SHORT_ID] == request.match_info["session_id"]:
            await request.app[LOG_INS].end_by_id(session.session_id)
            return web.Response(status=HTTPStatus.NO_CONTENT)
    raise LogInNotFound


async def _sessions(request: web.Request) -> list[Session]:
    """Return the log-ins of the person, or of the token of the settings, who asks."""
    scope = request.get(SCOPE, "")
    return await request.app[LOG_INS].of_scope(scope) if scope else []


def _name(request: web.Request) -> str:
    """Return the name of the person who asks. Raises `PersonNotFound` for an admin without a name."""
    if (name := principal_of(request).name) is None:
        raise PersonNotFound
    return name


def shown_use(use: Use) -> "LimitUse":
    from server.people.people_schemas import LimitUse

    return LimitUse(
        running=use.running,
        waiting=use.waiting,
        bytes_per_day=use.bytes_per_day,
        stored_bytes=use.stored_bytes,
        free_in=None if use.free_in is None else math.ceil(use.free_in),
    )


def _shown(session: Session, *, is_current: bool) -> "LogInInfo":
    from server.people.people_schemas import LogInInfo

    about, now = json.loads(session.about), datetime.now(UTC)
    ends_at = now + timedelta(seconds=session.ends_at - monotonic())
    began_at = datetime.fromtimestamp(about["at"], UTC) if "at" in about else None
    return LogInInfo.model_validate(
        {
            "id": session.session_id[:SHORT_ID],
            "way": session.way,
            "began_at": began_at and began_at.isoformat()[:19] + "Z",
            "ends_at": ends_at.isoformat()[:19] + "Z",
            "address": about.get("address"),
            "agent": about.get("agent"),
            "is_current": is_current,
        }
    )


ROUTES = [
    get(
        "/api/me",
        get_me,
        Operation(
            "me",
            "People",
            "Who you are",
            {200: Reply("Your name, role and limits", {JSON: f"{_SCHEMAS}:Me"})},
            "An admin without a name: with a token of the settings, or where no log-in is needed.",
        ),
    ),
    patch(
        "/api/me",
        change_me,
        Operation(
            "change_me",
            "People",
            "Change your password",
            {200: Reply("Changed, and all your other log-ins have ended", {JSON: f"{_SCHEMAS}:Me"})},
            "Any 10 characters or more.",
            parameters=READER,
            body=MeChange,
            errors=(PersonNotFound, WrongPassword, *OF_CHANGES),
        ),
    ),
    get(
        "/api/me/tokens",
        list_tokens,
        Operation(
            "my_tokens",
            "People",
            "Your tokens",
            {200: Reply("Without their secrets", {JSON: f"{_SCHEMAS}:Tokens"})},
        ),
    ),
    post(
        "/api/me/tokens",
        add_token,
        Operation(
            "add_my_token",
            "People",
            "Make a token for yourself",
            {201: Reply("Shown this once", {JSON: f"{_SCHEMAS}:NewToken"})},
            parameters=READER,
            body=AddTokenRequest,
            errors=(PersonNotFound, LabelTaken, TooManyTokens, *OF_CHANGES),
        ),
    ),
    delete(
        "/api/me/tokens/{label}",
        revoke_token,
        Operation(
            "revoke_my_token",
            "People",
            "Revoke a token of yours",
            {204: Reply("It is refused from now on, and what is open in its name is closed")},
            parameters=(TOKEN_LABEL, *READER),
            errors=(PersonNotFound, PersonTokenNotFound, *OF_CHANGES),
        ),
    ),
    get(
        "/api/me/sessions",
        list_sessions,
        Operation(
            "my_sessions",
            "People",
            "Your log-ins of the page",
            {200: Reply("Those that have not ended", {JSON: f"{_SCHEMAS}:LogInList"})},
        ),
    ),
    delete(
        "/api/me/sessions/{session_id}",
        end_session,
        Operation(
            "end_my_session",
            "People",
            "End a log-in of yours",
            {204: Reply("It has ended, with all that was open in its name")},
            parameters=(Parameter("session_id", "`id` of the log-in", place="path"), *READER),
            errors=(LogInNotFound, *OF_CHANGES),
        ),
    ),
]
