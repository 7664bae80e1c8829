"""Chromium as Playwright controls it, for all that looks at a page: tests, pictures and the bench."""

import asyncio
import os
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from playwright._impl._driver import compute_driver_executable
from playwright.async_api import Browser, BrowserType, async_playwright

from tests.tools import without

_WITH_WINDOWS = ("chromium", "chromium-browser")
_ARGUMENTS = ("--no-sandbox", "--disable-gpu", "--no-first-run")


def find_chromium() -> str:
    """The system's, else the one that `requirements/install.sh tools` has put beside Python's packages."""
    own = Path(sys.prefix, "browsers").glob("chromium*/*/*headless[-_]shell")
    names = ("chromium-headless-shell", *_WITH_WINDOWS, "google-chrome", "google-chrome-stable")
    found = next(filter(None, map(shutil.which, (*names, *map(str, own)))), None)
    return found or without("Chromium", "apt-get install chromium")


def find_whole_chromium() -> str:
    """Not only its shell, which takes no extensions."""
    found = next(filter(None, map(shutil.which, _WITH_WINDOWS)), None)
    return found or without("all of Chromium", "apt-get install chromium")


@asynccontextmanager
async def chromium_driver() -> AsyncIterator[BrowserType]:
    """Playwright's, which runs on its own Node.js: skips the test where a library is missing for that."""
    version = [compute_driver_executable()[0], "--version"]
    if (await asyncio.to_thread(subprocess.run, version, capture_output=True, check=False)).returncode:
        without("libatomic.so.1, which Playwright's driver needs", "apt-get install libatomic1")
    async with async_playwright() as playwright:
        yield playwright.chromium


@asynccontextmanager
async def chromium(
    *arguments: str, refused: Sequence[str] = (), **environment: str
) -> AsyncIterator[Browser]:
    """A running Chromium; it does not get `refused`, which are arguments of Playwright's own."""
    program = find_chromium()
    async with chromium_driver() as driver:
        browser = await driver.launch(
            executable_path=program,
            args=[*_ARGUMENTS, *arguments],
            ignore_default_args=[*refused],
            env={**os.environ, **environment},
        )
        yield browser
        await browser.close()
