"""People as a feature."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING, Any

from server.api.session import DIRECTORY, WAY_OUT
from server.core.background import in_background
from server.feature import Added, Feature, Kernel
from server.people import audit_routes, me_routes, oidc_routes, people_routes
from server.people.audit import AUDIT, Audit, audited
from server.people.audit_rows import AuditRows
from server.people.bell import listening
from server.people.belongings import Belongings
from server.people.cookies_of_people import CookiesOfPeople
from server.people.directory import PeopleDirectory
from server.people.oidc_client import OidcClient, Registration
from server.people.people_rows import PeopleRows
from server.people.usage import Usage, hooks
from server.tasks.janitor import CHECK_EXPIRED_EVERY, for_ever

if TYPE_CHECKING:
    from aiohttp import web


@asynccontextmanager
async def _open(kernel: Kernel) -> AsyncIterator[Added]:
    rows = PeopleRows(kernel.store.transactions)
    access, signals = kernel.settings.access, kernel.store.transactions.signals
    audit_rows = AuditRows(kernel.store.transactions)
    audit = Audit(audit_rows, lambda: directory.is_needed)
    directory = PeopleDirectory(
        rows, signals, access, audit, is_alone=kernel.is_alone, sessions=kernel.store.sessions
    )
    directory.take(await rows.admitted())
    usage = Usage(kernel.store.transactions, access, lambda: directory.people)
    kernel.tasks.refuses.append(usage.refusal)
    kernel.hooks.before_attempt.append(usage.hold)

    def share() -> None:
        kernel.shares.change(usage.shares(), take_turns=bool(directory.people))

    directory.changed.append(share)
    share()

    async def remove_expired() -> None:
        await usage.remove_expired(kernel.store, kernel.tasks, kernel.clock.now())

    belongings = Belongings(
        directory, kernel.store.transactions, kernel.tasks, kernel.store.sessions, kernel.hooks
    )
    cookies = CookiesOfPeople(kernel.cookies, kernel.settings.downloads.cookies.values())
    kernel.hooks.move_things.append(cookies.move)
    kernel.hooks.delete_things.append(cookies.delete)
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(in_background(audit.run(), "audit log"))
        await stack.enter_async_context(in_background(directory.follow(), "people"))
        await stack.enter_async_context(in_background(belongings.run(), "belongings"))
        await stack.enter_async_context(
            in_background(for_ever(remove_expired, CHECK_EXPIRED_EVERY), "retention of people")
        )
        if kernel.is_alone:
            await stack.enter_async_context(listening(kernel.settings.storage.data_dir, directory.compare))
        values: dict[web.AppKey[Any], object] = {
            DIRECTORY: directory,
            people_routes.PEOPLE: directory,
            people_routes.PEOPLE_ROWS: rows,
            AUDIT: audit,
            me_routes.USAGE: usage,
            audit_routes.AUDIT_ROWS: audit_rows,
        }
        if registration := Registration.of(access.oidc):
            client = OidcClient(registration)
            stack.push_async_callback(client.close)
            values |= {oidc_routes.OIDC: client, WAY_OUT: oidc_routes.way_out}
        yield Added(values)


PEOPLE = Feature(
    "people",
    _open,
    [*me_routes.ROUTES, *people_routes.ROUTES, *oidc_routes.ROUTES, *audit_routes.ROUTES],
    store_hooks=lambda settings: hooks(settings.access),
    wraps=audited,
)
