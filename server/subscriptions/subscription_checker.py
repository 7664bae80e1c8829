"""Checks subscriptions when they are due: a child reads the source, and one transaction stores the outcome.

Where there is no subscription, nothing here ever runs. Whoever makes the first one, on whichever node, wakes
it; from then on it sleeps until something is due. A check whose process dies is due again when its lease
ends; should the process have been alive after all, its outcome is dropped.

Decisions: docs/decisions/library.md
"""

import asyncio
import json
import logging
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

from server.core.clock import Clock
from server.core.errors import AppError, StoreUnavailable, TaskNotFound
from server.core.events import Broken, Learned, Renewed, Requeued
from server.core.jobs import CheckWishes, EntryFilters, name_of_key
from server.core.ports import Cookies, Workplace
from server.core.task import Stage, Task, TaskStatus
from server.settings import DownloadSettings, SubscriptionsSettings
from server.subscriptions.check_rows import CheckRows
from server.subscriptions.item_rows import ItemRows
from server.subscriptions.source import MOST_PICTURES, SourcePicture, need_not_be_fetched
from server.subscriptions.subscription import (
    DAY,
    HOST_HELD,
    HOST_PAUSED,
    HOST_REFUSALS,
    CheckResult,
    Claim,
    Filters,
    FoundEntry,
    LastOnes,
    Pace,
    SinceDay,
    StoredItem,
    day_in_seconds,
)
from server.subscriptions.subscription_rules import MOVES_AFTER
from server.subscriptions.task_of_item import request_of
from server.tasks import faults, leases
from server.tasks.children import Child, child_in_scratch
from server.tasks.fork_servers import ForkServers
from server.tasks.job_builder import CookieChoice, JobCookies, JobMaker
from server.tasks.leases import LeasedWork, leased, until_released
from server.tasks.next_attempt import NEXT_ATTEMPT, hint_of
from server.tasks.service import Tasks

log = logging.getLogger(__name__)

CHECK_DEADLINE = 120.0  # seconds
WHOLE_CHECK_DEADLINE = 900.0  # seconds, for a check that reads all of a list
STOP_READING_BEFORE_DEADLINE = 30.0  # seconds before its deadline at which a child stops reading
WHOLE_EVERY = 6 * 3600.0  # seconds between two checks that read all of a list in no known order
WHOLE_CHANNEL_EVERY = 7 * DAY  # seconds between two that read all of a list whose newest entries come first
ASK_WHAT_IS_DUE_EVERY = 30.0  # seconds, at most
RETRY_WHILE_HOST_BUSY = 1.0  # seconds, while the host of a due check is being checked
MOST_NOTICED = 100_000


@dataclass(frozen=True, slots=True)
class CheckFailure:
    code: str
    hint: str | None = None
    retry_after: float | None = None


class SubscriptionChecker:
    """`run` it for as long as the server runs."""

    def __init__(
        self,
        checks: CheckRows,
        items: ItemRows,
        tasks: Tasks,
        fork_server: ForkServers,
        workplace: Workplace,
        jobs: JobMaker,
        cookies: Cookies,
        downloads: DownloadSettings,
        settings: SubscriptionsSettings,
        clock: Clock,
    ) -> None:
        self._rows = checks
        self._items = items
        self._tasks = tasks
        self._fork_server = fork_server
        self._workplace = workplace
        self._jobs = jobs
        self._cookies = CookieChoice(cookies, downloads.cookies)
        self._pace = Pace(settings.interval, settings.min_interval, settings.pause, settings.max_new)
        self._clock = clock
        self._checks = LeasedWork("checks", settings.max_concurrent)
        # Tasks other than checks: reactions to refusals.
        self._refusals_under_way: set[asyncio.Task[None]] = set()

    async def run(self, *, alone: bool) -> None:
        """Check until cancelled; `alone`: no other server checks."""
        self._rows.listen(self._checks.called.set)
        try:
            if alone:
                await until_released(self._release)
            await self._checks.run(self._begin, ASK_WHAT_IS_DUE_EVERY)
        finally:
            for task in self._refusals_under_way:
                task.cancel()
            if self._refusals_under_way:
                await asyncio.wait(self._refusals_under_way)

    async def _release(self) -> None:
        """End all leases of checks. Without a subscription there are none, and nothing is written."""
        if await self._rows.due_in(self._now) is not None:
            await self._rows.release_all()

    @property
    def _now(self) -> float:
        return self._clock.now().timestamp()

    async def _begin(self) -> float | None:
        """Begin due checks; return the seconds until one may be due, None if there is no subscription."""
        wait = await self._rows.due_in(self._now)
        if wait is None or wait > 0:
            return wait
        for task_id in await self._items.expire(self._now):
            try:
                await self._tasks.delete(task_id)
            except TaskNotFound:
                pass
            except AppError as error:  # a removal that fails stops no check
                log.warning("%s, which is not kept, cannot be removed yet: %s", task_id, error.code)
        for claim in await self._rows.claim(self._checks.room, leases.LEASE, self._now):
            self._checks.begin(self._check(claim), f"check of {claim.subscription.subscription_id}")
        if not self._checks.room:
            return ASK_WHAT_IS_DUE_EVERY
        wait = await self._rows.due_in(self._now)
        return None if wait is None else max(wait, RETRY_WHILE_HOST_BUSY)

    async def _check(self, claim: Claim) -> None:
        """Check, and store the outcome; if that cannot be stored, the check is repeated after its lease."""
        subscription_id = claim.subscription.subscription_id
        checking = asyncio.current_task()

        async def renew() -> bool:
            is_ours = await self._rows.renew(claim, leases.LEASE, self._now)
            if not is_ours and checking:
                # The outcome would be dropped, since the lease was lost; a first check may last a quarter of
                # an hour.
                checking.cancel()
            return is_ours

        try:
            async with leased(renew, subscription_id):
                results = await self._run_child(claim)
        except _Failed as failed:
            failure = failed.failure
            log.info("a check of %s failed: %s", subscription_id, failure.code)
            with suppress(StoreUnavailable):
                until = await self._rows.fail(
                    claim, failure.code, failure.hint, failure.retry_after, self._pace, self._now
                )
                if until is not None:
                    await self.hold_tasks(_host(claim.subscription.url), until)
            return
        try:
            settled = await self._rows.settle(
                claim, results.noticed, results.result, self._pace, self._now, results.pictures
            )
        except StoreUnavailable as exc:
            log.warning(
                "a check of %s cannot be stored, and is repeated: %s", subscription_id, exc.__cause__ or exc
            )
            return
        if settled.is_late:
            log.info("a check of %s ended too late: there was another", subscription_id)
            return
        if found := sum(not entry.known for entry in results.noticed):
            log.info("a check of %s found %d entries", subscription_id, found)
        for task in settled.tasks:
            self._tasks.take_on(task)
        if settled.held_until is not None:
            with suppress(StoreUnavailable):
                await self.hold_tasks(_host(claim.subscription.url), settled.held_until)
        for item in settled.retry:
            with suppress(AppError):  # it is tried again an hour later
                await self._tasks.retry(item.task_id or "", item.about["url"], item.about.get("item"))

    async def hold_tasks(self, host: str, until: float) -> None:
        """Have queued tasks of subscriptions wait that would go to `host`, also for their next attempts."""
        log.warning("subscriptions leave %s alone until %s", host, datetime.fromtimestamp(until, UTC))
        for task_id in await self._items.queued_tasks():
            with suppress(AppError):
                status = await self._tasks.status(task_id)
                is_queued = status.host == host and status.stage is Stage.QUEUED
                if is_queued and status.waiting in (None, NEXT_ATTEMPT, HOST_PAUSED):
                    at = until
                    if status.waiting == NEXT_ATTEMPT and status.not_before is not None:
                        at = max(until, status.not_before.timestamp())
                    await self._tasks.put_off(task_id, HOST_HELD, at - self._now)

    async def before_attempt(self, task: Task) -> Requeued | None:
        """If the host of a subscription's task is left alone, have the task wait. The queue may begin a task
        before `hold_tasks` has found it.
        """
        status = task.status
        if status.subscription_id is None or status.start_asked:
            return None
        until = (await self._rows.held_hosts([status.host], self._now)).get(status.host)
        return None if until is None else Requeued(because=HOST_HELD, after=until - self._now)

    def attempt_failed(self, status: TaskStatus, broken: Broken) -> None:
        """Leave the host of a subscription's task alone if the task failed because the host refuses."""
        if broken.code not in HOST_REFUSALS or not status.subscription_id:
            return
        work = self._refused(status.host, broken.retry_after)
        task = asyncio.create_task(work, name=f"refusal of {status.task_id}")
        self._refusals_under_way.add(task)
        task.add_done_callback(self._refusals_under_way.discard)

    async def _refused(self, host: str, retry_after: float | None) -> None:
        with suppress(StoreUnavailable):
            await self.hold_tasks(host, await self._rows.hold(host, retry_after, self._now))

    async def _run_child(self, claim: Claim) -> "_ChildResults":
        """Have a child read the source, and return what it reports. Raises `_Failed`. A cancel ends the
        child.
        """
        subscription = claim.subscription
        try:
            request = request_of(subscription.wanted, subscription.url)
        except ValueError:  # a newer release has stored a setting that this one does not know
            raise _Failed(CheckFailure("internal")) from None
        whole = _is_whole(claim, self._now)
        job_cookies = await self._cookies.made_for(subscription.url, request.cookies, subscription.owner)
        if job_cookies.are_missing:
            raise _Failed(CheckFailure("cookies_missing"))
        folder = self._workplace.scratch / f"check.{uuid4()}"
        within = WHOLE_CHECK_DEADLINE if whole else CHECK_DEADLINE
        check = self._wishes(claim, whole=whole, within=within - STOP_READING_BEFORE_DEADLINE)
        job = self._jobs.job("check", request, folder / "work", folder / "lock", job_cookies.text)
        job = replace(job, check=check)

        async def work(_: bool) -> _ChildResults | Broken:
            async with child_in_scratch(self._fork_server.start, job, folder) as child:
                return await self._read_results(child, subscription.url, job_cookies)

        try:
            async with asyncio.timeout(within):
                await self._fork_server.warm()
                results = await self._fork_server.run(folder.name, work)
        except TimeoutError:
            raise _Failed(CheckFailure("timeout")) from None
        except ValueError as exc:  # a hostile source may have taken over the child
            log.error("a check said what cannot be read: %s", type(exc).__name__)
            raise _Failed(CheckFailure("internal")) from None
        except OSError as exc:
            log.error("a check could not begin: %s", exc)
            raise _Failed(CheckFailure("disk_full")) from None
        if isinstance(results, Broken):
            if results.code == "internal":
                faults.log_fault("a check of a subscription", results.fault)
            raise _Failed(CheckFailure(results.code, hint_of(results, job_cookies.name), results.retry_after))
        return results

    def _wishes(self, claim: Claim, *, whole: bool, within: float) -> CheckWishes:
        subscription = claim.subscription
        findings = subscription.findings
        seeds, backlog = not findings.seeded, subscription.wanted.backlog
        asks = 0 if backlog == "none" else None
        # Later checks that read on in the list need not report these entries: the first check did.
        if isinstance(backlog, LastOnes):
            asks = backlog.last if seeds else 0
        is_old = seeds or findings.cut
        return CheckWishes(
            source_key=subscription.key_origin,
            known=tuple(map(name_of_key, claim.known)),
            since_cut=tuple(map(name_of_key, claim.since_cut)),
            again=tuple(map(_to_read_again, claim.again)),
            whole=whole,
            form=findings.form,
            # A source that says that it has moved is read whole, to hear whether it still does.
            etag=findings.etag if findings.moved_to is None else None,
            modified=findings.modified if findings.moved_to is None else None,
            digest=findings.digest if findings.moved_to is None else None,
            confirm=findings.moved_to if findings.moved_checks >= MOVES_AFTER - 1 else None,
            max_entry_pages=max(0, self._pace.max_new - len(claim.again)),
            days=seeds and isinstance(backlog, SinceDay),
            asks=asks if is_old else None,
            asks_since=day_in_seconds(backlog.since) if is_old and isinstance(backlog, SinceDay) else None,
            filters=entry_filters_of(subscription.wanted.filters),
            now=self._now,
            within=within,
            addresses=dict[str, str](findings.facts.pictures.items()),
            has_pictures=need_not_be_fetched(findings.pictures, self._now),
        )

    async def _read_results(
        self, child: Child, url: str, job_cookies: JobCookies
    ) -> "_ChildResults | Broken":
        noticed: list[FoundEntry] = []
        pictures: list[SourcePicture] = []
        while True:
            line = await child.read_line()
            match json.loads(line or b'{"kind":"broken","code":"worker_lost"}'):
                case {"kind": "found_entries", "entries": list() as entries}:
                    noticed += [FoundEntry.model_validate_json(json.dumps(entry)) for entry in entries]
                    await asyncio.sleep(0)
                    if len(noticed) > MOST_NOTICED:
                        raise _Failed(CheckFailure("internal"))
                case {"kind": "renewed"} as message:
                    await job_cookies.renew(Renewed.model_validate(message).cookies)
                case {"kind": "learned"} as message:
                    self._jobs.players.learn(url, Learned.model_validate(message))
                case {"kind": "source_picture"} as message:
                    pictures.append(SourcePicture.model_validate(message))
                    if len(pictures) > MOST_PICTURES:
                        raise _Failed(CheckFailure("internal"))
                case {"kind": "checked"} as message:
                    return _ChildResults(noticed, CheckResult.model_validate(message), pictures)
                case {"kind": "broken"} as message:
                    return Broken.model_validate(message)


@dataclass(frozen=True, slots=True)
class _ChildResults:
    noticed: list[FoundEntry]
    result: CheckResult
    pictures: list[SourcePicture]


class _Failed(Exception):
    def __init__(self, failure: CheckFailure) -> None:
        super().__init__(failure.code)
        self.failure = failure


def entry_filters_of(filters: Filters) -> EntryFilters:
    return EntryFilters(
        title=filters.title,
        not_title=filters.not_title,
        min_duration=filters.min_duration,
        max_duration=filters.max_duration,
        since=None if filters.since is None else day_in_seconds(filters.since),
        until=None if filters.until is None else day_in_seconds(filters.until) + DAY,
        kinds=filters.kinds,
        members=filters.members,
        min_age=filters.min_age,
    )


def _to_read_again(item: StoredItem) -> tuple[str, str, int | None, dict[str, Any]]:
    """See `CheckWishes.again`."""
    about = item.about
    known = {name: about[name] for name in ("title", "duration") if name in about}
    if item.published_at is not None:
        known["published_at"] = item.published_at
    if about.get("kind") == "short":  # only its page says whether an entry is a broadcast
        known["kind"] = "short"
    return item.key, about["url"], about.get("item"), known


def _is_whole(claim: Claim, now: float) -> bool:
    """Say whether all of the list is to be read: at the first check, and regularly. Where the newest entries
    come first, an old one may have been published again; elsewhere new entries may be at any place.
    """
    findings = claim.subscription.findings
    if not findings.seeded or findings.whole_at is None:
        return True
    every = WHOLE_CHANNEL_EVERY if findings.newest_first else WHOLE_EVERY
    return not 0 <= now - findings.whole_at < every


def _host(url: str) -> str:
    return (urlsplit(url).hostname or "").lower()
