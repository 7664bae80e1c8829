"""The browser extension in a real Chromium, with the real service, and the verdict of the stores' linter.

The extension is a copy with the permission for 127.0.0.1: in a test nobody can answer Chromium's question for
it.
"""

import asyncio
import json
import os
import re
import shutil
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from playwright.async_api import BrowserContext, CDPSession, Page, expect

from tests.browser.test_service import PLAYS
from tests.chromium import chromium_driver, find_whole_chromium
from tests.ports import free_port
from tests.service import ROOT, Service, Services
from tests.site import Site
from tests.tools import npm_tool, without

SOURCE = ROOT / "clients/browser"
TOKEN = "right-token-0123456789"
PATIENCE = 60  # seconds that a wait may take
PATIENCE_MS = PATIENCE * 1000
TABS = {"filter": [{"type": "tab", "exclude": False}]}
Messages = dict[str, dict[str, Any]]


class Extension:
    """The installed extension. `desk` is the page of its options, which stays open: through it tests ask the
    browser what it shows.
    """

    def __init__(self, context: BrowserContext, browser: CDPSession, number: str, desk: Page) -> None:
        self.context = context
        self._browser = browser
        self._number = number
        self.desk = desk

    async def set_up(self, server: str, token: str = TOKEN) -> str:
        """Fill in the options and save them; return what the page then says."""
        await self.desk.bring_to_front()
        await self.desk.fill("[name=server]", server)
        await self.desk.fill("[name=token]", token)
        await self.desk.click("button")
        output = self.desk.locator("output")
        await expect(output).to_have_attribute("data-kind", re.compile("good|bad"), timeout=PATIENCE_MS)
        return await output.inner_text()

    async def click(self, page: Page) -> None:
        """Click on the extension's button, while `page` is shown."""
        await page.bring_to_front()
        found = (await self._browser.send("Target.getTargets", TABS))["targetInfos"]
        [tab] = [each for each in found if each["url"] == page.url]
        asked = {"id": self._number, "targetId": tab["targetId"]}
        await self._browser.send("Extensions.triggerAction", asked)

    async def choose(self, item: dict[str, str], tab: dict[str, Any] | None = None) -> None:
        """Choose an item of one of the extension's menus."""
        worker = self.context.service_workers[-1]
        await worker.evaluate("(event) => chrome.contextMenus.onClicked.dispatch(...event)", [item, tab])

    async def badge(self, wanted: str, within: float = PATIENCE) -> None:
        """Return when the badge is `wanted`, a regular expression."""
        await self._until("chrome.action.getBadgeText({})", rf"{wanted}\Z", within)

    async def tooltip(self, wanted: str) -> None:
        """Return when the tooltip is `wanted`."""
        await self._until("chrome.action.getTitle({})", rf"(?s).*{re.escape(wanted)}", PATIENCE)

    async def shown(self, url: str) -> None:
        """Return when the front tab shows this address."""
        await self._until("chrome.tabs.query({active: true}).then(([{url}]) => url ?? '')", url, PATIENCE)

    async def desk_shown(self) -> None:
        """Return when the options are the front tab. Chromium tells no extension the address of its own
        pages.
        """
        await self._until(
            "chrome.tabs.getCurrent().then(({active}) => active ? 'shown' : '')", "shown", PATIENCE
        )

    async def _until(self, shown: str, wanted: str, within: float) -> None:
        said = ""
        try:
            async with asyncio.timeout(within):
                while not re.match(wanted, said := await self.desk.evaluate(shown)):
                    await asyncio.sleep(0.05)
        except TimeoutError:
            raise AssertionError(f"{said!r} is not {wanted!r}") from None

    async def stop_worker(self) -> None:
        """Stop the service worker, as Chromium does when it is idle."""
        targets = (await self._browser.send("Target.getTargets"))["targetInfos"]
        [worker] = [each["targetId"] for each in targets if each["type"] == "service_worker"]
        await self._browser.send("Target.closeTarget", {"targetId": worker})
        while any(each["targetId"] == worker for each in targets):
            targets = (await self._browser.send("Target.getTargets"))["targetInfos"]


@asynccontextmanager
async def opened(folder: Path, locale: str = "en-US") -> AsyncIterator[Extension]:
    program = find_whole_chromium()
    copy = folder / "extension"
    shutil.copytree(SOURCE, copy)
    manifest = json.loads((copy / "manifest.json").read_text())
    manifest["host_permissions"] = ["http://127.0.0.1/*"]
    (copy / "manifest.json").write_text(json.dumps(manifest))
    env: dict[str, str | float | bool] = {**os.environ, "HOME": str(folder), "LANGUAGE": locale[:2]}
    async with chromium_driver() as driver:
        context = await driver.launch_persistent_context(
            folder / "profile", executable_path=program, headless=True, locale=locale, env=env,
            ignore_default_args=["--disable-extensions"],
            args=[
                *("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic"),
                *("--enable-unsafe-extension-debugging", f"--lang={locale}"),
                *(f"--load-extension={copy}", f"--disable-extensions-except={copy}"),
            ],
        )  # fmt: skip
        context.set_default_timeout(PATIENCE_MS)
        try:
            assert context.browser
            browser = await context.browser.new_browser_cdp_session()
            if not context.service_workers:
                await context.wait_for_event("serviceworker")
            [one] = (await browser.send("Extensions.getExtensions"))["extensions"]
            async with asyncio.timeout(PATIENCE):  # the extension opens its options when it is installed
                while not (desks := [page for page in context.pages if page.url.endswith("/options.html")]):
                    await asyncio.sleep(0.05)
            extension = Extension(context, browser, one["id"], desks[0])
            yield extension
        finally:
            await context.close()


@pytest.fixture
async def extension(tmp_path: Path) -> AsyncIterator[Extension]:
    async with opened(tmp_path / "browser") as extension:
        yield extension


@pytest.fixture
async def locked(services: Services) -> AsyncIterator[Service]:
    """A service with a token, which its test client sends."""
    async with services.lend(CLIPWIRE_SERVER__TOKENS=f'["{TOKEN}"]') as service:
        service.client.headers["Authorization"] = f"Bearer {TOKEN}"
        yield service


async def page_at(extension: Extension, url: str) -> Page:
    page = await extension.context.new_page()
    await page.goto(url)
    return page


async def tasks_of(service: Service) -> list[dict[str, Any]]:
    async with service.client.get("/api/tasks") as answer:
        tasks: list[dict[str, Any]] = (await answer.json())["tasks"]
        return tasks


async def plays(page: Page) -> None:
    """Return when the film in `page` plays, after its button was pressed.

    A browser starts no film by itself in a tab that nobody has touched.
    """
    video = page.locator("#player video")
    await video.evaluate("(video) => video.play()")
    assert await video.evaluate(PLAYS) > 0


def film(site: Site, title: str, query: str = "") -> str:
    source = quote(f"/1mb.mp4?{query}", safe="")
    return site.url(f"/page?title={quote(title)}&src={source}")


@pytest.mark.wide
async def test_a_click_sends_the_page_and_when_it_is_finished_another_opens_the_file(
    extension: Extension, locked: Service, site: Site
) -> None:
    assert await extension.set_up(locked.url) == "Saved. The server answers, and takes what you send."
    page = await page_at(extension, film(site, "A film", "stall=500000"))
    await extension.click(page)
    await extension.badge(r"[2-9]\d%")
    [task] = await tasks_of(locked)
    assert (task["url"], task["stage"]) == (page.url, "download")
    await extension.tooltip("% A film")
    site.release()
    await extension.badge("✓")
    async with extension.context.expect_page() as opening:
        await extension.click(page)
    shown = await opening.value
    await plays(shown)
    await extension.badge("")
    assert len(await tasks_of(locked)) == 1
    await extension.tooltip("✓ A film")


@pytest.mark.long
async def test_links_are_sent_by_a_menu_and_several_at_once_are_followed(
    extension: Extension, locked: Service, site: Site
) -> None:
    await extension.set_up(locked.url)
    links = [film(site, f"Film {number}", "stall=500000") for number in range(4)]
    for link in links[:2]:
        await extension.choose({"menuItemId": "send-link", "linkUrl": link})
    for link in links[2:]:
        await extension.choose({"menuItemId": "send", "pageUrl": link}, {"url": link, "title": "A title"})
    await extension.badge(r"\d\d%")
    while len(tasks := await tasks_of(locked)) < len(links):
        await asyncio.sleep(0.05)
    assert {task["url"] for task in tasks} == set(links)
    site.release()
    await extension.badge("✓")
    async with extension.context.expect_page() as opening:
        keys = await extension.desk.evaluate(
            "chrome.storage.local.get('sent').then(({sent}) => sent.map(({key}) => key))"
        )
        await extension.choose({"menuItemId": f"task {keys[0]}"})
    await plays(await opening.value)


@pytest.mark.long
async def test_the_server_shows_the_title_of_the_page_until_it_knows_its_own(
    extension: Extension, locked: Service, site: Site
) -> None:
    await extension.set_up(locked.url)
    await locked.client.post("/api/queue/pause")
    page = await page_at(extension, film(site, "Its own"))
    await page.evaluate("document.title = 'What the tab says \\ud83d'")
    await extension.click(page)
    await extension.badge("0%")
    [task] = await tasks_of(locked)
    assert task["video_info"] == {"title": "What the tab says \ufffd"}
    await locked.client.post("/api/queue/resume")
    await extension.badge("✓")
    await extension.tooltip("✓ Its own")


@pytest.mark.long
async def test_what_is_sent_while_the_server_is_away_arrives_when_it_is_back(
    extension: Extension, locked: Service, site: Site
) -> None:
    await extension.set_up(locked.url)
    await locked.stop()
    page = await page_at(extension, film(site, "Later"))
    await extension.click(page)
    await extension.badge("!")
    await extension.tooltip("does not answer. Clipwire keeps trying")
    await locked.start()
    await extension.badge("✓")
    [task] = await tasks_of(locked)
    assert task["url"] == page.url


@pytest.mark.long
async def test_a_wrong_token_is_said_and_a_right_one_sends_what_waits(
    extension: Extension, locked: Service, site: Site
) -> None:
    assert "token is wrong" in await extension.set_up(locked.url, "wrong")
    page = await page_at(extension, film(site, "Waits"))
    await extension.click(page)
    await extension.badge("!")
    await extension.tooltip("The token is wrong")
    assert await tasks_of(locked) == []
    await extension.set_up(locked.url)
    await extension.badge("✓")
    assert len(await tasks_of(locked)) == 1


@pytest.mark.long
async def test_who_has_entered_no_server_is_asked_and_nothing_is_lost(
    extension: Extension, locked: Service, site: Site
) -> None:
    page = await page_at(extension, film(site, "First"))
    await extension.click(page)
    await extension.desk_shown()
    await extension.set_up(locked.url)
    await extension.badge("✓")


@pytest.mark.long
async def test_a_service_without_tokens_says_what_is_missing(extension: Extension, service: Service) -> None:
    assert "Set server.tokens there" in await extension.set_up(service.url, "")
    assert "Set server.tokens there" in await extension.set_up(service.url)


@pytest.mark.long
async def test_a_wrong_address_is_said(extension: Extension, locked: Service, site: Site) -> None:
    nothing, other = f"http://127.0.0.1:{free_port()}", site.url("/").rstrip("/")
    for typed, said in (
        ("", "Enter an address like"),
        ("ftp://127.0.0.1", "Enter an address like"),
        ("http://user:secret@127.0.0.1", "Enter an address like"),
        (nothing, "does not answer"),
        (other, "is not Clipwire"),
        (f"{locked.url}/nowhere", "is not Clipwire"),
        (f"{other}/redirect?to={locked.url}/", "is not Clipwire"),
    ):
        assert said in await extension.set_up(typed), typed
        await extension.desk.reload()  # clears the message of the page


@pytest.mark.wide
async def test_an_address_without_a_scheme_means_https_but_on_this_machine_and_in_private_networks(
    extension: Extension,
) -> None:
    here = "localhost:8080 clips.localhost 127.0.0.1:8080 [::1]:80"
    private = "10.0.0.1 192.168.1.5:8080 172.31.0.1 100.64.0.1 169.254.0.1 [fd00::5]:8080 [fe80::1]"
    public = "8.8.8.8 172.32.0.1 100.128.0.1 192.169.0.1 [2001:db8::1]"
    names = "clips.example.org:8080/prefix nas 127.0.0.1.example.org 10.example.org fd00.example.org"
    read = "(typed) => import('./server.js').then(({readAddress}) => typed.map(readAddress))"
    for scheme, typed in (("http", f"{here} {private}"), ("https", f"{public} {names}")):
        addresses = await extension.desk.evaluate(read, typed.split())
        assert {address.partition(":")[0] for address in addresses} == {scheme}, addresses
    assert await extension.desk.evaluate(read, ["http://clips.example.org"]) == ["http://clips.example.org"]


@pytest.mark.wide
async def test_no_redirect_takes_the_token_elsewhere(extension: Extension, locked: Service) -> None:
    came: list[str | None] = []

    async def lead_on(request: web.Request) -> web.Response:
        if request.path.startswith("/elsewhere"):
            came.append(request.headers.get("Authorization"))
        raise web.HTTPTemporaryRedirect(f"/elsewhere{len(came)}")

    app = web.Application()
    app.router.add_route("*", "/{rest:.*}", lead_on)
    async with TestServer(app) as server:
        assert "leads on to another address" in await extension.set_up(str(server.make_url("")).rstrip("/"))
        assert came == []


@pytest.mark.wide
async def test_of_a_private_window_nothing_is_stored(
    extension: Extension, locked: Service, site: Site
) -> None:
    link = film(site, "Quiet film")
    tab = {"url": link, "title": "A quiet title", "incognito": True}
    await extension.choose({"menuItemId": "send", "pageUrl": link}, tab)
    await extension.tooltip("so send it again later")  # no server is configured yet
    await extension.set_up(locked.url)
    stored = "Promise.all([chrome.storage.local.get(), chrome.alarms.getAll()]).then(JSON.stringify)"
    before = await extension.desk.evaluate(stored)
    for item in (
        {"menuItemId": "send", "pageUrl": link},
        {"menuItemId": "send-link", "linkUrl": f"{link}&2"},
    ):
        await extension.choose(item, tab)
        await extension.tooltip("Nothing of a private window is kept")
    worker = extension.context.service_workers[-1]
    await worker.evaluate("(tab) => chrome.action.onClicked.dispatch(tab)", tab)
    while len(tasks := await tasks_of(locked)) < 3:
        await asyncio.sleep(0.05)
    assert {task["url"] for task in tasks} == {link, f"{link}&2"}
    await locked.stop()
    await extension.choose({"menuItemId": "send", "pageUrl": link}, tab)
    await extension.tooltip("so send it again later")
    assert await extension.desk.evaluate(stored) == before
    assert "Quiet" not in before


@pytest.mark.long
async def test_what_is_typed_while_the_options_are_read_is_kept(extension: Extension) -> None:
    """The page shows the stored settings a while after it has opened."""
    slowly = """
        const get = chrome.storage.local.get.bind(chrome.storage.local)
        chrome.storage.local.get = (name) => new Promise((done) => setTimeout(() => done(get(name)), 300))
    """
    await extension.desk.add_init_script(slowly)
    await extension.desk.reload()
    assert "does not answer" in await extension.set_up(f"http://127.0.0.1:{free_port()}")


@pytest.mark.long
async def test_a_failed_one_says_why_and_the_next_click_tries_again(
    extension: Extension, locked: Service, site: Site
) -> None:
    await extension.set_up(locked.url)
    page = await page_at(extension, site.url("/page/blank"))
    await extension.click(page)
    await extension.badge("!")
    await extension.tooltip("✗ ")
    await extension.click(page)
    while len(await tasks_of(locked)) < 2:
        await asyncio.sleep(0.05)
    await extension.badge("!")


@pytest.mark.long
async def test_a_task_that_was_deleted_at_the_server_is_forgotten(
    extension: Extension, locked: Service, site: Site
) -> None:
    await extension.set_up(locked.url)
    page = await page_at(extension, film(site, "Gone"))
    await extension.click(page)
    await extension.badge("✓")
    [task] = await tasks_of(locked)
    await locked.client.delete(f"/api/tasks/{task['task_id']}")
    await extension.click(page)
    await extension.tooltip("was deleted at the server")
    assert await tasks_of(locked) == []
    await extension.click(page)
    await extension.badge("✓")


@pytest.mark.long
async def test_a_worker_that_is_stopped_goes_on_where_it_was(
    extension: Extension, locked: Service, site: Site
) -> None:
    await extension.set_up(locked.url)
    first = await page_at(extension, film(site, "First", "stall=500000"))
    await extension.click(first)
    await extension.badge(r"[2-9]\d%")
    await extension.stop_worker()
    site.release()
    [task] = await tasks_of(locked)
    await locked.wait(task["task_id"])
    second = await page_at(extension, film(site, "Second"))
    await extension.click(second)
    await extension.badge("✓")
    await extension.tooltip("✓ First")
    await extension.tooltip("✓ Second")


@pytest.mark.long
async def test_one_that_is_stopped_while_it_sends_makes_no_second_task(
    extension: Extension, locked: Service, site: Site
) -> None:
    await extension.set_up(locked.url)
    heard, closed = asyncio.Event(), asyncio.Event()

    async def deaf(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Pass a request on to the service, and drop the answer."""
        head = await reader.readuntil(b"\r\n\r\n")
        if not head.startswith(b"POST /api/process"):
            writer.close()
            return
        [length] = re.findall(rb"content-length: (\d+)", head.lower())
        body = await reader.readexactly(int(length))
        key = re.findall(rb"idempotency-key: (\S+)", head, re.IGNORECASE)[0].decode()
        headers = {"Idempotency-Key": key, "Content-Type": "application/json"}
        async with locked.client.post("/api/process", data=body, headers=headers) as answer:
            assert answer.status == 202
        heard.set()
        await closed.wait()
        writer.close()

    server = await asyncio.start_server(deaf, "127.0.0.1", 0)
    async with server:
        await extension.set_up(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}")
        page = await page_at(extension, film(site, "Once"))
        await extension.click(page)
        await heard.wait()
        await extension.stop_worker()
        closed.set()
        await extension.set_up(locked.url)
        await extension.badge("✓")
    assert len(await tasks_of(locked)) == 1


@pytest.mark.long
async def test_the_alarm_wakes_a_worker_that_was_stopped(
    extension: Extension, locked: Service, site: Site
) -> None:
    await extension.set_up(locked.url)
    page = await page_at(extension, film(site, "Slow", "stall=500000"))
    await extension.click(page)
    await extension.badge(r"[2-9]\d%")
    await extension.stop_worker()
    site.release()
    await extension.badge("✓", within=60)
    assert await extension.desk.evaluate("chrome.alarms.getAll()") == [], "nothing wakes it any more"


@pytest.mark.long
async def test_a_page_of_the_browser_is_not_sent(extension: Extension, locked: Service) -> None:
    await extension.set_up(locked.url)
    await extension.click(extension.desk)
    await extension.tooltip("no web address")
    assert await tasks_of(locked) == []


@pytest.mark.long
async def test_it_speaks_the_language_of_the_browser(tmp_path: Path, locked: Service) -> None:
    async with opened(tmp_path / "browser", "zh-CN") as extension:
        await expect(extension.desk.locator("button")).to_have_text("保存")
        assert "已保存" in await extension.set_up(locked.url)


@pytest.mark.wide
async def test_what_it_asks_to_have_is_little(extension: Extension) -> None:
    manifest = json.loads((SOURCE / "manifest.json").read_text())
    assert manifest["permissions"] == ["activeTab", "alarms", "contextMenus", "storage"]
    assert "host_permissions" not in manifest
    assert "content_scripts" not in manifest
    assert manifest["optional_host_permissions"] == ["http://*/*", "https://*/*"]


def messages(language: str) -> Messages:
    found: Messages = json.loads((SOURCE / f"_locales/{language}/messages.json").read_text("utf-8"))
    return found


def test_every_text_is_there_in_both_languages_and_used() -> None:
    english, chinese = messages("en"), messages("zh_CN")
    assert english.keys() == chinese.keys()
    for name, entry in english.items():
        assert entry.get("placeholders") == chinese[name].get("placeholders"), name
        assert ("$server$" in entry["message"]) == ("$server$" in chinese[name]["message"]), name
    sources = "".join(path.read_text("utf-8") for path in SOURCE.glob("*.*"))
    used = set(re.findall(r'text\("(\w+)"|data-text="(\w+)"|__MSG_(\w+)__', sources))
    assert {name for found in used for name in found if name} == english.keys()


@pytest.mark.long
def test_the_linter_of_extensions_has_no_complaint() -> None:
    command = (shutil.which("node") or without("node", "apt-get install nodejs"),
               str(npm_tool("web-ext") / "bin/web-ext.js"), "lint", "--output=json", f"--source-dir={SOURCE}",
               "--no-config-discovery", "--no-input")  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    said = json.loads(done.stdout)
    assert (done.returncode, said["errors"], said["notices"]) == (0, [], [])
    # Chromium needs this key of the manifest, and Firefox ignores it.
    assert [each["code"] for each in said["warnings"]] == ["BACKGROUND_SERVICE_WORKER_IGNORED"]
