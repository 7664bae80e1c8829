"""Languages, sizes of the window and path prefixes; and texts of strangers stay texts."""

import pytest
from playwright.async_api import expect

from tests.browser.conftest import OpenPage
from tests.browser.lists import choose, row
from tests.fakes.api import FakeApi, open_api

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.long]
EVIL = '<img src=x onerror="document.title=1"><b>bold</b>'


@pytest.mark.parametrize(
    ("locale", "empty"), [("zh-CN", "粘贴视频"), ("en-GB", "Paste a link to"), ("fr-FR", "Paste a link to")]
)
async def test_the_browser_chooses_the_language(
    api: FakeApi, open_page: OpenPage, locale: str, empty: str
) -> None:
    async with open_page(api.url, locale=locale) as page:
        await expect(page.get_by_text(empty)).to_be_visible()


async def test_the_switch_changes_all_words_those_of_the_server_too_and_is_remembered(
    api: FakeApi, open_page: OpenPage
) -> None:
    await api.put("a", "download")
    async with open_page(api.url) as page:
        await expect(row(page, "a")).to_contain_text("正在下载视频...")
        await page.get_by_role("button", name="菜单").click()
        await page.get_by_role("menuitem", name="设置").click()
        await page.get_by_role("combobox", name="语言").select_option("en")
        await page.get_by_role("button", name="Close").click()
        await expect(row(page, "a")).to_contain_text("Downloading video...")
        await expect(row(page, "a").get_by_role("button", name="Pause")).to_be_visible()
        await expect(page).to_have_title("1 in progress – Clipwire")
        await api.put("a", "convert")
        # Messages over the socket have the language, too.
        await expect(row(page, "a")).to_contain_text("Converting...")
        await page.reload()
        await expect(row(page, "a")).to_contain_text("Converting...")
        await expect(page.locator("html")).to_have_attribute("lang", "en")


async def test_a_title_is_text_and_a_link_is_a_link_only_if_it_is_http(
    api: FakeApi, open_page: OpenPage
) -> None:
    info = {"title": EVIL, "uploader": EVIL, "webpage_url": "javascript:alert(1)"}
    files = {"video": "javascript:alert(1)", "audio": "/api/download/audio_x.mp3"}
    await api.put("a", "completed", video_info=info, files=files, error=EVIL, hint=EVIL)
    async with open_page(api.url) as page:
        await expect(row(page, "a").get_by_role("heading")).to_have_text(EVIL)
        await choose(page, "a", "日志")
        links = await row(page, "a").locator("a[href]").evaluate_all("links => links.map((a) => a.href)")
        assert set(links) == {"https://videos.example/watch?v=1", api.url + "api/download/audio_x.mp3"}
        await expect(row(page, "a").locator("pre")).to_contain_text("<b>not bold</b>")
        await expect(row(page, "a").get_by_text(EVIL)).not_to_have_count(0)
        assert await page.locator("img[src=x], b").count() == 0


@pytest.mark.parametrize("locale", ["zh-CN", "en-US"])
async def test_a_phone_shows_all_without_scrolling_sideways(
    api: FakeApi, open_page: OpenPage, locale: str
) -> None:
    files = {kind: f"/api/download/{kind}_x.mp4" for kind in ("video", "audio", "thumbnail", "subtitle.de")}
    info = {kind: {"size": 158_008_374, "type": "video/mp4"} for kind in files}
    await api.put("a", "completed", files=files, file_info=info, url="https://a.example/" + "x" * 300)
    await api.put("b", "failed", error="e" * 200, hint="提示" * 80)
    await api.put("c", "download", video_info={"title": "面包" * 60, "uploader": "u" * 120}, speed=1.0, eta=1)
    size = {"width": 360, "height": 740}
    async with open_page(api.url, locale=locale, viewport=size) as page:
        await page.locator("#choices .more").click()
        await page.locator("textarea").fill("https://a.example/" + "y" * 400)
        await page.locator("#tasks").evaluate("list => list.scrollIntoView()")
        # Scrolls upwards from the bottom, where the last row surely is in the document.
        for name in ("c", "b", "a"):
            await row(page, name).get_by_role("heading").click()
        await expect(row(page, "a").locator("dl")).to_be_visible()
        over = await page.evaluate(
            """() => [...document.querySelectorAll("body *")]
                .filter((e) => e.checkVisibility() && e.getBoundingClientRect().right > innerWidth + 1)
                .map((e) => e.outerHTML.slice(0, 80))"""
        )
        assert over == []
        assert await page.evaluate("document.documentElement.scrollWidth <= innerWidth")


@pytest.mark.parametrize("width", [320, 360, 1280])
async def test_the_button_covers_no_link_however_many_there_are(
    api: FakeApi, open_page: OpenPage, width: int
) -> None:
    async with (
        open_page(api.url, viewport={"width": width, "height": 740}) as page,
    ):
        for count in (2, 3, 12):  # one link alone has its button in its own row
            links = [f"https://a.example/{n}/{'x' * 100}" for n in range(count)]
            await page.locator("textarea").fill("\n".join(links))
            box = await page.locator("textarea").bounding_box()
            button = await page.locator(".entry [data-part=go]").bounding_box()
            assert box
            assert button
            assert box["x"] + box["width"] <= button["x"]
            assert button["x"] + button["width"] <= width


@pytest.mark.parametrize("size", [(360, 740), (844, 390)], ids=["upright", "on its side"])
async def test_no_field_is_so_small_that_a_phone_zooms_into_it(
    api: FakeApi, open_page: OpenPage, size: tuple[int, int]
) -> None:
    phone = {"viewport": {"width": size[0], "height": size[1]}, "has_touch": True, "is_mobile": True}
    async with open_page(api.url, **phone) as page:
        small = await page.evaluate(
            """() => [...document.querySelectorAll("input, select, textarea")]
                .filter((field) => !["checkbox", "radio"].includes(field.type))
                .filter((field) => parseFloat(getComputedStyle(field).fontSize) < 16)
                .map((field) => field.outerHTML.slice(0, 80))"""
        )
        assert small == []


async def test_every_link_leads_somewhere(api: FakeApi, open_page: OpenPage) -> None:
    await api.put("a", "completed", files={"video": "/api/download/a.mp4"})
    async with open_page(api.url) as page:
        await expect(row(page, "a")).to_be_visible()
        assert await page.locator("a:not([href])").count() == 0
        assert await page.locator("a[href='']").count() == 0


async def test_the_page_lives_under_a_prefix(open_page: OpenPage) -> None:
    async with open_api("/tools/clipwire") as api, open_page(api.url) as page:
        await api.put("a", "completed", files={"video": "/tools/clipwire/api/download/video_x.mp4"})
        await expect(page.locator("#connection")).to_have_attribute("data-state", "live")
        save = row(page, "a").get_by_role("link", name="保存视频")
        assert await save.evaluate("link => link.href") == api.url + "api/download/video_x.mp4"
        assert {request.split()[1].startswith("/tools/clipwire/") for request in api.requests} == {True}


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_quiet_text_is_legible(api: FakeApi, open_page: OpenPage, scheme: str) -> None:
    """WCAG AA demands a contrast of 4.5 to 1, also for the least important words."""
    await api.put("a", "failed", error="e", hint="h")
    await api.put("b", "completed", files={"video": "/v.mp4"})
    async with open_page(api.url, color_scheme=scheme) as page:
        await row(page, "a").get_by_role("heading").click()
        await expect(row(page, "a").locator(".details")).to_be_visible()
        ratios = await page.evaluate(
            """() => {
                const channels = (text) => text.match(/[\\d.]+/g).map(Number)
                const light = (text) => {
                    const [r, g, b] = channels(text).map((c) => ((c / 255 + 0.055) / 1.055) ** 2.4)
                    return 0.2126 * r + 0.7152 * g + 0.0722 * b
                }
                const behind = (e) => {
                    const color = getComputedStyle(e).backgroundColor
                    return color.endsWith(", 0)") ? behind(e.parentElement) : color
                }
                const texts = document.querySelectorAll(
                    ".facts, .title bdi, .act span, h2 *, dd, dt, .hint, .head p, .chips span, .primary"
                )
                return [...texts].filter((e) => e.checkVisibility() && e.textContent).map((e) => {
                    const [a, b] = [light(getComputedStyle(e).color), light(behind(e))].sort((x, y) => y - x)
                    return [(a + 0.05) / (b + 0.05), e.className || e.tagName]
                })
            }"""
        )
        assert len(ratios) > 20
        assert [pair for pair in ratios if pair[0] < 4.5] == []
