"""What a feature is: what it adds to the kernel, and what it gets from there.

The kernel consists of the layers below this module: it accepts links, makes files, reports on both, and knows
no feature. `server.assembly.features` has the list of all features; a server runs with any of them, or none.

Decisions: docs/decisions/features.md
"""

from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import Any, Protocol

from aiohttp import web

from server.api.metric_families import Family
from server.api.route import Route
from server.core.clock import Clock
from server.core.hooks import Hooks
from server.core.ports import Cookies, FileStore, Sessions, Store, Workplace
from server.core.shares import Shares
from server.settings import Settings
from server.storage.statements import StoreHooks, Transactions
from server.tasks.disk_space import Disk
from server.tasks.fork_servers import ForkServers
from server.tasks.job_builder import JobMaker
from server.tasks.readiness import Check
from server.tasks.service import Tasks


class Database(Store, Protocol):
    """A store with all that is in the database."""

    @property
    def sessions(self) -> Sessions: ...

    @property
    def transactions(self) -> Transactions: ...


@dataclass(frozen=True, slots=True)
class Kernel:
    """The parts of a running server. `is_alone`: no other server uses its database. `runs_tasks` is False on
    a node that only answers clients.
    """

    settings: Settings
    store: Database
    tasks: Tasks
    files: FileStore
    workplace: Workplace
    fork_server: ForkServers
    jobs: JobMaker
    cookies: Cookies
    clock: Clock
    disk: Disk
    hooks: Hooks
    shares: Shares
    is_alone: bool
    runs_tasks: bool


@dataclass(frozen=True, slots=True)
class Added:
    """What a feature adds while it is open: `values` for its routes, `checks` of `/readyz`, its `metrics`
    with the present values that it `sees` (`Scrape.seen`), and `close`, which is called at shutdown: from
    then on it begins no work.
    """

    values: Mapping[web.AppKey[Any], object] = field(default_factory=dict)
    checks: Sequence[Callable[[], Awaitable[Check]]] = ()
    metrics: Sequence[Family] = ()
    sees: Sequence[Callable[[], Awaitable[Mapping[str, float]]]] = ()
    close: Callable[[], None] | None = None


@dataclass(frozen=True, slots=True)
class Feature:
    """`open` makes its parts, and keeps its work in the background running for as long as the block lasts.
    `store_hooks` are what it does within the transactions of tasks; `fields` are those of `ProcessRequest`
    that it takes: without it a request with one of them is refused. `wraps` gets each route of the server,
    and returns it, perhaps with something around its handler.
    """

    name: str
    open: Callable[[Kernel], AbstractAsyncContextManager[Added]]
    routes: Sequence[Route] = ()
    store_hooks: Callable[[Settings], StoreHooks] | None = None
    fields: Callable[[Settings], Collection[str]] | None = None
    wraps: Callable[[Route], Route] | None = None
