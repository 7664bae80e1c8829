"""What a look's child says may be anything."""

import asyncio
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from server.core.clock import Clock
from server.core.subscriptions import Claim, Findings, Subscription, SubscriptionSettings
from server.settings import DownloadSettings, SubscriptionsSettings
from server.tasks.looker import Looker


class Saying:
    """A fork server, and its one child, which says `line`."""

    def __init__(self, line: bytes) -> None:
        self.line = line

    async def warm(self) -> None:
        pass

    async def start(self, *_: Any) -> "Saying":
        return self

    async def read_line(self) -> bytes:
        return self.line

    async def stop(self) -> None:
        pass


class Rows:
    def __init__(self) -> None:
        self.failures: list[str] = []

    async def fail(self, claim: Claim, code: str, *_: Any) -> None:
        self.failures.append(code)


@pytest.mark.parametrize(
    "line",
    [
        b"no JSON\n",
        b'{"kind": "noticed", "entries": [{"url": "ftp://a.test/"}]}\n',
        b'{"kind": "noticed", "entries": [{"url": "https://a.test/", "guid": "\\ud800"}]}\n',
        b'{"kind": "looked", "form": "neither"}\n',
    ],
)
async def test_what_cannot_be_read_is_a_failure_and_not_asked_for_again_at_once(
    tmp_path: Path, line: bytes
) -> None:
    rows, child = Rows(), Saying(line)
    jobs = SimpleNamespace(job=lambda *_, **__: None)
    looker = Looker(
        rows,  # type: ignore[arg-type]
        None,  # type: ignore[arg-type]
        child,  # type: ignore[arg-type]
        SimpleNamespace(scratch=tmp_path),
        jobs,  # type: ignore[arg-type]
        None,  # type: ignore[arg-type]
        DownloadSettings(),
        SubscriptionsSettings(),
        Clock(),
    )
    url = "https://a.test/feed"
    subscription = Subscription(
        "s", 1, 1, url, url, "", "", SubscriptionSettings(), Findings(), 0.0, None, 1, 0.0
    )
    async with asyncio.timeout(5):
        await looker._look(Claim(subscription))
    assert rows.failures == ["internal"]
