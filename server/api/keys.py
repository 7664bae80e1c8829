"""The typed keys of the application's objects for handlers, and of values stored in a request."""

from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from typing import TypeVar

from aiohttp import web

from server.api.metric_families import Family
from server.api.payload import Encoder
from server.api.spool import Spool
from server.core.clock import Clock
from server.core.counts import Counts
from server.core.errors import AdminOnly
from server.core.hooks import Hooks
from server.core.library import Library
from server.core.ports import Cookies, FileStore, Workplace
from server.core.principal import EVERYBODY, Principal, scope_of_person
from server.core.task import TaskStatus
from server.settings import Settings
from server.tasks.hub import Hub
from server.tasks.inspector import Inspector
from server.tasks.readiness import Ready
from server.tasks.service import Tasks

V = TypeVar("V")

SETTINGS = web.AppKey("settings", Settings)
LANGUAGE = web.AppKey("language", str)  # the language of responses to requests that name none
TASKS = web.AppKey("tasks", Tasks)
HUB = web.AppKey("hub", Hub)
FILES: web.AppKey[FileStore] = web.AppKey("files")
WORKPLACE: web.AppKey[Workplace] = web.AppKey("workplace")
COOKIES: web.AppKey[Cookies] = web.AppKey("cookies")
INSPECTOR = web.AppKey("inspector", Inspector)
# Call it when a task is likely to be submitted soon: it prepares the fork server.
WAKE: web.AppKey[Callable[[], None]] = web.AppKey("wake")
READINESS: web.AppKey[Ready] = web.AppKey("readiness")
CLOCK = web.AppKey("clock", Clock)
COUNTS = web.AppKey("counts", Counts)
SPOOL = web.AppKey("spool", Spool)
ENCODER = web.AppKey("encoder", Encoder)

# Features set these keys. `LEAVE_LIBRARY` deletes from the library all that a task has placed there; it is
# set only if there is a library.
HOOKS = web.AppKey("hooks", Hooks)
FIELDS: web.AppKey[frozenset[str]] = web.AppKey("fields")  # fields of requests that features add
METRICS: web.AppKey[Sequence[Family]] = web.AppKey("metrics")  # metrics that features add
SEES: web.AppKey[Sequence[Callable[[], Awaitable[Mapping[str, float]]]]] = web.AppKey("sees")
# `PLACE_IN_LIBRARY` places the files of a task for one more client.
PLACE_IN_LIBRARY: web.AppKey[Callable[[str, Library], Awaitable[TaskStatus]]] = web.AppKey("place_in_library")
LEAVE_LIBRARY: web.AppKey[Callable[[str], Awaitable[None]]] = web.AppKey("leave_library")

SCOPE = web.RequestKey("scope", str)  # names the request's token or person; only if a log-in is needed
# For the audit log, if the path does not say what a request has done: pairs of an event and its object.
DONE: web.RequestKey[Collection[tuple[str, str]]] = web.RequestKey("done")
ACTS_FOR = web.RequestKey("acts for", str)  # the person in whose name an admin makes the request
# Set only if a person sends the request; read it by `principal_of`
PRINCIPAL = web.RequestKey("principal", Principal)


def carried(request: web.Request, key: web.RequestKey[V], default: V) -> V:
    """Return the value under `key` that the request carries; else `default`.

    Most requests carry no values at all, and aiohttp's search for a missing one takes a fortieth of the time
    of a poll.
    """
    return request.get(key, default) if len(request) else default


def principal_of(request: web.Request) -> Principal:
    """Return who sent the request: a person, else the holder of a token in `server.tokens`, or without any
    log-in everybody; the latter two may do everything.
    """
    return carried(request, PRINCIPAL, EVERYBODY)


def owner_of(request: web.Request) -> str | None:
    """Return the person who will own what this request makes, None for nobody. An admin may name another
    person.
    """
    return carried(request, ACTS_FOR, "") or principal_of(request).name


def scope_of(request: web.Request) -> str:
    """Return whose idempotency keys and shared tasks the request uses."""
    acts_for = carried(request, ACTS_FOR, "")
    return scope_of_person(acts_for) if acts_for else carried(request, SCOPE, "")


def person_of(request: web.Request) -> str | None:
    """Return the person whose things this request names, if lists are separate; else, and for things that
    belong to nobody, None.
    """
    return owner_of(request) if request.app[SETTINGS].access.separate_lists else None


def restricted_to(request: web.Request) -> str | None:
    """Return the person whose things alone the client may see: a user, if lists are separate. None: the
    client sees everything.
    """
    principal = principal_of(request)
    if principal.is_admin or not request.app[SETTINGS].access.separate_lists:
        return None
    return principal.name


def tasks_of(request: web.Request) -> Tasks:
    """Return the tasks that the client may see: all that handlers read or change goes through this."""
    return request.app[TASKS].of(restricted_to(request))


def admins_alone(request: web.Request) -> None:
    """Let only admins do what concerns everybody. Raises `AdminOnly` for users, if lists are separate."""
    if restricted_to(request) is not None:
        raise AdminOnly
