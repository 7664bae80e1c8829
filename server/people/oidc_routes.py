"""`/api/session/oidc`: to the OpenID provider and back. The browser itself follows these addresses, no script
does: so an error is not answered, but the browser is sent to the page with `log_in_error`.

Decisions: docs/decisions/people.md
"""

import logging
import re
import time
from http import HTTPStatus

from aiohttp import web

from server.api.keys import SETTINGS
from server.api.openapi.operation import Operation, Parameter, Reply
from server.api.route import Access, get
from server.api.security import DOORS
from server.api.session import begin_session
from server.core.errors import NotFound, TokenRequired
from server.core.principal import PersonRole, Principal
from server.people import people_rows as rows
from server.people.audit import PERSON_ADDED, ROLE_CHANGED
from server.people.oidc_client import LOG_IN_SECONDS, Identity, LogInRefused, OidcClient, Transaction
from server.people.people_routes import PEOPLE
from server.people.person import NEW_NAME
from server.storage.statements import Statements

log = logging.getLogger(__name__)

OIDC = web.AppKey("oidc", OidcClient)  # only where there is a provider
COOKIE = "clipwire_oidc"


async def to_provider(request: web.Request) -> web.Response:
    """Send the browser to the provider."""
    client, transaction = _client(request), Transaction.begin()
    try:
        place = await client.authorization_url(transaction, _callback(request))
    except LogInRefused as refused:
        return _refuse(request, refused)
    response = _to(place)
    _set_cookie(request, response, transaction.cookie(), LOG_IN_SECONDS)
    return response


async def from_provider(request: web.Request) -> web.Response:
    """Log in the person whom the provider names, and send the browser to the page."""
    client = _client(request)
    cookie = request.cookies.get(_cookie_name(request), "")
    try:
        identity = await client.identify(request.query, Transaction.read(cookie), _callback(request))
        principal = await _person_of(request, identity, client.registration.admin_group)
        response = _to(_page(request))
        await begin_session(request, response, principal)
    except LogInRefused as refused:
        response = _refuse(request, refused)
    except TokenRequired:  # the person was removed meanwhile
        response = _refuse(request, LogInRefused("unknown", "the person was removed"))
    _set_cookie(request, response, "", 0)  # the cookie is valid for one log-in only
    return response


async def _person_of(request: web.Request, identity: Identity, admin_group: str | None) -> Principal:
    """Return the person here: the one with this subject; else, at their first log-in, the one with this name.

    A name at the provider can be chosen, perhaps by anybody. So it leads only to somebody who has never
    logged in there, and to an admin only if the provider has them in its group of admins.
    """
    people = request.app[PEOPLE]
    role: PersonRole | None = None
    if admin_group is not None:
        role = "admin" if admin_group in identity.groups else "user"

    async def find_or_add(tables: Statements) -> tuple[str, list[tuple[str, str]]] | LogInRefused:
        """Return the name of the person with this identity, who is added if there is none, and the events of
        the audit log.
        """
        # Without the lock two nodes could bind one person here to two people of that name at the provider.
        await rows.lock(tables)
        known = [one for one in await rows.read_people(tables) if one.subject == identity.subject]
        name, done = known[0].name if known else identity.name, list[tuple[str, str]]()
        if not known:
            if refused := await _name_refused(tables, identity, role, creates=people.creates_people):
                return refused
            if not await rows.is_taken(tables, name):
                await rows.add_person(tables, name, role or "user", time.time())
                done.append((PERSON_ADDED, f"{name} {role or 'user'}"))
            await rows.set_subject(tables, name, identity.subject)
        if role is not None and (await rows.find_person(tables, name)).role != role:
            await rows.set_role(tables, name, role)
            done.append((ROLE_CHANGED, f"{name} {role}"))
        return name, done

    person = people.of_subject(identity.subject)
    if person is not None and role in (None, person.role):  # usually a log-in changes nothing
        return people.principal_at_provider(person.name)
    found = await people.change(find_or_add)
    if isinstance(found, LogInRefused):
        raise found
    name, done = found
    if people.audit:
        await people.audit.record_of(request, done, name)
    return people.principal_at_provider(name)


async def _name_refused(
    tables: Statements, identity: Identity, role: PersonRole | None, *, creates: bool
) -> LogInRefused | None:
    """Say why nobody may log in by this name; None if a person with it may, or a new one is added."""
    name = identity.name
    if not re.fullmatch(NEW_NAME, name):
        return LogInRefused("no_name", f"the provider calls {identity.subject} {name!r}: no name here")
    person = next((one for one in await rows.read_people(tables) if one.name == name), None)
    if person is None:
        return None if creates else LogInRefused("unknown", f"{name} is nobody here")
    if person.leaving or person.subject is not None:
        return LogInRefused("unknown", f"{name} is being removed, or another one at the provider")
    if person.role == "admin" and role != "admin":
        return LogInRefused("unknown", f"{name} is an admin here, but not in access.oidc.admin_group")
    return None


async def way_out(request: web.Request) -> str | None:
    """Return the address at which somebody who logged in at the provider logs out there; None if it is
    unknown.
    """
    try:
        return await request.app[OIDC].way_out(f"{request.app[DOORS].origin(request)}{_page(request)}")
    except LogInRefused as refused:
        log.warning("a log-out at the provider is not possible: %s", refused)
        return None


def _refuse(request: web.Request, refused: LogInRefused) -> web.Response:
    log.warning("a log-in at the provider was refused: %s", refused)
    return _to(f"{_page(request)}?log_in_error={refused.reason}")


def _client(request: web.Request) -> OidcClient:
    """Return the client of the OpenID provider. Raises `NotFound` if there is no provider."""
    if OIDC not in request.app:
        raise NotFound("/api/docs")
    return request.app[OIDC]


def _page(request: web.Request) -> str:
    return f"{request.app[SETTINGS].server.base_path}/"


def _callback(request: web.Request) -> str:
    base_path = request.app[SETTINGS].server.base_path
    return f"{request.app[DOORS].origin(request)}{base_path}/api/session/oidc/callback"


def _to(place: str) -> web.Response:
    return web.Response(status=HTTPStatus.FOUND, headers={"Location": place, "Cache-Control": "no-store"})


def _cookie_name(request: web.Request) -> str:
    return f"__Host-{COOKIE}" if request.app[DOORS].is_https(request) else COOKIE


def _set_cookie(request: web.Request, response: web.Response, value: str, seconds: int) -> None:
    """`SameSite=Lax`: with `Strict`, the cookie would be missing when the provider sends the browser back."""
    secure = "; Secure" if request.app[DOORS].is_https(request) else ""
    response.headers.add(
        "Set-Cookie",
        f"{_cookie_name(request)}={value}; Path=/; HttpOnly; SameSite=Lax; Max-Age={seconds}{secure}",
    )


ROUTES = [
    get(
        "/api/session/oidc",
        to_provider,
        Operation(
            "log_in_at_provider",
            "Service",
            "Log in at the OpenID provider",
            {
                302: Reply(
                    "To the provider", headers={"Location": "its page", "Set-Cookie": "for the way back"}
                )
            },
            "For browsers. 404 where there is no provider.",
            errors=(NotFound,),
        ),
        access=Access.LOG_IN,
    ),
    get(
        "/api/session/oidc/callback",
        from_provider,
        Operation(
            "come_back_from_provider",
            "Service",
            "Where the provider sends the browser",
            {302: Reply("To the page, perhaps with `log_in_error`", headers={"Location": "the page"})},
            "`log_in_error` is `refused`, `expired`, `unknown`, `no_name` or `away`.",
            parameters=(
                Parameter("code", "of the provider"),
                Parameter("state", "as it was sent there"),
                Parameter("iss", "which provider it is"),
                Parameter("error", "of the provider"),
            ),
            errors=(NotFound,),
        ),
        access=Access.LOG_IN,
    ),
]
