"""The moving picture of the READMEs: one download, followed by the page, by curl and over a WebSocket.

`python -m tests.pictures.demo` starts the real service and the test site, sends a link from the page, and
takes a picture of all three clients several times a second; ffmpeg makes `docs/demo.webp` of the pictures.
The terminals show what the service has really answered. The script itself listens on the WebSocket, and
formats the answers as the `jq` in the commands would.
"""

import asyncio
import html
import itertools
import json
import shutil
import subprocess
import sys
import tempfile
import time
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from playwright.async_api import Page

from tests.chromium import chromium
from tests.service import FINAL, ROOT, Service
from tests.site import Site, make_media, open_site
from tests.tools import BUNDLED

TARGET = ROOT / "docs" / "demo.webp"
LIMIT = 1_000_000  # most bytes of the moving picture
TITLE, SECONDS = "Into the Mandelbrot set", 12
RATE = 900_000  # bytes a second that the site sends
HEIGHT, PAGE_WIDTH, TERMINAL_WIDTH = 500, 540, 460
PAUSE = 0.2  # least seconds between two pictures
FIRST, LAST = 1.0, 3.0  # seconds for which the first and the last picture stay
POLL = 1.0  # seconds between two polls
FIELDS = ("stage", "progress")
LINES = 9  # lines of a terminal


@dataclass
class Terminal:
    """The answers that one client got; the terminal shows the last lines."""

    command: str
    lines: list[str] = field(default_factory=list)

    def tell(self, payload: dict[str, Any]) -> None:
        self.lines.append(json.dumps({name: payload[name] for name in FIELDS}, separators=(",", ":")))

    def __str__(self) -> str:
        shown = "\n".join(self.lines[-LINES:])
        return f"<pre><b>$ {html.escape(self.command)}</b>\n{html.escape(shown)}</pre>"


STYLE = """
body { margin: 0; background: #14171c; height: 100vh; display: grid; grid-template-rows: 1fr 1fr; gap: 2px }
pre { margin: 0; padding: 14px; background: #1e232b; color: #b9e3c0; font: 14px/1.32 monospace;
  overflow: hidden; white-space: pre-wrap; overflow-wrap: anywhere }
b { color: #fff; font-weight: normal }
"""


async def main() -> int:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        await asyncio.to_thread(_make_film, make_media(folder / "media"))
        async with AsyncExitStack() as stack:
            service = await stack.enter_async_context(Service(folder / "service"))
            site = await stack.enter_async_context(open_site(folder / "media"))
            browser = await stack.enter_async_context(chromium())
            await service.ready()
            page = await browser.new_page(
                viewport={"width": PAGE_WIDTH, "height": HEIGHT}, locale="en-US", color_scheme="light"
            )
            terminals = await browser.new_page(viewport={"width": TERMINAL_WIDTH, "height": HEIGHT})
            times = await _film(service, site, page, terminals, folder)
        await asyncio.to_thread(_assemble, folder, times)
    size = TARGET.stat().st_size
    print(f"{TARGET.relative_to(ROOT)}: {len(times)} pictures, {size} bytes")
    return int(size > LIMIT)


async def _film(service: Service, site: Site, page: Page, terminals: Page, folder: Path) -> list[float]:
    """Follow one download to its end; return how long each of the pictures in `folder` is to be shown."""
    film = f"/film.mp4?rate={RATE}"
    query = f"title={TITLE}&uploader=Test site&duration={SECONDS}&thumbnail=/film.jpg&src={film}"
    fields = f"jq -c '{{{','.join(FIELDS)}}}'"
    poller = Terminal(f"while sleep {POLL:.0f}; do curl -s $HOST/api/status/$ID | {fields}; done")
    listener = Terminal(f"websocat ws://$HOST/ws/$ID | {fields}")
    await page.goto(service.url)
    await page.locator("#links").fill(site.url(f"/page?{query}".replace(" ", "%20")))
    await _take(page, terminals, [poller, listener], folder / f"{0:04}")
    await page.locator("button[data-part=go][type=submit]").click()
    task_id = await _first_task(service)
    async with asyncio.TaskGroup() as group:
        clients = [
            group.create_task(_poll(service, task_id, poller)),
            group.create_task(_listen(service, task_id, listener)),
        ]
        taken: list[float] = []
        while not taken or not all(client.done() for client in clients):
            taken.append(time.monotonic())
            await _take(page, terminals, [poller, listener], folder / f"{len(taken):04}")
            await asyncio.sleep(max(0, taken[-1] + PAUSE - time.monotonic()))
    await page.locator("#tasks a[href*='/api/download/']:visible").first.wait_for()
    taken.append(time.monotonic())
    await _take(page, terminals, [poller, listener], folder / f"{len(taken):04}")
    return [FIRST, *(later - earlier for earlier, later in itertools.pairwise(taken)), LAST]


async def _first_task(service: Service) -> str:
    async with asyncio.timeout(20):
        while True:
            async with service.client.get("/api/tasks") as answer:
                for task in (await answer.json())["tasks"]:
                    return str(task["task_id"])
            await asyncio.sleep(0.02)


async def _poll(service: Service, task_id: str, terminal: Terminal) -> None:
    """Poll as a script would, with curl itself."""
    curl = shutil.which("curl")
    assert curl, "this needs curl"
    command = (curl, "-s", f"{service.url}/api/status/{task_id}")
    while True:
        asked = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
        payload = json.loads((await asked.communicate())[0])
        terminal.tell(payload)
        if payload["stage"] in FINAL:
            return
        await asyncio.sleep(POLL)


async def _listen(service: Service, task_id: str, terminal: Terminal) -> None:
    async with service.client.ws_connect(f"/ws/{task_id}") as socket:
        async for message in socket:
            terminal.tell(message.json())


async def _take(page: Page, terminals: Page, shown: list[Terminal], name: Path) -> None:
    await terminals.set_content(f"<style>{STYLE}</style>{''.join(map(str, shown))}")
    left, right = await asyncio.gather(page.screenshot(), terminals.screenshot())
    name.with_suffix(".left.png").write_bytes(left)
    name.with_suffix(".right.png").write_bytes(right)


def _make_film(media: Path) -> None:
    """Make a film with a tone that is worth a look, of some megabytes; and its thumbnail."""
    picture = f"mandelbrot=size=640x360:rate=25:start_scale=2:end_scale=0.02:end_pts={SECONDS * 25}"
    sound = f"sine=frequency=220:duration={SECONDS}"
    inputs = ("-f", "lavfi", "-i", picture, "-f", "lavfi", "-i", sound, "-t", str(SECONDS))
    encoded = ("-c:v", "libx264", "-preset", "ultrafast", "-b:v", "4M", "-pix_fmt", "yuv420p", "-c:a", "aac")
    _ffmpeg(*inputs, *encoded, "-movflags", "+faststart", str(media / "film.mp4"))
    _ffmpeg("-ss", "2", "-i", str(media / "film.mp4"), "-frames:v", "1", str(media / "film.jpg"))


def _assemble(folder: Path, times: list[float]) -> None:
    for side in ("left", "right"):
        files = [f"file '{folder}/{number:04}.{side}.png'" for number in range(len(times))]
        listed = [f"{file}\nduration {seconds:.3f}" for file, seconds in zip(files, times, strict=True)]
        (folder / f"{side}.txt").write_text("\n".join([*listed, files[-1]]), encoding="utf-8")
    inputs = [
        word
        for side in ("left", "right")
        for word in ("-f", "concat", "-safe", "0", "-i", str(folder / f"{side}.txt"))
    ]
    encoded = ("-c:v", "libwebp_anim", "-quality", "88", "-compression_level", "6", "-loop", "0")
    _ffmpeg(*inputs, "-filter_complex", "hstack,format=yuv420p", "-fps_mode", "vfr", *encoded, str(TARGET))


def _ffmpeg(*arguments: str) -> None:
    subprocess.run((BUNDLED, "-v", "error", "-nostdin", "-y", *arguments), check=True)


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
