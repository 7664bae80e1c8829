"""The player: it plays films with subtitles and sound with a cover, and becomes small while the list is
used.
"""

from pathlib import Path

import pytest
from playwright.async_api import expect

from tests.browser.conftest import OpenPage
from tests.browser.lists import choose, row
from tests.browser.test_service import PLAYS, send
from tests.fakes.api import FakeApi
from tests.service import Service, Services
from tests.site import open_site, probe

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.long]
ENDS = "(video) => video.ended || new Promise((done) => (video.onended = () => done(true)))"
_LINES = "video => [...video.textTracks].map((track) => [track.language, track.mode])"


async def test_a_film_is_played_with_subtitles_and_its_sound_goes_on_in_the_corner(
    services: Services, media: Path, open_page: OpenPage
) -> None:
    async with (
        open_site(media) as site,
        services.lend() as service,
        open_page(service.url) as page,
    ):
        link = site.url(
            "/page?kind=video&src=/video.mp4&title=Bread&track=/texts/words.vtt&thumbnail=/thumbnail.jpg"
        )
        task = await service.submit(link, outputs=["video", "audio", "subtitles"])
        await service.wait(task["task_id"])
        card, player = row(page, task["task_id"]), page.get_by_role("dialog", name="Bread")
        await card.get_by_role("button", name="播放").click()
        assert await player.locator("video").evaluate(PLAYS) > 0
        await page.wait_for_function("document.querySelector('video').textTracks[0]?.cues.length > 0")
        assert await player.locator("video").evaluate(_LINES) == [["en", "showing"]]
        await expect(player.get_by_role("button", name="发送到…")).to_be_visible()
        await player.get_by_role("radio", name="音频").check()
        assert await player.locator("audio").evaluate(PLAYS) > 0
        await expect(player.locator("img")).to_be_visible()
        small = player.get_by_role("button", name="小窗播放")
        await small.click()
        await expect(small).to_be_focused()
        assert await player.locator("audio").evaluate(PLAYS) > 0
        await choose(page, task["task_id"], "日志")  # a menu of the list is used while the player plays
        await expect(player.locator("audio")).to_be_visible()
        await small.focus()
        await page.keyboard.press("Escape")
        await expect(page.locator("audio")).to_have_count(0)


async def test_an_address_that_names_a_task_opens_its_film_once(
    services: Services, media: Path, open_page: OpenPage
) -> None:
    async with open_site(media) as site, services.lend() as service:
        task = await service.submit(site.url("/video.mp4"), outputs=["video"])
        await service.wait(task["task_id"])
        async with open_page(f"{service.url}/?show=done&play={task['task_id']}") as page:
            await expect(page.locator("#player video")).to_be_visible()
            assert page.url == f"{service.url}/?show=done"
            await page.reload()
            await expect(row(page, task["task_id"])).to_be_visible()
            await expect(page.locator("#player")).to_be_hidden()
        async with open_page(f"{service.url}/?play=nothing") as page:
            await expect(row(page, task["task_id"])).to_be_visible()
            await expect(page.locator("#player")).to_be_hidden()


async def test_a_film_is_watched_in_the_player_while_it_comes(
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
        await expect(row(page, task_id)).to_have_attribute("data-stage", "download")
        await choose(page, task_id, "播放")
        player = page.get_by_role("dialog")
        video = player.locator("video")
        assert await video.evaluate(PLAYS) > 0
        assert f"/api/tasks/{task_id}/stream?" in str(await video.evaluate("video => video.currentSrc"))
        assert (await service.status(task_id))["stage"] == "download"
        await expect(
            player.get_by_role("button", name="发送到…")
        ).to_be_hidden()  # there is no finished file to send yet
        site.release()
        await service.wait(task_id)
        await video.evaluate(
            f"video => {{ video.currentTime = video.buffered.end(0) - 0.1; return ({ENDS})(video) }}"
        )
        assert await video.evaluate("video => video.error") is None


async def test_behind_a_log_in_files_are_played_saved_and_handed_on(
    media: Path, tmp_path: Path, open_page: OpenPage
) -> None:
    token = "open-sesame-0123456789"
    async with (
        open_site(media) as site,
        Service(tmp_path / "service", CLIPWIRE_SERVER__TOKENS=f'["{token}"]') as service,
        open_page(service.url, is_listed=False, permissions=["clipboard-read", "clipboard-write"]) as page,
    ):
        await page.get_by_label("访问令牌").fill(token)
        await page.keyboard.press("Enter")
        await send(page, site.url("/page?src=/video.mp4&title=Bread"))
        card = page.locator(".row[data-stage=completed]")
        await card.get_by_role("button", name="播放").click(timeout=30_000)
        player = page.get_by_role("dialog", name="Bread")
        assert await player.locator("video").evaluate(PLAYS) > 0
        async with page.expect_download() as download:
            await player.get_by_role("button", name="发送到…").click()
            sending = page.get_by_role("dialog", name="发送到…")
            await sending.get_by_text("本设备").click()
            await sending.get_by_role("link", name="保存视频").click()
        await (await download.value).save_as(tmp_path / "saved.mp4")
        assert sorted((await probe(tmp_path / "saved.mp4")).codecs) == ["aac", "h264"]
        await sending.get_by_role("button", name="复制链接").click()
        await expect(sending).to_contain_text("链接已复制")
        link = await page.evaluate("navigator.clipboard.readText()")
        code = f"{service.url}/api/tasks/{await card.get_attribute('data-id')}/files/video/qr.svg"
        for address in (link, code):
            assert (await page.request.get(address)).status == 200
            assert (await service.client.get(address)).status == 401


async def test_what_cannot_be_watched_yet_says_so(api: FakeApi, open_page: OpenPage) -> None:
    await api.put("a", "download")
    async with open_page(api.url) as page:
        await page.route("**/stream*", lambda route: route.fulfill(status=404))
        await choose(page, "a", "播放")
        await expect(page.locator("#news")).to_have_text("现在无法播放。")
        await expect(page.get_by_role("dialog")).to_have_count(0)


async def test_a_file_is_sent_to_a_phone_by_a_code_of_a_link_of_its_own(
    api: FakeApi, open_page: OpenPage
) -> None:
    files = {"video": "/api/download/v.mp4", "audio": "/api/download/a.mp3"}
    types = {"video": {"size": 1, "type": "video/mp4"}, "audio": {"size": 1, "type": "audio/mpeg"}}
    await api.put("a", "completed", files=files, file_info=types, video_info={"title": "Bread"})
    async with open_page(api.url_elsewhere, locale="en-US") as page:
        dialog = page.get_by_role("dialog", name="Send to…")
        await choose(page, "a", "Send to…")
        await expect(dialog).to_contain_text("/links/a.video/signature")
        await expect(dialog).to_contain_text("without a log-in")
        await page.wait_for_function("document.querySelector('#send img').naturalWidth > 0")
        await page.keyboard.press("Escape")
        await expect(page.locator("#send img")).to_have_count(0)
        await row(page, "a").get_by_role("button", name="Play").click()
        player = page.get_by_role("dialog", name="Bread")
        await player.get_by_role("radio", name="audio").check()
        await player.get_by_role("button", name="Send to…").click()
        await expect(dialog).to_contain_text("/links/a.audio/signature")
    assert [link.split("/")[-2] for link in api.links] == ["a.video", "a.audio"]


async def test_an_opened_row_lists_the_links_to_its_files_and_revokes_them(
    api: FakeApi, open_page: OpenPage
) -> None:
    files = {"video": "/api/download/v.mp4", "audio": "/api/download/a.mp3"}
    await api.put("a", "completed", files=files)
    async with open_page(api.url_elsewhere, locale="en-US") as page:
        await row(page, "a").focus()
        await page.keyboard.press("Enter")
        links = row(page, "a").locator(".open-links")
        await links.wait_for(state="attached")
        await expect(links).to_be_hidden()  # the task has no links
        await choose(page, "a", "Send to…")
        dialog = page.get_by_role("dialog", name="Send to…")
        await expect(dialog).to_contain_text("/links/a.video/signature")
        await dialog.get_by_role("combobox").select_option("audio")
        await expect(dialog).to_contain_text("/links/a.audio/signature")
        await page.keyboard.press("Escape")
        await expect(links.get_by_role("listitem")).to_contain_text(["video", "audio"])
        await links.get_by_role("button", name="Revoke: video").press("Enter")
        await expect(links.get_by_role("button", name="Revoke: audio")).to_be_focused()
        await page.keyboard.press("Enter")
        await expect(links).to_be_hidden()
        await expect(row(page, "a").locator(".file").get_by_role("link", name="Save video")).to_be_focused()
    assert not api.open_links


async def test_the_last_place_that_a_file_was_sent_to_is_offered_first(
    api: FakeApi, open_page: OpenPage
) -> None:
    api.has_library = True
    await api.put("a", "completed", files={"video": "/api/download/v.mp4"})
    async with open_page(api.url, locale="en-US") as page:
        dialog = page.get_by_role("dialog", name="Send to…")
        await choose(page, "a", "Send to…")
        await expect(dialog).to_contain_text("works on this computer only")
        await dialog.get_by_text("Library or podcast").click()
        await dialog.get_by_label("Add to the library as").select_option("podcast")
        await dialog.get_by_role("button", name="Add", exact=True).click()
        await dialog.get_by_text("This device").click()
        await expect(dialog.get_by_role("link", name="Save video")).to_be_visible()
        await page.keyboard.press("Escape")
        await row(page, "a").focus()
        await page.keyboard.press("e")
        await expect(dialog.get_by_role("radio", name="This device")).to_be_checked()
        await expect(dialog.get_by_role("link", name="Save video")).to_be_visible()
    assert api.placed == [("a", {"library": {"layout": "podcast"}})]
    assert api.links == []  # no public link is made, since nobody could use it
