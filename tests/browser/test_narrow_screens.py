"""What the page shows on a phone of 320 px, and in rows with little room."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from playwright.async_api import Browser, Locator, expect

from tests.browser.conftest import OpenPage
from tests.browser.lists import row
from tests.browser.test_promises import PHONE
from tests.fakes.api import FakeApi
from tests.pictures.__main__ import seen
from tests.pictures.scenes import SCENES

pytestmark = pytest.mark.asyncio(loop_scope="session")
_NARROW: dict[str, Any] = {**PHONE, "viewport": {"width": 320, "height": 800}, "locale": "en-US"}
_IS_WHOLE = "e => e.scrollHeight <= e.clientHeight && e.scrollWidth <= e.clientWidth"
_BOXES = "elements => elements.map((e) => e.getBoundingClientRect().toJSON())"


async def box(control: Locator) -> dict[str, float]:
    [found] = await control.evaluate_all(_BOXES)
    return dict(found)


@pytest.mark.wide
async def test_rows_of_the_narrowest_screen_say_how_far_and_how_much(
    api: FakeApi, open_page: OpenPage
) -> None:
    bread = {"title": "How to bake sourdough bread at home, from the first day to the last"}
    numbers = {"downloaded_bytes": 850_500_000, "total_bytes": 1_200_000_000, "speed": 12.3e6, "eta": 3741}
    await api.put("comes", "download", progress=57, video_info=bread, **numbers)
    live = {"video_info": {"title": "The launch", "live": True}, "downloaded_bytes": 45_300_000}
    an_hour_ago = (datetime.now(UTC) - timedelta(minutes=71)).isoformat()
    await api.put("live", "download", progress=20, started_at=an_hour_ago, **live)
    async with open_page(api.url, **_NARROW) as page:
        for name, last in (("comes", "1:02:21 left"), ("live", "45.3 MB")):
            facts = row(page, name).locator("[data-part=facts]")
            await expect(facts).to_contain_text(last)
            assert await facts.evaluate(_IS_WHOLE)
        stop = await box(row(page, "live").get_by_role("button", name="Stop and keep"))
        facts_of_live = await box(row(page, "live").locator("[data-part=facts]"))
        assert facts_of_live["bottom"] <= stop["top"] + 1


@pytest.mark.wide
@pytest.mark.parametrize("width", [320, 360])
async def test_why_a_download_has_failed_is_read_whole_on_a_phone(
    api: FakeApi, open_page: OpenPage, width: int
) -> None:
    title = "How to bake sourdough bread at home, from the first day to the last"
    reason = "Download failed: the name resolves to the reserved range 198.18.0.0/15"
    followed = api.subscriptions.add("https://sea.example/", name="A whole channel about the sea")
    failed = {"error_code": "gone", "video_info": {"title": title}}
    for name, origin in (("alone", {}), ("followed", {"subscription_id": followed})):
        await api.put(f"short-{name}", "failed", error="The source asks for a log-in.", **failed, **origin)
        await api.put(f"long-{name}", "failed", error=reason, **failed, **origin)
    phone = _NARROW | {"viewport": {"width": width, "height": 1200}}
    async with open_page(api.url, **phone) as page:
        for name in ("alone", "followed"):
            short, long = row(page, f"short-{name}"), row(page, f"long-{name}")
            assert await short.locator(".line [data-part=facts]").evaluate(_IS_WHOLE)
            if name == "followed":
                named = await box(short.locator(".origin"))
                assert named["bottom"] <= (await box(short.locator(".line")))["bottom"]
                assert named["width"] >= 90
            await long.locator(".title button").click()
            assert await long.locator(".line [data-part=facts]").evaluate(_IS_WHOLE)
            await expect(long.locator(".line [data-part=facts]")).to_have_text(reason, use_inner_text=True)


_BEGINS_OF_LINES = """(all) => all.flatMap((facts) => {
    const [first, ...others] = facts.children
    const words = (fact) => {
        const range = new Range()
        range.selectNodeContents(fact.lastChild)
        return range.getBoundingClientRect().left
    }
    const edge = facts.getBoundingClientRect().left + parseFloat(getComputedStyle(first).paddingLeft)
    const clip = `inset(0px 0px 0px ${getComputedStyle(first).paddingLeft})`
    const begin = others.filter((fact, at) => fact.offsetTop > (others[at - 1] ?? first).offsetTop)
    return begin.map((fact) => getComputedStyle(facts).clipPath === clip && Math.round(words(fact) - edge))
})"""


@pytest.mark.wide
async def test_a_dot_between_facts_is_cut_off_where_a_line_begins(browser: Browser) -> None:
    async with seen(browser, SCENES["list-unfolded"], **PHONE, locale="en-US") as page:
        begins = await page.locator(".row .short-facts").evaluate_all(_BEGINS_OF_LINES)
        assert len(begins) > 2
        assert all(begin is not False and begin == 0 for begin in begins), begins


@pytest.mark.wide
async def test_what_can_be_done_with_an_entry_stands_under_its_text_on_a_phone(browser: Browser) -> None:
    phone = {**PHONE, "locale": "en-US"}
    async with seen(browser, SCENES["list-unfolded"], **phone) as page:
        text = await box(row(page, "gone").locator(".title"))
        assert (await box(row(page, "gone").locator(".primary-act")))["left"] == text["left"]
        await row(page, "gone").focus()
        await page.keyboard.press("Delete")
        await expect(row(page, "gone").get_by_text("Deleted.")).to_be_visible()
        assert (await box(row(page, "gone").get_by_text("Deleted.")))["left"] == text["left"]


@pytest.mark.wide
@pytest.mark.parametrize("name", ["list", "had"])
async def test_no_answer_to_a_link_is_cut_off(browser: Browser, name: str) -> None:
    async with seen(browser, SCENES[name], **_NARROW) as page:
        asks = page.locator("#draft .line")
        await expect(asks.locator("button").last).to_be_visible()
        assert await asks.evaluate("e => e.scrollWidth <= e.clientWidth")


@pytest.mark.wide
async def test_entries_have_their_titles_and_the_buttons_of_the_dialog_stand_within_it(
    browser: Browser,
) -> None:
    async with seen(browser, SCENES["entries"], **_NARROW) as page:
        name = await box(page.locator("#entries .name", has_text="Convergence").first)
        assert name["width"] > 150
        acts = page.locator("#entries .sheet-acts")
        assert await acts.evaluate("e => e.scrollWidth <= e.clientWidth")
        search = page.locator("#entries [type=search]")
        await search.evaluate("e => { e.value = e.placeholder }")
        assert await search.evaluate("e => e.scrollWidth <= e.clientWidth")
        await page.set_viewport_size({"width": 360, "height": 800})  # wide enough for one line
        words, verb = await box(acts.locator("span")), await box(acts.locator("button"))
        assert abs(words["top"] + words["bottom"] - verb["top"] - verb["bottom"]) < 2


@pytest.mark.wide
async def test_controls_stand_apart_and_in_line(browser: Browser) -> None:
    async with seen(browser, SCENES["opened-file"], **_NARROW) as page:
        upper, lower = await page.locator(".file .button").evaluate_all(_BOXES)
        assert lower["top"] - upper["bottom"] >= 4
    async with seen(browser, SCENES["settings"], **_NARROW) as page:
        language, theme = await page.locator("#settings .line select").evaluate_all(_BOXES)
        assert language["left"] == theme["left"]
        follow = await box(page.get_by_role("button", name="Import subscriptions"))
        words = await box(page.locator("#settings [data-part=install]"))
        assert follow["top"] - words["bottom"] >= 4


@pytest.mark.wide
async def test_the_mark_of_the_connection_is_full_in_forced_colours(
    api: FakeApi, open_page: OpenPage
) -> None:
    """On a phone the mark has no words beside it while the connection is good."""
    async with open_page(api.url, forced_colors="active", **_NARROW) as page:
        mark = page.locator("#connection[data-state=live]")
        await expect(mark).to_be_attached()
        colours = "e => [getComputedStyle(e).color, getComputedStyle(e, '::before').backgroundColor]"
        text, filling = await mark.evaluate(colours)
        assert filling == text


_REACH = """(e) => {
    const { left, top, width, height } = e.getBoundingClientRect()
    const x = left + width / 2
    const isHit = (y) => e.contains(document.elementFromPoint(x, y))
    let [above, below] = [top, top + height - 1]
    while (isHit(above - 1)) above -= 1
    while (isHit(below + 1)) below += 1
    return below - above + 1
}"""


async def test_a_rows_subscription_and_what_folds_are_easy_to_hit(browser: Browser) -> None:
    """Both are a line of small text with a large area to press, which does not make the row higher."""
    async with seen(browser, SCENES["rows-of-subscription"], **PHONE, locale="en-US") as page:
        for name in (".origin", ".fold"):
            control = page.locator(name).first
            await control.scroll_into_view_if_needed()
            assert await control.evaluate(_REACH) >= 36
        assert (await box(page.locator(".row .line").first))["height"] == 88


async def test_a_heading_counts_what_is_folded_below_it(browser: Browser) -> None:
    async with seen(browser, SCENES["rows-of-subscription"], **PHONE, locale="en-US") as page:
        today = page.locator(".section", has_text="Today")
        await expect(today.locator(".row")).to_have_count(2)
        await expect(today.locator(".fold")).to_have_text("2 more")
        await expect(today.locator("h2 .count")).to_have_text("4")
        await today.locator(".fold").click()
        await expect(today.locator(".row")).to_have_count(4)
        await expect(today.locator("h2 .count")).to_have_text("4")


_CUT_FACTS = """(all) => all.flatMap((facts) => {
    const { bottom } = facts.getBoundingClientRect()
    const isCut = (box) => box.top < bottom - 1 && box.bottom > bottom + 1
    return [...facts.children].filter((e) => isCut(e.getBoundingClientRect())).map((e) => e.textContent)
})"""


async def test_facts_without_room_go_as_a_whole(browser: Browser) -> None:
    async with seen(browser, SCENES["rows-of-subscription"], **PHONE, locale="en-US") as page:
        facts = page.locator(".row .short-facts")
        assert await facts.count() > 3
        assert await facts.evaluate_all(_CUT_FACTS) == []
        lines = await facts.evaluate_all("all => all.map((e) => getComputedStyle(e).display)")
        assert set(lines) == {"block"}  # no fact is cut with an ellipsis


async def test_the_options_always_in_sight_are_beside_more_and_not_below_their_arrows(
    api: FakeApi, open_page: OpenPage
) -> None:
    async with open_page(api.url, **PHONE, locale="en-US") as page:
        more = await box(page.locator("#choices .more"))
        for select in await page.locator(".three select").all():
            assert await select.evaluate("e => getComputedStyle(e).textOverflow") == "ellipsis"
            around = await box(select)
            assert around["top"] <= more["top"] + 4 <= around["bottom"]
            assert around["width"] >= 120  # wide enough for the words and the arrow


async def test_the_dates_of_a_subscriptions_entries_stand_in_one_column(browser: Browser) -> None:
    """Also where the state is a sentence."""
    look: dict[str, Any] = {"viewport": {"width": 1280, "height": 900}, "locale": "en-US"}
    async with seen(browser, SCENES["subscription"], **look) as page:
        ends = await page.locator(".follow-items .facts:not(:empty)").evaluate_all(
            "all => all.map((facts) => facts.getBoundingClientRect().right)"
        )
        assert len(ends) > 10
        assert max(ends) - min(ends) < 1


async def test_the_state_of_an_entry_without_other_facts_stands_under_its_title(browser: Browser) -> None:
    """A Chinese word of one character would fit beside the title."""
    async with seen(browser, SCENES["subscription"], **PHONE, locale="zh-CN") as page:
        entries = page.locator(".follow-items li")
        await entries.locator(".facts").evaluate_all("all => all.forEach((facts) => facts.replaceChildren())")
        assert await entries.count() > 2
        for entry in (await entries.all())[:3]:
            title = await box(entry.locator(".tick"))
            assert (await box(entry.locator(".state")))["top"] >= title["bottom"] - 1


async def test_what_only_a_keyboard_needs_is_not_in_a_phones_menu(api: FakeApi, open_page: OpenPage) -> None:
    async with open_page(api.url, **_NARROW) as page:
        await page.locator("#menu").tap()
        await expect(page.get_by_role("menuitem", name="Settings")).to_be_visible()
        await expect(page.get_by_role("menuitem", name="Keys")).to_have_count(0)
        add = page.get_by_role("button", name="Add from other pages")
        assert (await box(add))["right"] <= 320 - 16
