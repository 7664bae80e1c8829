"""The page and the real service together: what a reader does on the first day."""

import asyncio
from pathlib import Path
from urllib.parse import quote

import pytest
from playwright.async_api import Page, expect

from tests.browser.conftest import OpenPage
from tests.browser.lines import open_relay
from tests.browser.lists import choose, load_all, scroll_through
from tests.service import Service, Services
from tests.site import open_site, probe

pytestmark = pytest.mark.asyncio(loop_scope="session")
PLAYS = """async (video) => {
    while (!video.currentTime) await new Promise((done) => (video.ontimeupdate = done))
    return video.currentTime
}"""


async def send(page: Page, link: str) -> None:
    await page.get_by_label("链接").fill(link)
    await page.get_by_role("button", name="下载", exact=True).click()


@pytest.mark.long
async def test_a_browser_plays_a_download_while_it_comes(
    services: Services, media: Path, open_page: OpenPage
) -> None:
    async with (
        open_site(media) as site,
        services.lend() as service,
        open_page(service.url) as page,
    ):
        link = site.url("/8mb.mp4?stall=7000000&after=1&times=1")
        task_id = (await service.submit(link, outputs=["video"]))["task_id"]
        await site.stalled()
        await page.evaluate(
            """(link) => {
                const video = Object.assign(document.createElement("video"), { src: link, muted: true })
                document.body.append(video)
                return video.play()
            }""",
            f"/api/tasks/{task_id}/stream",
        )
        assert await page.locator("body > video").evaluate(PLAYS) > 0
        assert (await service.status(task_id))["stage"] == "download"
        site.release()
        await service.wait(task_id)


async def test_a_link_goes_in_and_a_video_is_played_and_saved(
    services: Services, media: Path, tmp_path: Path, open_page: OpenPage
) -> None:
    async with (
        open_site(media) as site,
        services.lend() as service,
        open_page(service.url) as page,
    ):
        await expect(page.locator("#connection")).to_have_attribute("data-state", "live")
        title = quote("示例视频")
        await send(page, site.url(f"/page?title={title}&src=/video.mp4&thumbnail=/thumbnail.jpg"))
        card = page.locator(".row")
        await expect(card).to_have_attribute("data-stage", "completed", timeout=30_000)
        task_id = await card.get_attribute("data-id") or ""
        await expect(card.get_by_role("heading")).to_have_text("示例视频")
        await expect(card.locator("img")).to_be_visible()
        while await card.locator("img").evaluate("image => image.naturalWidth") <= 1:
            await asyncio.sleep(0.02)

        await card.get_by_role("button", name="播放").click()
        video = page.get_by_role("dialog").locator("video")
        assert await video.evaluate(PLAYS) > 0
        await page.keyboard.press("Escape")
        await expect(video).to_have_count(0)

        await card.get_by_role("heading").click()
        async with page.expect_download() as download:
            await card.get_by_role("link", name="保存音频").click()
        assert (await download.value).suggested_filename == "示例视频.mp3"
        await (await download.value).save_as(tmp_path / "saved.mp3")
        assert (await probe(tmp_path / "saved.mp3")).codecs == ["mp3"]

        await choose(page, task_id, "日志")
        await expect(card.locator("pre")).not_to_be_empty()
        await choose(page, task_id, "删除")
        await expect(card.get_by_role("button", name="撤销")).to_be_focused()
        await page.reload()
        await expect(card).to_have_count(0)
        assert service.complaints() == []


@pytest.mark.long
async def test_a_page_that_stays_open_follows_pauses_failures_and_a_restart(
    services: Services, media: Path, tmp_path: Path, open_page: OpenPage
) -> None:
    async with (
        open_site(media) as site,
        services.lend() as service,
        open_page(service.url, locale="en-US") as page,
    ):
        slow, missing = site.url("/8mb.mp4?rate=2000000"), site.url("/video.mp4?status=404")
        await page.get_by_label("Link").fill(f"ftp://a.example/1\n{missing}\n{slow}")
        await page.get_by_role("button", name="Download 3").click()
        await expect(page.locator("#problems")).to_contain_text("This is not a link.")
        await expect(page.get_by_label("Link")).to_have_value("ftp://a.example/1")

        failed = page.locator(".row[data-stage=failed]")
        await expect(failed).to_contain_text("This video does not exist or has been removed.")
        loading = page.locator(".row", has_text="8mb")
        await expect(loading).to_have_attribute("data-stage", "download")
        await loading.get_by_role("button", name="Pause").click()
        await expect(loading).to_have_attribute("data-stage", "paused")
        await loading.get_by_role("button", name="Resume").click()
        await expect(loading).to_have_attribute("data-stage", "download")

        await service.restart()
        await expect(page.locator("#connection")).to_have_attribute("data-state", "live")
        await expect(loading).to_have_attribute("data-stage", "completed", timeout=30_000)
        await expect(loading.get_by_role("link", name="Save video")).to_be_visible()


@pytest.mark.long
async def test_a_service_with_tokens_lets_the_page_in_and_out_again(
    tmp_path: Path, open_page: OpenPage
) -> None:
    tokens = {"CLIPWIRE_SERVER__TOKENS": '["open-sesame-0123456789"]'}
    async with (
        Service(tmp_path / "service", **tokens) as service,
        open_page(service.url, is_listed=False) as page,
    ):
        await page.get_by_label("访问令牌").fill("open-sesame-0123456789")
        await page.keyboard.press("Enter")
        await expect(page.locator("#connection")).to_have_attribute("data-state", "live")
        await expect(page.get_by_text("粘贴视频")).to_be_visible()
        bearer = {"Authorization": "Bearer open-sesame-0123456789"}
        body = {"url": "https://a.example/1", "auto_start": False}
        assert (await service.client.post("/api/process", json=body, headers=bearer)).status == 202
        await page.reload()
        await expect(page.locator("#connection")).to_have_attribute("data-state", "live")
        await expect(page.locator(".row")).to_have_count(1)
        other = await page.context.new_page()
        await other.goto(service.url)
        await expect(other.locator(".row")).to_have_count(1)
        await page.get_by_role("button", name="菜单").click()
        await page.get_by_role("menuitem", name="退出").click()
        for tab in (page, other):
            await expect(tab.get_by_label("访问令牌")).to_be_visible()
            await expect(tab.locator(".row")).to_have_count(0)
        await page.reload()
        await expect(page.get_by_label("访问令牌")).to_be_visible()


@pytest.mark.long
async def test_a_long_list_is_what_the_service_says_after_a_gap_and_in_a_search(
    tmp_path: Path, open_page: OpenPage
) -> None:
    async with (
        Service(tmp_path / "service") as service,
        open_relay(service.url) as relay,
    ):
        links = [f"https://a.example/{'straße' if number % 2 else 'weg'}/{number}" for number in range(250)]
        tasks = [await service.submit(link, auto_start=False) for link in links]
        async with open_page(relay.url, has_clock=True) as page:
            await load_all(page)
            await relay.freeze()
            for task in tasks[10:40]:
                assert (await service.client.delete(f"/api/tasks/{task['task_id']}")).status == 204
            await service.client.post(f"/api/tasks/{tasks[5]['task_id']}/cancel")
            tasks.append(await service.submit("https://a.example/straße/new", auto_start=False))
            while not await page.get_by_text("a.example/straße/new").count():
                await page.clock.run_for(1_000)
            await expect(page.locator("#connection")).to_have_attribute("data-state", "live")
            waiting = [task["task_id"] for task in tasks if task not in tasks[10:40]]
            # The cancelled task is listed under the day of its end.
            kept = [*waiting[:5:-1], *waiting[4::-1], waiting[5]]
            assert await scroll_through(page) == kept
            await expect(page.locator(".row[data-stage=cancelled]")).to_have_count(1)
            await page.get_by_role("searchbox").fill("STRASSE")
            await expect(page.get_by_text("a.example/weg")).to_have_count(0)
            found = [
                name for name in kept if "straße" in next(t["url"] for t in tasks if t["task_id"] == name)
            ]
            assert await scroll_through(page) == found


@pytest.mark.long
async def test_a_live_stream_is_recorded_until_it_is_enough(
    services: Services, media: Path, tmp_path: Path, open_page: OpenPage
) -> None:
    async with (
        open_site(media) as site,
        services.lend() as service,
        open_page(service.url) as page,
    ):
        await page.locator("#choices .more").click()
        await page.get_by_label("直播时录制").check()
        await send(page, site.url("/hls/live/index.m3u8"))
        card = page.locator(".row")
        await card.get_by_role("button", name="停止并保留").click(timeout=30_000)
        await expect(card).to_have_attribute("data-stage", "completed", timeout=30_000)
        await expect(card.get_by_role("button", name="停止并保留")).to_be_hidden()
        await expect(card.get_by_role("link", name="保存视频")).to_be_visible()


async def test_an_event_source_follows_a_task_to_its_end_and_then_rests(
    services: Services, open_page: OpenPage
) -> None:
    async with services.lend() as service, open_page(service.url) as page:
        task_id = (await service.submit("http://127.0.0.1:9/video.mp4", auto_start=False))["task_id"]
        following = asyncio.create_task(
            page.evaluate(
                """(link) => new Promise((done) => {
                    const stages = []
                    const source = new EventSource(link)
                    source.onmessage = ({ data }) => {
                        stages.push(JSON.parse(data).stage)
                        document.documentElement.dataset.told = stages.at(-1)
                    }
                    source.onerror = () => source.readyState === EventSource.CLOSED && done(stages)
                })""",
                f"/api/events/{task_id}",
            )
        )
        await expect(page.locator("html")).to_have_attribute("data-told", "paused")
        async with service.client.post(f"/api/tasks/{task_id}/cancel") as answer:
            assert answer.ok
        assert await following == ["paused", "cancelled"], "closed by the 204 after its reconnect"
