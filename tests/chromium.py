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
    """Return the path of the system's Chromium, else of the one that `requirements/install.sh tools` has
    installed beside Python's packages.
    """
    own = Path(sys.prefix, "browsers").glob("chromium*/*/*headless[-_]shell")
    names = ("chromium-headless-shell", *_WITH_WINDOWS, "google-chrome", "google-chrome-stable")
    found = next(filter(None, map(shutil.which, (*names, *map(str, own)))), None)
    return found or without("Chromium", "apt-get install chromium")


def find_whole_chromium() -> str:
    """Return the path of a complete Chromium: the headless shell takes no extensions."""
    found = next(filter(None, map(shutil.which, _WITH_WINDOWS)), None)
    return found or without("all of Chromium", "apt-get install chromium")


@asynccontextmanager
async def chromium_driver() -> AsyncIterator[BrowserType]:
    """Start Playwright's driver of Chromium; skip the test if the driver lacks a library of the system."""
    version = [compute_driver_executable()[0], "--version"]
    if (await asyncio.to_thread(subprocess.run, version, capture_output=True, check=False)).returncode:
        without("libatomic.so.1, which Playwright's driver needs", "apt-get install libatomic1")
    async with async_playwright() as playwright:
        yield playwright.chromium


@asynccontextmanager
async def chromium(
    *arguments: str, refused: Sequence[str] = (), **environment: str
) -> AsyncIterator[Browser]:
    """Start Chromium and yield it. `refused` are arguments that Playwright would pass to Chromium, and does
    not.
    """
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
