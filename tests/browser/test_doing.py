"""What a reader does: send links, choose, act on tasks, log in; with the mouse and without."""

import asyncio

import pytest
from playwright.async_api import Page, Route, expect

from tests.browser.conftest import OpenPage
from tests.browser.lists import card
from tests.browser.test_tasks import PATIENCE
from tests.fakes.api import FakeApi, open_api

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def send(page: Page, text: str) -> None:
    await page.get_by_label("视频链接，每行一个").fill(text)
    await page.get_by_role("button", name="下载", exact=True).click()


async def test_each_line_becomes_a_task_and_a_wrong_one_stays_with_its_reason(
    api: FakeApi, open_page: OpenPage
) -> None:
    api.refuses["nonsense"] = "链接必须以 http:// 或 https:// 开头"
    async with asyncio.timeout(PATIENCE), open_page(api.url) as page:
        await send(page, "https://a.example/1\n\nnonsense\n看看这个 https://b.example/2，复制打开【App】\n")
        await expect(page.locator(".card")).to_have_count(2)
        sent = [task["url"] for task in api.tasks.values()]
        assert sent == ["https://a.example/1", "https://b.example/2"]  # in the order of the lines
        await expect(page.get_by_label("视频链接，每行一个")).to_have_value("nonsense")
        await expect(page.locator("#problems")).to_contain_text("链接必须以 http:// 或 https:// 开头")
        await send(page, "https://c.example/3")
        await expect(page.locator("#problems")).to_be_hidden()


async def test_enter_sends_and_shift_enter_begins_another_line(api: FakeApi, open_page: OpenPage) -> None:
    async with asyncio.timeout(PATIENCE), open_page(api.url) as page:
        box = page.get_by_label("视频链接，每行一个")
        await expect(box).to_be_focused()  # paste at once, without a click
        await box.press_sequentially("https://a.example/1")
        await box.press("Shift+Enter")
        await box.press_sequentially("https://a.example/2")
        assert not api.tasks
        await box.press("Enter")
        await expect(page.locator(".card")).to_have_count(2)
        await expect(box).to_have_value("")


async def test_links_wait_in_the_box_while_the_server_does_not_answer(open_page: OpenPage) -> None:
    async with asyncio.timeout(PATIENCE), open_api() as api, open_page(api.url) as page:
        await page.context.set_offline(True)
        await send(page, "https://a.example/1\nhttps://a.example/2")
        await expect(page.locator("#problems")).to_contain_text("服务器没有应答")
        box = page.get_by_label("视频链接，每行一个")
        await expect(box).to_have_value("https://a.example/1\nhttps://a.example/2")
        await page.context.set_offline(False)
        await box.press("Enter")
        await expect(page.locator(".card")).to_have_count(2)


async def test_a_link_whose_answer_was_lost_becomes_one_task(api: FakeApi, open_page: OpenPage) -> None:
    async def lose(route: Route) -> None:
        await route.fetch()
        await route.abort()

    async with asyncio.timeout(PATIENCE), open_page(api.url) as page:
        await page.route("**/api/process*", lose, times=1)
        await send(page, "https://a.example/1")
        await expect(page.locator("#problems")).to_contain_text("服务器没有应答")
        box = page.get_by_label("视频链接，每行一个")
        await box.press("Enter")
        await expect(box).to_have_value("")
        assert len(api.tasks) == 1
        await send(page, "https://a.example/1")  # asked for once more, and meant so
        await expect(page.locator(".card")).to_have_count(2)


async def test_who_went_on_while_a_link_was_sent_is_not_called_back(
    api: FakeApi, open_page: OpenPage
) -> None:
    async with asyncio.timeout(PATIENCE), open_page(api.url) as page:
        api.answers.clear()
        async with page.expect_request("**/api/process*"):
            await send(page, "https://a.example/1")
        await page.get_by_role("searchbox").focus()
        api.answers.set()
        await expect(page.get_by_label("视频链接，每行一个")).to_have_value("")
        await expect(page.get_by_role("searchbox")).to_be_focused()


async def test_the_last_choices_are_remembered(api: FakeApi, open_page: OpenPage) -> None:
    async with asyncio.timeout(PATIENCE), open_page(api.url) as page:
        await page.get_by_text("选项").click()
        await page.get_by_label("视频", exact=True).uncheck()
        await page.get_by_label("清晰度").select_option("720")
        await page.get_by_label("音频格式").select_option("opus")
        await page.get_by_label("先添加，不开始").check()
        await send(page, "https://a.example/1")
        await expect(page.locator(".card[data-stage=paused]")).to_have_count(1)
        await page.reload()
        await expect(page.locator("summary")).to_contain_text("音频 · 720p · mp4 · opus")
        await send(page, "https://a.example/2")
        await expect(page.locator(".card")).to_have_count(2)
    first, second = (task["request"] for task in api.tasks.values())
    assert first == {
        "url": "https://a.example/1",
        "outputs": ["audio"],
        "quality": "720",
        "video_format": "mp4",
        "codec": "auto",
        "audio_format": "opus",
        "auto_start": False,
    }
    assert "auto_start" not in second


async def test_nothing_is_sent_without_a_kind_of_file_to_make(api: FakeApi, open_page: OpenPage) -> None:
    async with asyncio.timeout(PATIENCE), open_page(api.url) as page:
        await page.get_by_text("选项").click()
        for kind in ("视频", "音频"):
            await page.get_by_label(kind, exact=True).uncheck()
        await page.get_by_text("选项").click()
        await send(page, "https://a.example/1")
        await expect(page.get_by_text("请至少选择一种文件。")).to_be_visible()
        await expect(page.get_by_label("视频", exact=True)).to_be_focused()
    assert not api.tasks


async def test_a_link_that_another_app_hands_over_waits_in_the_box(api: FakeApi, open_page: OpenPage) -> None:
    async with asyncio.timeout(PATIENCE), open_page(api.url + "?url=https%3A%2F%2Fa.example%2F1") as page:
        await expect(page.get_by_label("视频链接，每行一个")).to_have_value("https://a.example/1")
    assert not api.tasks


async def test_buttons_fit_the_stage(api: FakeApi, open_page: OpenPage) -> None:
    await api.put("a", "download")
    async with asyncio.timeout(PATIENCE), open_page(api.url) as page:
        buttons = card(page, "a").get_by_role("button")
        await expect(buttons).to_have_text(["暂停", "取消", "日志", "删除"])
        await buttons.first.click()
        await expect(buttons).to_have_text(["继续", "优先", "取消", "日志", "删除"])
        await buttons.first.click()
        await expect(card(page, "a")).to_have_attribute("data-stage", "queued")
        await card(page, "a").get_by_role("button", name="取消").click()
        await expect(buttons).to_have_text(["重试", "日志", "删除"])
        await card(page, "a").get_by_role("button", name="重试").click()
        await expect(card(page, "a")).to_have_attribute("data-stage", "queued")
        await api.put("a", "completed")
        await expect(buttons).to_have_text(["重新下载", "日志", "删除"])


async def test_the_button_that_replaces_a_pressed_one_has_the_focus(
    api: FakeApi, open_page: OpenPage
) -> None:
    await api.put("a", "download", video_info={"webpage_url": "https://a.example/"})
    async with asyncio.timeout(PATIENCE), open_page(api.url) as page:
        buttons = card(page, "a").get_by_role("button")
        await buttons.first.focus()
        for stage, name in (("paused", "继续"), ("queued", "暂停"), ("paused", "继续")):
            await page.keyboard.press("Enter")
            await expect(card(page, "a")).to_have_attribute("data-stage", stage)
            await expect(card(page, "a").get_by_role("button", name=name)).to_be_focused()


@pytest.mark.parametrize("button", ["取消", "暂停"])
async def test_the_focus_moves_to_no_other_control_by_itself(
    api: FakeApi, open_page: OpenPage, button: str
) -> None:
    """What is pressed without looking would be another thing than what was meant."""
    await api.put("a", "download", video_info={"webpage_url": "https://a.example/"})
    async with asyncio.timeout(PATIENCE), open_page(api.url) as page:
        await card(page, "a").get_by_role("button", name=button).focus()
        await api.put("a", "completed", files={"video": "/v.mp4"})
        await expect(card(page, "a")).to_be_focused()
        await page.keyboard.press("Enter")
        await page.keyboard.press("Tab")
        await expect(card(page, "a").get_by_role("link", name="a.example")).to_be_focused()
        assert [request for request in api.requests if request.startswith("POST")] == []


async def test_a_pause_that_somebody_else_pressed_leaves_no_button_focused(
    api: FakeApi, open_page: OpenPage
) -> None:
    await api.put("a", "download")
    async with asyncio.timeout(PATIENCE), open_page(api.url) as page:
        await card(page, "a").get_by_role("button", name="暂停").focus()
        await api.put("a", "paused")
        await expect(card(page, "a")).to_be_focused()


async def test_the_highest_priority_keeps_its_button_and_the_focus_on_it(
    api: FakeApi, open_page: OpenPage
) -> None:
    await api.put("a", priority=9)
    async with asyncio.timeout(PATIENCE), open_page(api.url) as page:
        sooner = card(page, "a").get_by_role("button", name="优先")
        await sooner.press("Enter")
        await expect(sooner).to_be_disabled()
        await expect(sooner).to_be_focused()
        await sooner.press("Enter")
        assert len([request for request in api.requests if request.startswith("PATCH")]) == 1


async def test_a_new_attempt_leaves_the_old_files_until_the_new_ones_are_there(
    api: FakeApi, open_page: OpenPage
) -> None:
    old, new = {"video": "/api/download/old.mp4"}, {"video": "/api/download/new.mp4"}
    await api.put("a", "completed", files=old)
    async with asyncio.timeout(PATIENCE), open_page(api.url) as page:
        save = card(page, "a").get_by_role("link", name="保存视频")
        note = card(page, "a").get_by_text("新文件完成之前，原有文件仍可使用。")
        await expect(note).to_be_hidden()
        await card(page, "a").get_by_role("button", name="重新下载").click()
        for stage in ("queued", "download"):
            await api.put("a", stage)
            await expect(card(page, "a")).to_have_attribute("data-stage", stage)
            assert await save.get_attribute("href") == api.url + "api/download/old.mp4"
            await expect(note).to_be_visible()
        await save.focus()
        await api.put("a", "failed", error="下载失败: HTTP 404")
        await expect(note).to_be_hidden()
        await expect(save).to_be_focused()
        await expect(card(page, "a").get_by_role("button", name="重试")).to_be_visible()
        await api.put("a", "completed", files=new)
        await expect(save).to_have_attribute("href", api.url + "api/download/new.mp4")


async def test_a_deletion_asks_first_and_hands_the_keyboard_to_the_next_card(
    api: FakeApi, open_page: OpenPage
) -> None:
    for name in ("b", "a"):
        await api.put(name, "completed")
    async with asyncio.timeout(PATIENCE), open_page(api.url) as page:
        delete = card(page, "a").get_by_role("button", name="删除")
        await delete.press("Enter")
        await page.keyboard.press("Escape")
        assert "a" in api.tasks
        await expect(delete).to_be_focused()
        await delete.press("Enter")
        await page.get_by_role("dialog").get_by_role("button", name="删除").press("Enter")
        await expect(card(page, "a")).to_have_count(0)
        assert list(api.tasks) == ["b"]
        await expect(card(page, "b")).to_be_focused()  # and none of its buttons
        await page.keyboard.press("Tab")
        await expect(card(page, "b").get_by_role("button").first).to_be_focused()


async def test_an_action_that_came_too_late_is_explained_on_the_card(
    api: FakeApi, open_page: OpenPage
) -> None:
    await api.put("a", "download")
    async with asyncio.timeout(PATIENCE), open_page(api.url) as page:
        api.tasks["a"] |= {"stage": "completed", "status": "completed"}  # and nobody was told
        await card(page, "a").get_by_role("button", name="取消").click()
        await expect(card(page, "a").get_by_role("status")).to_have_text("It has ended already.")
        del api.tasks["a"]
        await card(page, "a").get_by_role("button", name="取消").click()
        await expect(card(page, "a")).to_have_count(0)
