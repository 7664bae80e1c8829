"""The command line of `make pictures`: see `tests.pictures`."""

import argparse
import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from playwright.async_api import Browser, Page

from tests.chromium import chromium
from tests.fakes.api import FROM_ELSEWHERE, open_api
from tests.pictures.scenes import SCENES, Scene, settle

PICTURES = Path("pictures")
SIZES: dict[str, dict[str, Any]] = {
    "desktop": {"viewport": {"width": 1280, "height": 900}},
    "tablet": {"viewport": {"width": 820, "height": 1180}, "has_touch": True},
    "phone": {"viewport": {"width": 360, "height": 740}, "has_touch": True, "is_mobile": True,
              "device_scale_factor": 2},
}  # fmt: skip
SCHEMES: dict[str, dict[str, Any]] = {
    "light": {"color_scheme": "light"},
    "dark": {"color_scheme": "dark"},
    "forced": {"forced_colors": "active"},
}
LANGUAGES = {"en": "en-US", "zh": "zh-CN"}
# README -> the pictures that it shows.
SHOWN = {"screenshot": ("all", "desktop"), "screenshot-phone": ("all", "phone")}


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tests.pictures", description="Make pictures of the page."
    )
    parser.add_argument("--only", nargs="+", choices=SCENES, default=list(SCENES), metavar="STATE",
                        help=", ".join(SCENES))  # fmt: skip
    parser.add_argument("--readme", action="store_true", help="make those of the READMEs, and no others")
    chosen = parser.parse_args(arguments)
    asyncio.run(_readme() if chosen.readme else _all(chosen.only))
    return 0


async def _all(names: list[str]) -> None:
    PICTURES.mkdir(exist_ok=True)
    async with chromium(FROM_ELSEWHERE) as browser:
        for name in names:
            for size, scheme, language in _looks(name):
                look = SIZES[size] | SCHEMES[scheme] | {"locale": LANGUAGES[language]}
                async with seen(browser, SCENES[name], **look) as page:
                    await page.screenshot(path=PICTURES / f"{name}-{size}-{scheme}-{language}.png")
            print(name)


def _looks(name: str) -> list[tuple[str, str, str]]:
    """Return all combinations of size, scheme and language for the main scene; for others three that have
    each of them once.
    """
    if name == "all":
        return [(size, scheme, language) for size in SIZES for scheme in SCHEMES for language in LANGUAGES]
    return [("desktop", "light", "en"), ("phone", "dark", "zh"), ("tablet", "forced", "en"),
            ("phone", "light", "en"), ("desktop", "dark", "zh")]  # fmt: skip


async def _readme() -> None:
    async with chromium(FROM_ELSEWHERE) as browser:
        for file, (name, size) in SHOWN.items():
            for language, locale in LANGUAGES.items():
                async with seen(browser, SCENES[name], locale=locale, **SIZES[size]) as page:
                    ending = "" if language == "en" else f".{locale}"
                    await page.screenshot(path=Path("docs") / f"{file}{ending}.png")


@asynccontextmanager
async def seen(browser: Browser, scene: Scene, **look: Any) -> AsyncIterator[Page]:
    """Open the page in the state of `scene`."""
    async with open_api() as api:
        await scene.prepare(api)
        context = await browser.new_context(timezone_id=_zone_of_noon(), **look)
        page = await context.new_page()
        await page.goto(api.url_elsewhere if scene.is_elsewhere else api.url)
        await page.locator("#tasks[data-listed], #login").first.wait_for(state="attached")
        if scene.act:
            await scene.act(page, api)
        await settle(page)
        yield page
        await context.close()


def _zone_of_noon() -> str:
    """Return a time zone in which it is about noon: after midnight the last hour's rows are yesterday's."""
    offset = 12 - datetime.now(UTC).hour
    return f"Etc/GMT{-offset:+d}" if offset else "Etc/GMT"


if __name__ == "__main__":
    sys.exit(main())
