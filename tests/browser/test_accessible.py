"""Every state of the page satisfies the rules of axe, and has no complaint in the console."""

from typing import Any

import pytest
from axe_playwright_python.async_playwright import Axe  # type: ignore[import-untyped]
from playwright.async_api import Browser, Page, Request

from tests.lasting import some_of
from tests.pictures.__main__ import LANGUAGES, SCHEMES, SIZES, seen
from tests.pictures.scenes import SCENES

pytestmark = pytest.mark.asyncio(loop_scope="session")
SIZE_OF = {"light": "desktop", "dark": "phone", "forced": "tablet"}
# In these scenes the server refuses something or cannot be reached, and browsers complain of that whatever
# the page does: of a 401 before a log-in, and of refused requests.
REFUSED = (
    "offline",
    "refused",
    "log-in",
    "log-in-password",
    "log-in-oidc",
    "wrong-token",
    "settings",
    "settings-with-all",
    "settings-defaults",
)
HELD = "wait="  # part of a request that is answered only when something changes
LONG = [(name, scheme) for name in SCENES for scheme in SCHEMES if (name, scheme) != ("all", "light")]


@pytest.mark.parametrize(
    ("name", "scheme"),
    [("all", "light"), *(pytest.param(*each, marks=pytest.mark.long) for each in some_of(LONG))],
)
async def test_axe_finds_nothing_and_the_console_is_empty(browser: Browser, name: str, scheme: str) -> None:
    language = LANGUAGES["zh" if scheme == "dark" else "en"]
    look: dict[str, Any] = {"locale": language, **SIZES[SIZE_OF[scheme]], **SCHEMES[scheme]}
    async with seen(browser, SCENES[name], **look) as page:
        found = await Axe().run(page)
        assert not found.violations_count, found.generate_report()
        assert name in REFUSED or await _complaints(page) == []


async def _complaints(page: Page) -> list[str]:
    """Return messages of every kind, uncaught errors, and failed requests."""
    said = [message.text for message in await page.console_messages()]
    errors = [str(error) for error in await page.page_errors()]
    return [*said, *errors, *filter(None, [await _failure(request) for request in await page.requests()])]


async def _failure(request: Request) -> str:
    if HELD in request.url:
        return ""
    if request.failure:
        return f"{request.url}: {request.failure}"
    response = await request.response()
    return f"{request.url}: {response.status}" if response and response.status >= 400 else ""
