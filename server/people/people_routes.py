"""`/api/people`, for admins: who may use the service, their roles, limits and tokens.

Where no log-in is needed, nobody can be added by these routes: from the first person on, everybody else needs
a log-in. So the first is added on the command line of the server's own machine.

Decisions: docs/decisions/people.md
"""

import time
from collections.abc import Mapping
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from aiohttp import web
from pydantic import ConfigDict, Field

from server.api.bodies import Query, read_object, respond_answer, validated
from server.api.keys import DONE, SETTINGS, principal_of
from server.api.openapi.operation import JSON, OF_CHANGES, READER, Operation, Parameter, Reply
from server.api.route import delete, get, patch, post
from server.api.session import GATE, LOG_INS
from server.core.errors import (
    AdminOnly,
    InvalidQuery,
    LabelTaken,
    LastAdmin,
    PersonExists,
    PersonNotFound,
    PersonTokenNotFound,
    TooManyTokens,
)
from server.core.principal import EVERYBODY, PersonRole
from server.core.values import Frozen
from server.people import people_rows as rows
from server.people.audit import PERSON_ADDED, ROLE_CHANGED
from server.people.directory import PeopleDirectory
from server.people.limits import Limits
from server.people.passwords import LONGEST, SHORTEST
from server.people.people_rows import PeopleRows
from server.people.person import (
    FIRST_LABEL,
    LABEL,
    LONGEST_TOKEN,
    NAME,
    NEW_NAME,
    SHORTEST_TOKEN,
    Leaving,
    Person,
    PersonToken,
    WhatRemains,
    fresh_token,
    hash_of,
    instant_of,
)
from server.storage.statements import Statements

if TYPE_CHECKING:
    from server.people.people_schemas import NewToken, PersonInfo, PersonLimits, TokenInfo

_SCHEMAS = "server.people.people_schemas"  # of responses
PEOPLE: web.AppKey[PeopleDirectory] = web.AppKey("people")
PEOPLE_ROWS: web.AppKey[PeopleRows] = web.AppKey("people rows")
WHAT_REMAINS = ("keep", "give", "delete")
LONGEST_NAME = 64  # characters


class OwnLimits(Frozen):
    """The limits of one person, in place of those of the settings; 0: no limit."""

    model_config = ConfigDict(strict=True)

    max_running: int | None = Field(None, ge=0, le=1000)
    max_waiting: int | None = Field(None, ge=0, le=1_000_000_000)
    max_bytes_per_day: int | None = Field(None, ge=0, le=1 << 62)
    max_stored_bytes: int | None = Field(None, ge=0, le=1 << 62)
    retention_hours: float | None = Field(None, ge=0, le=1_000_000)


class AddPersonRequest(Frozen):
    """The body of `POST /api/people`."""

    model_config = ConfigDict(strict=True)

    name: str = Field(pattern=f"^{NEW_NAME}$")
    role: PersonRole = "user"


class PersonChange(Frozen):
    """A merge patch: null brings a limit back to that of the settings, and takes a password away."""

    model_config = ConfigDict(strict=True)

    role: PersonRole | None = None
    limits: OwnLimits | None = None
    password: str | None = Field(None, min_length=SHORTEST, max_length=LONGEST)


class AddTokenRequest(Frozen):
    """A new token; without `expires_in`, in seconds, it lasts until it is revoked."""

    model_config = ConfigDict(strict=True)

    label: str = Field(pattern=f"^{LABEL}$")
    expires_in: int | None = Field(None, ge=SHORTEST_TOKEN, le=LONGEST_TOKEN)


def admin_only(request: web.Request) -> None:
    """Let only admins call the handler. Raises `AdminOnly`."""
    if not principal_of(request).is_admin:
        raise AdminOnly


async def list_people(request: web.Request) -> web.Response:
    from server.people.people_schemas import People

    admin_only(request)
    people = await request.app[PEOPLE_ROWS].people()
    return respond_answer(People(people=[shown(request, person) for person in people]))


async def add_person(request: web.Request) -> web.Response:
    """Add a person with a first token, which is answered this once."""
    admin_only(request)
    wanted = validated(AddPersonRequest, await read_object(request))
    if principal_of(request) is EVERYBODY and not request.app[GATE].is_locked:
        raise AdminOnly
    token, now = fresh_token(), time.time()

    async def add(tables: Statements) -> None:
        await rows.add_person(tables, wanted.name, wanted.role, now)
        await rows.add_token(tables, wanted.name, FIRST_LABEL, hash_of(token), now)

    await request.app[PEOPLE].change(add)
    answer = shown(request, request.app[PEOPLE].people[wanted.name]).model_copy(update={"token": token})
    request[DONE] = [(PERSON_ADDED, f"{wanted.name} {wanted.role}")]
    response = respond_answer(answer, HTTPStatus.CREATED)
    response.headers["Location"] = f"{request.app[SETTINGS].server.base_path}/api/people/{wanted.name}"
    response.headers["Cache-Control"] = "no-store"
    return response


async def get_person(request: web.Request) -> web.Response:
    admin_only(request)
    return respond_answer(shown(request, await _person(request)))


async def change_person(request: web.Request) -> web.Response:
    """Change a role, or limits. What is open in the name of somebody whose role changes is closed."""
    admin_only(request)
    wanted = validated(PersonChange, await read_object(request))
    name, people = request.match_info["name"], request.app[PEOPLE]
    hashed = await people.passwords.hashed(wanted.password, ("", name)) if wanted.password else None

    async def change(tables: Statements) -> Person:
        if "password" in wanted.model_fields_set:
            await rows.set_password(tables, name, hashed)
        if wanted.limits is not None:
            await rows.set_limits(tables, name, wanted.limits.model_dump(exclude_unset=True))
        if wanted.role is not None:
            if wanted.role != "admin":
                await _leave_an_admin(request, tables, name)
            await rows.set_role(tables, name, wanted.role)
        return await rows.find_person(tables, name)

    person = await people.change(change)
    request[DONE] = _changed(name, wanted)
    if "password" in wanted.model_fields_set:
        await request.app[LOG_INS].catch_up()
    return respond_answer(shown(request, person))


async def remove_person(request: web.Request) -> web.Response:
    """Refuse a person from now on. What belongs to them is kept, given or deleted after the answer."""
    admin_only(request)
    query, name = Query(request), request.match_info["name"]
    tasks, to = query.one_of("tasks", WHAT_REMAINS), query.text("to", LONGEST_NAME)
    query.check()
    if tasks is None:
        raise InvalidQuery("tasks")
    if (tasks == "give") != (to is not None) or to == name:
        raise InvalidQuery("to")
    what: WhatRemains = "give" if tasks == "give" else "keep" if tasks == "keep" else "delete"
    leaving = Leaving(what, to, time.time())

    async def remove(tables: Statements) -> None:
        await _leave_an_admin(request, tables, name)
        await rows.leave(tables, name, leaving)

    await request.app[PEOPLE].change(remove)
    request[DONE] = [("person_removed", f"{name}: {what}{f' to {to}' if to else ''}")]
    return web.Response(status=HTTPStatus.NO_CONTENT)


async def adopt(request: web.Request) -> web.Response:
    """Give the person all that belongs to nobody. This is done after the answer."""
    admin_only(request)
    name = request.match_info["name"]
    await request.app[PEOPLE].change(lambda tables: rows.adopt(tables, name))
    return web.Response(status=HTTPStatus.NO_CONTENT)


async def list_tokens(request: web.Request) -> web.Response:
    admin_only(request)
    await _person(request)
    return await respond_tokens(request, request.match_info["name"])


async def add_token(request: web.Request) -> web.Response:
    admin_only(request)
    return await respond_new_token(request, request.match_info["name"])


async def revoke_token(request: web.Request) -> web.Response:
    admin_only(request)
    return await respond_revoked(request, request.match_info["name"])


async def respond_tokens(request: web.Request, name: str) -> web.Response:
    from server.people.people_schemas import Tokens

    tokens = await request.app[PEOPLE_ROWS].tokens(name)
    return respond_answer(Tokens(tokens=[shown_token(token) for token in tokens]))


async def respond_new_token(request: web.Request, name: str) -> web.Response:
    wanted = validated(AddTokenRequest, await read_object(request))
    token, now = fresh_token(), time.time()
    expires_at = now + wanted.expires_in if wanted.expires_in else None
    await request.app[PEOPLE].change(
        lambda tables: rows.add_token(tables, name, wanted.label, hash_of(token), now, expires_at)
    )
    request[DONE] = [("token_added", f"{name} {wanted.label}")]
    response = respond_answer(_new_token(token, wanted.label, now, expires_at), HTTPStatus.CREATED)
    response.headers["Cache-Control"] = "no-store"
    return response


async def respond_revoked(request: web.Request, name: str) -> web.Response:
    label = request.match_info["label"]
    await request.app[PEOPLE].change(lambda tables: rows.revoke_token(tables, name, label))
    request[DONE] = [("token_revoked", f"{name} {label}")]
    return web.Response(status=HTTPStatus.NO_CONTENT)


def _changed(name: str, wanted: PersonChange) -> list[tuple[str, str]]:
    """Return the events of the audit log for a change of a person."""
    done = [(ROLE_CHANGED, f"{name} {wanted.role}")] if wanted.role is not None else []
    if wanted.limits is not None and wanted.limits.model_fields_set:
        done.append(("limits_changed", name))
    if "password" in wanted.model_fields_set:
        done.append(("password_changed" if wanted.password else "password_removed", name))
    return done


async def _person(request: web.Request) -> Person:
    """Raises `PersonNotFound`."""
    name = request.match_info["name"]
    for person in await request.app[PEOPLE_ROWS].people():
        if person.name == name:
            return person
    raise PersonNotFound


async def _leave_an_admin(request: web.Request, tables: Statements, name: str) -> None:
    """Raise `LastAdmin` if without this person nobody could change people by these routes."""
    if request.app[GATE].has_tokens:
        return
    await rows.lock(tables)  # else two admins could end each other's role at once, on two nodes
    people = await rows.read_people(tables)
    if all(person.name != name for person in people):
        return  # the change itself says that there is nobody of this name
    if not any(person.role == "admin" and not person.leaving for person in people if person.name != name):
        raise LastAdmin


def shown(request: web.Request, person: Person) -> "PersonInfo":
    from server.people.people_schemas import PersonInfo

    return PersonInfo(
        name=person.name,
        role=person.role,
        added_at=instant_of(person.added_at),
        has_password=person.password is not None,
        limits=shown_limits(request, person.limits),
        own_limits={name: most for name, most in person.limits.items() if most is not None},
        is_leaving=True if person.leaving else None,
    )


def shown_limits(request: web.Request, own: Mapping[str, float | None]) -> "PersonLimits":
    from server.people.people_schemas import PersonLimits

    limits = Limits.of(request.app[SETTINGS].access, own)
    return PersonLimits(**{name: getattr(limits, name) for name in PersonLimits.model_fields})


def shown_token(token: PersonToken) -> "TokenInfo":
    from server.people.people_schemas import TokenInfo

    return TokenInfo(
        label=token.label,
        created_at=instant_of(token.created_at),
        expires_at=None if token.expires_at is None else instant_of(token.expires_at),
        used_at=None if token.used_at is None else instant_of(token.used_at),
    )


def _new_token(token: str, label: str, now: float, expires_at: float | None) -> "NewToken":
    from server.people.people_schemas import NewToken

    return NewToken(
        label=label,
        created_at=instant_of(now),
        expires_at=None if expires_at is None else instant_of(expires_at),
        token=token,
    )


_NAME: dict[str, Any] = {"type": "string", "pattern": f"^{NAME}$"}
_LABEL: dict[str, Any] = {"type": "string", "pattern": f"^{LABEL}$"}
PERSON = Parameter("name", "of the person", _NAME, place="path")
TOKEN_LABEL = Parameter("label", "of the token", _LABEL, place="path")
ROUTES = [
    get(
        "/api/people",
        list_people,
        Operation(
            "people",
            "People",
            "Who may use the service",
            {200: Reply("All people", {JSON: f"{_SCHEMAS}:People"})},
            "For admins, as all of `/api/people`.",
            errors=(AdminOnly,),
        ),
    ),
    post(
        "/api/people",
        add_person,
        Operation(
            "add_person",
            "People",
            "Add a person",
            {
                201: Reply(
                    "With the first token, which is shown this once",
                    {JSON: f"{_SCHEMAS}:PersonInfo"},
                    {"Location": "`/api/people/<name>`"},
                )
            },
            "Where no log-in is needed yet, the first person is added by the command line.",
            parameters=READER,
            body=AddPersonRequest,
            errors=(AdminOnly, PersonExists, *OF_CHANGES),
        ),
    ),
    get(
        "/api/people/{name}",
        get_person,
        Operation(
            "person",
            "People",
            "One person",
            {200: Reply("With role and limits", {JSON: f"{_SCHEMAS}:PersonInfo"})},
            parameters=(PERSON,),
            errors=(AdminOnly, PersonNotFound),
        ),
    ),
    patch(
        "/api/people/{name}",
        change_person,
        Operation(
            "change_person",
            "People",
            "Change a role or limits",
            {200: Reply("Changed", {JSON: f"{_SCHEMAS}:PersonInfo"})},
            parameters=(PERSON, *READER),
            body=PersonChange,
            errors=(AdminOnly, PersonNotFound, LastAdmin, *OF_CHANGES),
        ),
    ),
    delete(
        "/api/people/{name}",
        remove_person,
        Operation(
            "remove_person",
            "People",
            "Remove a person",
            {204: Reply("Refused from now on; what is theirs is kept, given or deleted after the answer")},
            parameters=(
                PERSON,
                Parameter(
                    "tasks",
                    "what becomes of what belongs to them: it is nobody's then, given to `to`, or deleted",
                    {"type": "string", "enum": list(WHAT_REMAINS)},
                    is_required=True,
                ),
                Parameter("to", "with `give`: who gets it", _NAME),
                *READER,
            ),
            errors=(AdminOnly, PersonNotFound, LastAdmin, InvalidQuery, *OF_CHANGES),
        ),
    ),
    post(
        "/api/people/{name}/adopt",
        adopt,
        Operation(
            "adopt",
            "People",
            "Give a person what belongs to nobody",
            {
                204: Reply(
                    "It is given after the answer: what is older than people, and what removed people left"
                )
            },
            parameters=(PERSON, *READER),
            errors=(AdminOnly, PersonNotFound, *OF_CHANGES),
        ),
    ),
    get(
        "/api/people/{name}/tokens",
        list_tokens,
        Operation(
            "tokens_of_person",
            "People",
            "The tokens of a person",
            {200: Reply("Without their secrets", {JSON: f"{_SCHEMAS}:Tokens"})},
            parameters=(PERSON,),
            errors=(AdminOnly, PersonNotFound),
        ),
    ),
    post(
        "/api/people/{name}/tokens",
        add_token,
        Operation(
            "add_token_of_person",
            "People",
            "Make a token for a person",
            {201: Reply("Shown this once", {JSON: f"{_SCHEMAS}:NewToken"})},
            parameters=(PERSON, *READER),
            body=AddTokenRequest,
            errors=(AdminOnly, PersonNotFound, LabelTaken, TooManyTokens, *OF_CHANGES),
        ),
    ),
    delete(
        "/api/people/{name}/tokens/{label}",
        revoke_token,
        Operation(
            "revoke_token_of_person",
            "People",
            "Revoke a token of a person",
            {204: Reply("It is refused from now on, and what is open in its name is closed")},
            parameters=(PERSON, TOKEN_LABEL, *READER),
            errors=(AdminOnly, PersonNotFound, PersonTokenNotFound, *OF_CHANGES),
        ),
    ),
]
