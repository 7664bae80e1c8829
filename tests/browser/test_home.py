"""The page as an app on the device: installed, as a target for shared links, and opened while the server is
away.
"""

import json

import pytest
from playwright.async_api import expect

from tests.browser.conftest import OpenPage
from tests.fakes.api import FakeApi, open_api

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.long]
_LOOK_AWAY = "Object.defineProperty(document, 'hidden', { get: () => true, configurable: true })"
# No headless browser shows notifications, so the test catches those that the page asks it to show.
_AS_ON_A_PHONE = """() => {
    const refuse = function () { throw new TypeError("Illegal constructor") }
    const requestPermission = async () => "granted"
    globalThis.Notification = Object.assign(refuse, { permission: "granted", requestPermission })
    globalThis.told = new Promise((done) => {
        ServiceWorkerRegistration.prototype.showNotification = async (name, { body }) => done([name, body])
    })
}"""
_TOLD = "globalThis.told"
# A click by a reader, without which a script may not focus a window.
_CLICK = """() => new Promise((done) => {
    const heard = []
    WindowClient.prototype.focus = async function () { heard.push("focus " + this.url) }
    clients.openWindow = async (url) => { heard.push("open " + url) }
    const click = new ExtendableEvent("notificationclick")
    click.notification = { close: () => heard.push("closed") }
    click.waitUntil = (ended) => ended.then(() => done(heard))
    dispatchEvent(click)
})"""
_KEPT = """async () => {
    const keys = await (await caches.open("clipwire")).keys()
    return keys.map(({ url }) => new URL(url).pathname)
}"""


async def test_the_page_opens_although_the_server_is_away(open_page: OpenPage) -> None:
    async with (
        open_api("/clip") as api,
        open_page(api.url, service_workers="allow") as page,
    ):
        await page.evaluate("navigator.serviceWorker.ready")  # the first visit already stores the page
        kept = await page.evaluate(_KEPT)
        assert {
            f"/clip/{path}"
            for path in ("", "static/page.js", "static/page.css", "static/later.js", "static/later.css")
        } <= set(kept)
        assert [path for path in kept if "/static/" not in path] == ["/clip/"]
        await page.route("**/*", lambda route: route.abort())
        await page.context.route("**/*", lambda route: route.abort())
        await page.reload()
        await expect(page.get_by_label("链接")).to_be_visible()
        await expect(page.locator("#connection")).to_have_attribute("data-state", "unreachable")


async def test_where_a_page_cannot_give_notice_the_worker_does_and_a_click_leads_back(
    open_page: OpenPage,
) -> None:
    async with (
        open_api("/clip") as api,
        open_page(
            api.url, has_clock=True, permissions=["notifications"], locale="en-US", service_workers="allow"
        ) as page,
    ):
        await api.put("a", "download")
        await page.evaluate(_AS_ON_A_PHONE)
        await page.get_by_role("button", name="Menu").click()
        await page.get_by_role("menuitem", name="Settings").click()
        await page.get_by_label("Notify me when downloads finish").check()
        await page.keyboard.press("Escape")
        await page.evaluate("navigator.serviceWorker.ready")
        await page.evaluate(_LOOK_AWAY)
        await api.put("a", "completed")
        await expect(page).to_have_title("1 finished – Clipwire")
        await page.clock.run_for(4_000)
        assert await page.evaluate(_TOLD) == ["Clipwire", "1 finished"]
        [worker] = page.context.service_workers
        assert await worker.evaluate(_CLICK) == ["closed", f"focus {api.url}"]
        await page.goto(api.url + "healthz")
        assert await worker.evaluate(_CLICK) == ["closed", "open /clip/"]


async def test_what_a_phone_shares_is_in_the_box(api: FakeApi, open_page: OpenPage) -> None:
    async with open_page(api.url + "?title=x&text=https://a.example/1") as page:
        await expect(page.get_by_label("链接", exact=True)).to_have_value("https://a.example/1")
        manifest = json.loads(
            await page.evaluate("fetch(document.querySelector('[rel=manifest]').href).then((a) => a.text())")
        )
        assert manifest["share_target"]["params"] == {"title": "title", "text": "text", "url": "url"}


async def test_a_bookmark_brings_the_link_of_another_page(api: FakeApi, open_page: OpenPage) -> None:
    async with open_page(api.url) as page:
        assert await page.locator("[href^='javascript:']").count() == 0
        await page.get_by_role("button", name="菜单").click()
        await page.get_by_role("menuitem", name="设置").click()
        link = page.get_by_role("link", name="用 Clipwire 下载")
        await link.click()  # a click on this page does nothing
        script = await link.get_attribute("href") or ""
        await page.goto(api.url + "healthz?a=1&b=2")
        async with page.expect_navigation():
            await page.evaluate(script.removeprefix("javascript:"))
        await expect(page.get_by_label("链接", exact=True)).to_have_value(api.url + "healthz?a=1&b=2")
