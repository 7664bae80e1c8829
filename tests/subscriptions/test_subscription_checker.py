"""A check survives whatever its child says, and whatever a store or a worker refuses."""

import asyncio
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from server.core.background import in_background
from server.core.clock import Clock
from server.core.errors import StorageFailed, WorkerSilent
from server.core.task import Task, TaskStatus
from server.settings import DownloadSettings, SubscriptionsSettings
from server.subscriptions.subscription import Claim, Findings, StoredSubscription, SubscriptionSettings
from server.subscriptions.subscription_checker import SubscriptionChecker
from server.tasks import leases
from server.tasks.crash_comparison import JobOutcome
from server.tasks.fork_servers import ForkServers
from server.tasks.job_builder import JobMaker
from server.tasks.programs_found import Tools

URL = "https://a.test/feed"
CLAIM = Claim(
    StoredSubscription("s", 1, 1, URL, URL, "", "", SubscriptionSettings(), Findings(), 0.0, None, 1, 0.0)
)


class Saying:
    """A fork server with one child, which sends `line`."""

    def __init__(self, line: bytes) -> None:
        self.line = line
        self.started = 0
        self.under_way: set[str] = set()

    async def warm(self) -> None:
        pass

    async def start(self, name: str, *_: Any) -> "Saying":
        self.started += 1
        self.under_way.add(name)
        return self

    async def read_line(self) -> bytes:
        return self.line

    async def stop(self) -> None:
        pass

    def ended(self, name: str, _: JobOutcome | None) -> bool:
        self.under_way.discard(name)
        return False

    run = ForkServers.run


class Rows:
    """The rows of checks: the first claim gets everything that is `due`."""

    def __init__(self, *due: Claim) -> None:
        self.due = list(due)
        self.failures: list[str] = []
        self.claims = 0

    def listen(self, called: Callable[[], None]) -> None:
        pass

    async def fail(self, claim: Claim, code: str, *_: Any) -> None:
        self.failures.append(code)

    async def due_in(self, now: float) -> float:
        return 0.0

    async def renew(self, *_: Any) -> bool:
        return False

    async def expire(self, now: float) -> list[str]:
        return ["a", "b", "c"]

    async def claim(self, *_: Any) -> list[Claim]:
        self.claims += 1
        due, self.due = self.due, []
        return due


class Deleting:
    """Deletes tasks; each deletion but the last is refused with another error."""

    def __init__(self) -> None:
        self.deleted: list[str] = []

    async def delete(self, task_id: str) -> None:
        for stuck, error in (("a", StorageFailed), ("b", WorkerSilent)):
            if task_id == stuck:
                raise error
        self.deleted.append(task_id)


async def checks(
    rows: Rows, scratch: Path, until: Callable[[], bool], child: Saying | None = None, tasks: Any = None
) -> None:
    """Run the checker until `until` is true."""
    checker = new_checker(rows, scratch, child, tasks or Deleting())
    async with in_background(checker.run(alone=False), "checks"):
        while not until():
            await asyncio.sleep(0.01)


def new_checker(
    rows: object, scratch: Path, child: Saying | None, tasks: object, clock: object = None
) -> SubscriptionChecker:
    return SubscriptionChecker(
        rows,  # type: ignore[arg-type]
        rows,  # type: ignore[arg-type]
        tasks,  # type: ignore[arg-type]
        child,  # type: ignore[arg-type]
        SimpleNamespace(scratch=scratch),
        JobMaker(DownloadSettings(), Tools(ffmpeg=None, deno=None)),
        None,  # type: ignore[arg-type]
        DownloadSettings(),
        SubscriptionsSettings(),
        clock or Clock(),  # type: ignore[arg-type]
    )


@pytest.mark.parametrize(
    "line",
    [
        b"no JSON\n",
        b'{"kind": "found_entries", "entries": [{"url": "ftp://a.test/"}]}\n',
        b'{"kind": "found_entries", "entries": [{"url": "https://a.test/", "guid": "\\ud800"}]}\n',
        b'{"kind": "checked", "form": "neither"}\n',
    ],
)
async def test_what_cannot_be_read_is_a_failure_and_not_asked_for_again_at_once(
    tmp_path: Path, line: bytes
) -> None:
    rows, saying = Rows(CLAIM), Saying(line)
    await checks(rows, tmp_path, lambda: bool(rows.failures), saying)
    assert rows.failures == ["internal"]
    assert not saying.under_way  # a check under way would hold the release that it runs on


async def test_a_check_of_a_subscription_that_is_gone_ends_and_makes_room(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Silent(Saying):
        async def read_line(self) -> bytes:
            await asyncio.Event().wait()
            return b""

    monkeypatch.setattr(leases, "RENEWED_EVERY", 0.01)
    rows, silent = Rows(CLAIM), Silent(b"")
    await checks(rows, tmp_path, lambda: silent.started > 0 and not silent.under_way, silent)
    assert rows.failures == []


async def test_what_cannot_be_removed_keeps_nobody_from_checking(tmp_path: Path) -> None:
    rows, tasks = Rows(), Deleting()
    await checks(rows, tmp_path, lambda: rows.claims > 0, tasks=tasks)
    assert tasks.deleted[:1] == ["c"]


@pytest.mark.parametrize(("held", "waits"), [(5.0, 60.0), (7200.0, 7200.0)])
async def test_a_refused_task_waits_for_the_end_of_the_hold_and_never_less_than_for_its_next_attempt(
    tmp_path: Path, held: float, waits: float
) -> None:
    now = Clock().now()
    refused = TaskStatus(
        task_id="t",
        url=URL,
        created_at=now,
        waiting="next_attempt",
        not_before=now + timedelta(seconds=60),
    )
    put_off: list[float] = []

    class Queued:
        async def queued_tasks(self) -> list[str]:
            return ["t"]

        async def status(self, task_id: str) -> TaskStatus:
            return refused

        async def put_off(self, task_id: str, because: str, seconds: float) -> None:
            put_off.append(seconds)

    queued = Queued()
    checker = new_checker(queued, tmp_path, None, queued, SimpleNamespace(now=lambda: now))
    await checker.hold_tasks("a.test", now.timestamp() + held)
    assert put_off == [pytest.approx(waits)]


@pytest.mark.parametrize(
    ("status", "waits"),
    [
        ({"subscription_id": "s"}, True),
        ({"subscription_id": "s", "start_asked": True}, False),
        ({}, False),
    ],
)
async def test_a_task_of_a_subscription_that_begins_while_its_host_is_held_waits(
    tmp_path: Path, status: dict[str, Any], waits: bool
) -> None:
    now = Clock().now()

    class Held:
        async def held_hosts(self, hosts: list[str], at: float) -> dict[str, float]:
            return {"a.test": at + 60.0} if hosts == ["a.test"] else {}

    checker = new_checker(Held(), tmp_path, None, None, SimpleNamespace(now=lambda: now))
    for url, is_held in ((URL, True), ("https://b.test/", False)):
        begins = TaskStatus(task_id="t", url=url, created_at=now, **status)
        requeued = await checker.before_attempt(Task(status=begins, request=None))
        assert (requeued is not None) == (waits and is_held)
        if requeued:
            assert requeued.because == "host_held"
            assert requeued.after == pytest.approx(60.0)
