"""People on the page: the log-in, one's own account, and the work of admins. A service without people shows
none of this.
"""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import Locator, Page, expect

from tests.browser.conftest import OpenPage
from tests.browser.lists import row
from tests.browser.test_connection import is_live
from tests.fakes.api import FakeApi
from tests.service import Service

pytestmark = pytest.mark.asyncio(loop_scope="session")
TOKEN = "open-sesame-0123456789"
PASSWORD = "correct horse battery"
ENGLISH = {"locale": "en-US"}


async def log_in(page: Page, name: str, password: str) -> None:
    await page.get_by_label("Name").fill(name)
    await page.get_by_label("Password").fill(password)
    await page.keyboard.press("Enter")


async def choose(page: Page, name: str) -> None:
    """Choose an item of the page's menu by the keyboard."""
    await page.get_by_role("button", name="Menu").press("Enter")
    await page.get_by_role("menuitem", name=name, exact=True).press("Enter")


async def open_room(page: Page, name: str) -> Locator:
    await choose(page, "Settings")
    await page.get_by_role("dialog").get_by_role("button", name=name).press("Enter")
    return page.get_by_role("dialog")


async def log_out(page: Page) -> None:
    await choose(page, "Log out")
    await page.locator("#login").wait_for()


@pytest.mark.wide
async def test_a_person_and_an_admin_do_on_the_page_all_that_concerns_people(
    tmp_path: Path, open_page: OpenPage
) -> None:
    """A user logs in, meets a limit, and changes token, log-ins and password; an admin adds and removes a
    person, and sees whose tasks are whose.
    """
    settings = {
        "CLIPWIRE_SERVER__TOKENS": json.dumps([TOKEN]),
        "CLIPWIRE_ACCESS__SEPARATE_LISTS": "true",
    }
    async with (
        Service(tmp_path / "service", **settings) as service,
        open_page(service.url, is_listed=False, **ENGLISH) as page,
    ):

        async def ask(method: str, path: str, body: object = None, token: str = TOKEN) -> Any:
            headers = {"Authorization": f"Bearer {token}"}
            async with service.client.request(method, path, json=body, headers=headers) as answer:
                assert answer.ok, await answer.text()
                return await answer.json() if answer.content_type == "application/json" else None

        annas = (await ask("POST", "/api/people", {"name": "anna"}))["token"]
        roots = (await ask("POST", "/api/people", {"name": "root", "role": "admin"}))["token"]
        await ask("PATCH", "/api/people/anna", {"password": PASSWORD, "limits": {"max_waiting": 1}})
        held = {"auto_start": False}
        hers = await ask("POST", "/api/process", {"url": "http://127.0.0.9:9/annas.mp4", **held}, annas)
        await ask("POST", "/api/process", {"url": "http://127.0.0.9:9/roots.mp4", **held}, roots)
        nobodys = await ask("POST", "/api/process", {"url": "http://127.0.0.9:9/nobodys.mp4", **held})
        followed = {"url": "http://127.0.0.9:9/channel", "enabled": False}
        await ask("POST", "/api/subscriptions", followed, annas)

        await page.reload()
        await log_in(page, "anna", "wrong, all of it")
        await expect(page.get_by_role("alert").filter(has_text="Name or password is wrong")).to_be_visible()
        await log_in(page, "anna", PASSWORD)
        await expect(page.locator(".row")).to_have_count(1)
        # Her own tasks do not name her as their owner.
        await expect(row(page, hers["task_id"])).not_to_contain_text("anna’s")
        await expect(page.locator("#menu")).to_have_attribute("title", "anna")  # the whole page is hers now
        await page.get_by_role("button", name="Menu").click()
        await expect(page.get_by_role("menuitem", name="anna")).to_be_visible()
        await expect(page.get_by_role("menuitem", name="Pause the queue")).to_have_count(0)
        await page.keyboard.press("Escape")
        box, more = (
            page.get_by_role("textbox", name="Link", exact=True),
            "http://127.0.0.9:9/a\nhttp://127.0.0.9:9/b",
        )
        await box.fill(more)
        await page.keyboard.press("Enter")
        await expect(page.locator("#problems")).to_have_text(
            re.compile("^1 of your downloads is waiting[^.]*[.][^.]*[.]$")
        )
        await expect(box).to_have_value(more)

        await choose(page, "anna")
        account = page.get_by_role("dialog", name="anna")
        await expect(account).to_contain_text("Waiting downloads1 of 1")
        await account.get_by_label("What it is for").fill("phone")
        await page.keyboard.press("Escape")  # Escape drops no input
        await expect(account.get_by_label("What it is for")).to_have_value("phone")
        await account.get_by_label("What it is for").focus()
        await page.keyboard.press("Enter")
        await expect(account.get_by_label("New token")).to_be_focused()
        annas_second = await account.get_by_label("New token").input_value()
        assert (await ask("GET", "/api/me", token=annas_second))["name"] == "anna"
        first = account.get_by_role("listitem").filter(has_text="first")
        await first.get_by_role("button", name="Revoke: first").press("Enter")
        await account.locator(".asked").get_by_role("button", name="Revoke").press("Enter")
        await expect(first).to_have_count(0)
        await expect(account.get_by_role("heading", name="anna")).to_be_focused()
        await account.get_by_label("Current password").fill(PASSWORD)
        await account.get_by_label("New password").fill("another horse, another battery")
        await page.keyboard.press("Enter")
        await expect(account.get_by_role("status").filter(has_text="Password set")).to_be_visible()
        await expect(account.get_by_role("listitem").filter(has_text="this browser")).to_have_count(1)
        await page.keyboard.press("Escape")
        await log_out(page)

        await page.get_by_role("button", name="Use an access token").click()
        await page.get_by_label("Access token").fill(roots)
        await page.keyboard.press("Enter")
        await expect(page.locator(".row")).to_have_count(3)
        await expect(row(page, nobodys["task_id"])).not_to_contain_text("’s")
        await expect(row(page, hers["task_id"])).to_contain_text("anna’s")
        await page.get_by_label("Whose downloads to show").select_option("anna")
        await expect(page.locator(".row")).to_have_count(1)
        await expect(page.locator("input[value=waiting] + span .count")).to_have_text("1")
        await page.get_by_label("Whose downloads to show").select_option("Everybody")

        whom = page.get_by_label("For", exact=True)
        await expect(whom.get_by_role("option")).to_have_text(["me", "anna"])
        await whom.select_option("anna")
        await box.fill("http://127.0.0.9:9/for-anna.mp4")
        await page.keyboard.press("Enter")
        refused = page.locator("#problems")
        await expect(refused).to_contain_text("anna: ")  # anna has reached her own limit
        await ask("PATCH", "/api/people/anna", {"limits": {"max_waiting": 2}})
        await page.keyboard.press("Enter")
        made = page.locator(".row").filter(has_text="for-anna")
        await expect(made).to_contain_text("anna’s")
        [task] = (await ask("GET", "/api/tasks?q=for-anna", token=annas_second))["tasks"]
        assert task["created_by"] == "root"
        await whom.select_option("me")
        await box.fill("http://127.0.0.9:9/for-root.mp4")
        await page.keyboard.press("Enter")
        await expect(page.locator(".row").filter(has_text="for-root")).not_to_contain_text("’s")

        await page.get_by_role("button", name="Menu").click()
        await page.get_by_role("menuitem", name="Subscriptions").click()
        await expect(page.get_by_role("dialog").get_by_role("listitem")).to_contain_text("anna’s")
        await page.keyboard.press("Escape")

        people = await open_room(page, "People…")
        await people.get_by_role("button", name="Add a person").press("Enter")
        await people.get_by_label("Name").fill("bob")
        await page.keyboard.press("Enter")
        bobs = await people.get_by_label("New token").input_value()
        assert (await ask("GET", "/api/me", token=bobs))["role"] == "user"
        await people.get_by_label("Role").select_option("Admin")
        await people.get_by_label("Stored files (GB)").fill("1.5")
        await page.keyboard.press("Enter")
        await expect(people.get_by_role("status").filter(has_text="Saved.")).to_be_visible()
        me = await ask("GET", "/api/me", token=bobs)
        assert (me["role"], me["limits"]) == ("admin", {"max_stored_bytes": 1_500_000_000})
        await people.get_by_role("button", name="Assign unowned items…").press("Enter")
        await people.get_by_role("button", name="Assign", exact=True).press("Enter")
        await people.get_by_role("button", name="All people").press("Enter")
        await people.get_by_role("button", name=re.compile("anna")).press("Enter")
        await people.get_by_role("button", name="Remove", exact=True).press("Enter")
        await people.get_by_label("Who gets them").select_option("bob")
        await expect(people.get_by_role("radio", name="Give them to")).to_be_checked()
        await people.locator(".asked").get_by_role("button", name="Remove").press("Enter")
        await expect(people.get_by_role("button", name=re.compile("anna.*being removed"))).to_be_disabled()
        await page.keyboard.press("Escape")
        for task in (hers, nobodys):
            await expect(row(page, task["task_id"])).to_contain_text("bob’s")

        audit = await open_room(page, "Audit log…")
        line = audit.get_by_role("row").filter(has_text="removed a person")
        await expect(line).to_contain_text("anna: give to bob")


async def test_where_nobody_was_added_nothing_of_people_is_asked_for(
    api: FakeApi, open_page: OpenPage
) -> None:
    async with open_page(api.url, **ENGLISH) as page:
        await is_live(page)
        await choose(page, "Settings")
        await expect(page.get_by_role("dialog")).to_contain_text("Default options")
        await expect(page.get_by_role("dialog").get_by_role("button", name="Your account…")).to_have_count(0)
        asked = [
            request for request in api.requests if re.search("/api/(me|people|audit)|people.css", request)
        ]
        assert asked == []


@pytest.mark.wide
async def test_a_thousand_people_are_searched_and_shown_page_by_page(
    api: FakeApi, open_page: OpenPage
) -> None:
    api.people.become("root")
    api.people.add(*(f"person-{number:04}" for number in range(1000)))
    async with open_page(api.url, **ENGLISH) as page:
        await page.locator(".owner").wait_for(state="attached")
        people = await open_room(page, "People…")
        shown = people.locator(".person")
        await expect(shown).to_have_count(100)
        await people.get_by_role("button", name="Show more").click()
        await expect(shown).to_have_count(200)
        await people.get_by_label("Search people").fill("-0777")
        await expect(shown).to_have_count(1)
        await shown.click()
        await expect(people.get_by_role("heading", name="person-0777")).to_be_focused()
        await page.go_back()  # Back, as on a phone, leads to the list of people, which stays open
        await expect(people.locator(".person:focus")).to_have_text(re.compile("person-0777"))


async def test_without_separate_lists_a_row_says_who_else_has_added_it(
    api: FakeApi, open_page: OpenPage
) -> None:
    api.people.become("anna", "user", separate_lists=False)
    await api.put("hers", "paused", created_by="anna")
    await api.put("his", "paused", created_by="bob")
    async with open_page(api.url, **ENGLISH) as page:
        await expect(row(page, "his")).to_contain_text("added by bob")
        await expect(row(page, "hers")).not_to_contain_text("added by")
        await expect(page.locator(".owner")).to_have_count(0)  # only admins see the owner of each task
        await page.get_by_role("button", name="Menu").click()
        await expect(page.get_by_role("menuitem", name="Pause the queue")).to_be_visible()


async def test_the_log_in_leads_to_the_provider_and_says_why_it_let_nobody_in(
    api: FakeApi, open_page: OpenPage
) -> None:
    api.token, api.people.ways = "sesame", ["token", "password", "oidc"]
    link = f"{api.url}?log_in_error=unknown"
    async with open_page(link, is_listed=False, **ENGLISH) as page:
        await expect(page.get_by_role("alert")).to_contain_text("Ask an admin to add you.")
        assert "log_in_error" not in page.url
        way = page.get_by_role("link", name="Log in with single sign-on")
        await expect(way).to_be_focused()
        await expect(way).to_have_attribute("href", "api/session/oidc")
        await page.get_by_role("button", name="Use name and password").click()
        await expect(page.get_by_role("alert")).to_be_hidden()
        await log_in(page, "anna", "sesame")
        await is_live(page)
        # This answer does not say how to log in.
        refusal = {"status": 401, "json": {"code": "token_required"}}
        await page.route("**/api/queue/pause?*", lambda route: route.fulfill(**refusal))
        await choose(page, "Pause the queue")
        await expect(page.get_by_label("Name")).to_be_focused()
