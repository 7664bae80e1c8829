"""One Chromium for all tests of the page; each test has its own profile in it.

All fixtures and tests run on the session's event loop, because the browser does.
"""

from collections.abc import AsyncIterator, Callable, Generator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import pytest
import pytest_asyncio
from playwright.async_api import Browser, ConsoleMessage, Page, expect

from tests.chromium import chromium
from tests.fakes.api import FROM_ELSEWHERE, FakeApi, open_api

PATIENCE_MS = 30_000
_ARGUMENTS = (
    *("--disable-quic", "--disable-background-networking", "--disable-component-update", "--disable-sync"),
    # All pages share one process: tests run one after the other, and a process for each page would only cost
    # time.
    "--renderer-process-limit=1",
    FROM_ELSEWHERE,
)
_UNANSWERED = ("Failed to load resource", "WebSocket connection to")

OpenPage = Callable[..., AbstractAsyncContextManager[Page]]


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Report all skipped tests in one line: they are skipped for one reason, which is in this module."""
    report = yield
    if report.skipped and isinstance(report.longrepr, tuple):
        report.longrepr = (__file__, 1, report.longrepr[2])
    return report


@pytest_asyncio.fixture(loop_scope="session", scope="session")
async def browser(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Browser]:
    # Chromium writes files of its own into the home folder.
    async with chromium(*_ARGUMENTS, HOME=str(tmp_path_factory.mktemp("home"))) as browser:
        expect.set_options(timeout=PATIENCE_MS)
        yield browser


@pytest_asyncio.fixture(loop_scope="session")
async def api() -> AsyncIterator[FakeApi]:
    async with open_api() as api:
        yield api


@pytest_asyncio.fixture(loop_scope="session")
async def open_page(browser: Browser) -> OpenPage:
    """`async with open_page(url, locale="en-US") as page` opens the page, waits for the list, and fails on
    any error of the page.

    With `has_clock` the test may set the page's clock forward.
    """

    @asynccontextmanager
    async def opened(
        url: str, *, is_listed: bool = True, has_clock: bool = False, **profile: Any
    ) -> AsyncIterator[Page]:
        # Requests of a service worker would bypass the routes that tests set up.
        defaults: dict[str, Any] = {"locale": "zh-CN", "service_workers": "block"}
        context = await browser.new_context(**{**defaults, **profile})
        context.set_default_timeout(PATIENCE_MS)
        try:
            page = await context.new_page()
            complaints = _complaints(page)
            if has_clock:
                await page.clock.install()
            await page.goto(url)
            if is_listed:
                await page.locator("#tasks[data-listed]").wait_for(state="attached")
            yield page
            assert complaints == []
        finally:
            await context.close()

    return opened


def _complaints(page: Page) -> list[str]:
    """Return what the page does wrong: uncaught errors, and what its Content-Security-Policy has blocked.

    Failed requests are not among them, since tests cause some.
    """
    found: list[str] = []

    def heard(message: ConsoleMessage) -> None:
        if message.type == "error" and not message.text.startswith(_UNANSWERED):
            found.append(message.text)

    page.on("console", heard)
    page.on("pageerror", lambda error: found.append(str(error)))
    return found
