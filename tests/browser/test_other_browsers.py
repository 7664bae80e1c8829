"""Sending a link, following its task and saving its file work in Firefox, and in WebKit, on which Safari is
built.

Firefox is driven by WebDriver BiDi, WebKitGTK's `MiniBrowser` by WebDriver.
"""

import asyncio
import itertools
import json
import os
import re
import shutil
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.ports import free_port
from tests.service import Services
from tests.site import open_site, sha256
from tests.tools import without

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.long]
Evaluate = Callable[[str], Awaitable[Any]]
_PREFERENCES = {
    "browser.download.folderList": 2,  # downloads go to the folder of `browser.download.dir`
    "browser.download.always_ask_before_handling_new_types": False,
    "browser.download.alwaysOpenPanel": False,
    "browser.shell.checkDefaultBrowser": False,
    "datareporting.policy.dataSubmissionEnabled": False,
    "app.update.enabled": False,
}
_SEND = """(() => {
    window.faults = []
    addEventListener("error", ({ message }) => faults.push(message))
    addEventListener("unhandledrejection", ({ reason }) => faults.push(String(reason)))
    const box = document.querySelector("#links")
    box.value = LINK
    box.dispatchEvent(new Event("input", { bubbles: true }))
    document.querySelector("#submit").requestSubmit()
})()"""
_STAGE = "document.querySelector('.row')?.dataset.stage ?? ''"
_SAVE = "void document.querySelector('.row [data-part=primary] a').click()"


@asynccontextmanager
async def firefox(folder: Path, downloads: Path) -> AsyncIterator[Evaluate]:
    program = shutil.which("firefox-esr") or shutil.which("firefox")
    program = program or without("Firefox", "apt-get install firefox-esr", is_everywhere=False)
    values = {**_PREFERENCES, "browser.download.dir": str(downloads)}
    lines = [f"user_pref({json.dumps(name)}, {json.dumps(value)});" for name, value in values.items()]
    (folder / "user.js").write_text("\n".join(lines))
    flags = ("--headless", "--no-remote", "--profile", str(folder), "--remote-debugging-port", "0")
    env = {**os.environ, "HOME": str(folder)}
    process = await asyncio.create_subprocess_exec(program, *flags, stderr=PIPE, stdout=DEVNULL, env=env)
    try:
        assert process.stderr
        found = None
        while not found and (line := await process.stderr.readline()):
            found = re.search(rb"BiDi listening on (ws://\S+)", line)
        assert found, "Firefox has gone"
        reading = asyncio.create_task(process.stderr.read(), name="what Firefox says")
        async with (
            aiohttp.ClientSession() as session,
            session.ws_connect(found[1].decode() + "/session", max_msg_size=0) as ws,
        ):
            numbers = itertools.count()

            async def ask(method: str, **params: Any) -> Any:
                number = next(numbers)
                await ws.send_json({"id": number, "method": method, "params": params})
                async for message in ws:
                    answer = message.json()
                    if answer.get("id") == number:
                        return answer.get("result")  # there is no result if the page was just left
                raise AssertionError("Firefox has gone")

            await ask("session.new", capabilities={})
            [tab] = (await ask("browsingContext.getTree"))["contexts"]

            async def evaluate(script: str) -> Any:
                where = {"context": tab["context"]}
                text = f"JSON.stringify(({script}) ?? null)"
                result = await ask("script.evaluate", expression=text, target=where, awaitPromise=False)
                assert result is None or result["type"] == "success", result
                return json.loads(result["result"]["value"]) if result else None

            yield evaluate
        await _end(process)
        await reading
    finally:
        await _end(process)


@asynccontextmanager
async def webkit(folder: Path, downloads: Path) -> AsyncIterator[Evaluate]:
    browser = next(Path("/usr/lib").glob("*/webkit*gtk-*/MiniBrowser"), None)
    if not (browser and shutil.which("WebKitWebDriver") and shutil.which("Xvfb")):
        without("WebKitGTK", "apt-get install webkit2gtk-driver xvfb", is_everywhere=False)
    screen = await asyncio.create_subprocess_exec("Xvfb", "-displayfd", "1", stdout=PIPE, stderr=DEVNULL)
    driver = None
    try:
        assert screen.stdout
        display = (await screen.stdout.readline()).decode().strip()
        (folder / "user-dirs.dirs").write_text(f'XDG_DOWNLOAD_DIR="{downloads}"\n')
        env = {**os.environ, "DISPLAY": f":{display}", "HOME": str(folder), "XDG_CONFIG_HOME": str(folder)}
        # WebKit's sandbox and graphics do not work in a container or on a virtual screen.
        env |= {"WEBKIT_DISABLE_SANDBOX_THIS_IS_DANGEROUS": "1", "WEBKIT_DISABLE_DMABUF_RENDERER": "1"}
        port = free_port()
        driver = await asyncio.create_subprocess_exec(
            "WebKitWebDriver", f"--port={port}", env=env, stdout=DEVNULL, stderr=DEVNULL
        )
        async with aiohttp.ClientSession(f"http://127.0.0.1:{port}") as session:

            async def ask(method: str, path: str, **body: Any) -> Any:
                async with session.request(method, path, json=body if method == "POST" else None) as answer:
                    value = (await answer.json())["value"]
                    return value if answer.ok else None  # there is no value if the page was just left

            while True:
                try:
                    await ask("GET", "/status")
                    break
                except aiohttp.ClientConnectionError:
                    await asyncio.sleep(0.05)
            wanted = {"webkitgtk:browserOptions": {"binary": str(browser), "args": ["--automation"]}}
            begun = await ask("POST", "/session", capabilities={"alwaysMatch": wanted})
            path = f"/session/{begun['sessionId']}"

            async def evaluate(script: str) -> Any:
                return await ask("POST", f"{path}/execute/sync", script=f"return {script}", args=[])

            yield evaluate
            await ask("DELETE", path)
    finally:
        for process in filter(None, (driver, screen)):
            await _end(process)


async def _end(process: Process) -> None:
    if process.returncode is None:
        process.terminate()
        await process.wait()


async def _until(evaluate: Evaluate, script: str) -> Any:
    while not (value := await evaluate(script)):
        await asyncio.sleep(0.05)
    return value


async def _load(evaluate: Evaluate, script: str) -> None:
    """Leave the page by `script`, and wait for the list of the new page."""
    await evaluate(f"void (document.documentElement.dataset.left = 'yes', {script})")
    # A page that has just begun to load has no root element yet.
    await _until(evaluate, "Boolean(document.documentElement) && !document.documentElement.dataset.left")
    await _until(evaluate, "Boolean(document.querySelector('#tasks[data-listed]'))")


@pytest.mark.parametrize("browser", [firefox, webkit])
async def test_a_link_is_sent_followed_and_its_file_saved(
    browser: Callable[[Path, Path], AbstractAsyncContextManager[Evaluate]],
    services: Services, media: Path, tmp_path: Path,
) -> None:  # fmt: skip
    (folder := tmp_path / "profile").mkdir()
    (downloads := tmp_path / "downloads").mkdir()
    async with (
        open_site(media) as site,
        services.lend() as service,
        browser(folder, downloads) as evaluate,
    ):
        for name in ("Bread", "Cake"):
            await _load(evaluate, f"location.assign({json.dumps(service.url)})")
            link = site.url(f"/page?title={name}&src=/video.mp4")
            await evaluate(_SEND.replace("LINK", json.dumps(link)))
            seen = {await _until(evaluate, f"[{_STAGE}].find((stage) => stage !== 'completed')")}
            while (stage := await evaluate(_STAGE)) != "completed":
                assert stage != "failed"
                seen.add(stage)
                await asyncio.sleep(0.02)
            assert seen & {"queued", "info", "download", "convert"}
            if name == "Cake":
                await _load(evaluate, "location.reload()")
            await asyncio.sleep(0.4)  # a button ignores clicks in the first 350 ms after it has appeared
            assert await evaluate("window.faults ?? []") == []
            await evaluate(_SAVE)
            saved = downloads / f"{name}.mp4"
            while not saved.exists() or sha256(saved) != sha256(media / "video.mp4"):
                await asyncio.sleep(0.05)
