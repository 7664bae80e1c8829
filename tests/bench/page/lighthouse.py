"""What Lighthouse says of the page on a phone and on a desktop, empty and with tasks that run already.

Lighthouse is none of our packages: it is taken from the PATH, or from where `LIGHTHOUSE` says
(`npm install lighthouse` in a folder of its own brings it). It wants a whole Chromium, not a headless
shell: the system's, or that of `CHROME_PATH`.
"""

import asyncio
import json
import os
import shutil
import sys
from pathlib import Path

from playwright.async_api import Browser

from tests.bench.figures import Figure, middle
from tests.bench.lab import Lab
from tests.bench.programs import Program

TASKS, PERIOD = 20, 1.0  # of them, each changes once in so many seconds
PATIENCE = 180.0  # seconds
_RUNS = 3
_AT_LEAST = {"performance": 98, "accessibility": 100, "best-practices": 100, "seo": 100}
# Without an option it is a phone, whose processor and line Lighthouse makes slow.
_DEVICES: dict[str, tuple[str, ...]] = {"phone": (), "desktop": ("--preset=desktop",)}
_FLAGS = "--headless=new --no-sandbox --disable-gpu"


async def lighthouse(_: Browser, lab: Lab) -> list[Figure]:
    """Of three runs the middle; nothing where there is no Lighthouse."""
    program, chromium = _program(), _whole_chromium()
    if not program or not chromium:
        missing = "Lighthouse (npm install lighthouse)" if chromium else "a whole Chromium"
        print(f"NOT MEASURED, for want of {missing}: what Lighthouse says of the page", file=sys.stderr)
        return []
    figures: list[Figure] = []
    for count in (0, TASKS):
        folder = lab.new_folder(f"lighthouse-{count}")
        async with Program("-m", "tests.bench.driven", str(folder), str(count), str(PERIOD)) as server:
            for device, options in _DEVICES.items():
                reports = lab.new_folder(f"reports-{count}-{device}")
                runs = [
                    await _scores(program, chromium, server.url, reports / f"{number}.json", options)
                    for number in range(lab.count(_RUNS, 1))
                ]
                what = f"Lighthouse on a {device}, {f'{count} running tasks' if count else 'an empty list'}"
                figures += [
                    Figure(f"{what}: {name}", middle(run[name] for run in runs), "", at_least=least)
                    for name, least in _AT_LEAST.items()
                ]
    return figures


def _program() -> str | None:
    return os.environ.get("LIGHTHOUSE") or shutil.which("lighthouse")


def _whole_chromium() -> str | None:
    names = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
    return os.environ.get("CHROME_PATH") or next(filter(None, map(shutil.which, names)), None)


async def _scores(
    program: str, chromium: str, url: str, report: Path, options: tuple[str, ...]
) -> dict[str, float]:
    """Category -> of 100."""
    categories = f"--only-categories={','.join(_AT_LEAST)}"
    process = await asyncio.create_subprocess_exec(
        *(program, url, categories, *options, "--quiet", f"--chrome-flags={_FLAGS}"),
        *("--output=json", f"--output-path={report}"),
        env={**os.environ, "CHROME_PATH": chromium},
    )
    async with asyncio.timeout(PATIENCE):
        assert await process.wait() == 0, "Lighthouse failed: it says above why"
    found = json.loads(report.read_text())["categories"]
    return {name: round(found[name]["score"] * 100) for name in _AT_LEAST}
