"""The scenes: tasks in every stage, and what a reader does to bring the page into a state."""

import asyncio
import re
import struct
import zlib
from base64 import b64encode
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from playwright.async_api import Page, expect

from tests.fakes.api import FakeApi
from tests.fakes.subscriptions import entries

TITLES = (
    "How to bake sourdough bread at home, from the first day of the starter to the last loaf",
    "面包的做法：从酵母到烤箱，一步一步教你做出好吃的面包",
    "Deep sea dive, 4K",
    "Lecture 12: Convergence in distribution",
    "城市夜景延时摄影",
)
_DAYS_AGO = (0, 0, 0, 0, 1, 1, 3, 40, 41, 80, 400)
_FILM = "https://films.example/bread"
_LIST = "https://films.example/channel"


@dataclass(frozen=True, slots=True)
class Scene:
    """A state of the page. `prepare` runs before the page is opened, `act` afterwards."""

    prepare: Callable[[FakeApi], Awaitable[None]]
    act: Callable[[Page, FakeApi], Awaitable[None]] | None = None
    is_elsewhere: bool = False  # the page seems to come from another machine


async def nothing(api: FakeApi) -> None:
    """Prepare an empty list."""


async def everything(api: FakeApi) -> None:
    """Prepare at least one task in each stage."""
    for number, days in enumerate(_DAYS_AGO):
        await api.put(f"done{number}", "completed", **_finished(number, days), **_pictured(api, number))
    await api.put("missing", "failed", completed_at=_ago(minutes=20), url="https://films.example/76979871",
                  error="Download failed: HTTP 404", hint="Check the link.")  # fmt: skip
    await api.put("members", "failed", completed_at=_ago(minutes=30), video_info={"title": "Members only"},
                  error="The source asks for a log-in.", hint="Store the cookies of an account.",
                  error_code="login_required", remedies=["use_cookies"])  # fmt: skip
    await api.put("cancelled", "cancelled", completed_at=_ago(minutes=40), error="Cancelled",
                  video_info={"title": TITLES[2]})  # fmt: skip
    for number in range(2):
        await api.put(f"waits{number}", url=f"https://films.example/watch/{number}")
    await api.put("announced", waiting="not_live_yet", not_before="2031-07-05T12:00:00Z",
                  video_info={"title": "The launch, live"})  # fmt: skip
    await api.put(
        "paused", "paused", progress=40, video_info={"title": TITLES[3]}, downloaded_bytes=99_000_000
    )
    await api.put("loading", "download", progress=45, video_info={"title": TITLES[0]}, speed=3.14e6, eta=81,
                  downloaded_bytes=12_300_000, total_bytes=40_000_000)  # fmt: skip
    await api.put("unknown", "download", progress=20, video_info={"title": TITLES[1]}, speed=3.14e6,
                  downloaded_bytes=12_300_000)  # fmt: skip
    await api.put("converting", "convert", progress=95, video_info={"title": TITLES[4]})
    await api.put("looking", "info", progress=10, url="https://films.example/watch/9")


async def finished(api: FakeApi) -> None:
    """Prepare finished tasks only, as many as fit on a phone."""
    for number in range(4):
        await api.put(f"done{number}", "completed", **_finished(number, 0), **_pictured(api, number))


async def listed(api: FakeApi) -> None:
    """Prepare a list that runs, with entries in every stage; a recording; and a failure without remedies."""
    counts = {"total": 6, "completed": 2, "failed": 2}
    title = {"title": "A whole channel about bread"}
    await api.put("list", "download", progress=46, entries=counts, url=_LIST, video_info=title)
    of_list = {"playlist_id": "list"}
    for number in range(2):
        about = _finished(number, 0) | _pictured(api, number) | of_list
        await api.put(f"done{number}", "completed", **about)
    failed = of_list | {"completed_at": _ago(minutes=3)}
    gone = {"url": f"{_LIST}/3", "error": "Download failed: HTTP 404", "error_code": "http_404"}
    await api.put("gone", "failed", **gone, **failed)
    locked = {"error": "The source asks for a log-in.", "error_code": "login_required"}
    remedies = ["use_cookies"]
    await api.put("locked", "failed", video_info={"title": TITLES[3]}, remedies=remedies, **locked, **failed)
    loading = {"downloaded_bytes": 12_300_000, "total_bytes": 40_000_000, "speed": 3.14e6, "eta": 81}
    await api.put("comes", "download", progress=45, video_info={"title": TITLES[0]}, **loading, **of_list)
    await api.put("waits", url=f"{_LIST}/6", **of_list)
    live = {"video_info": {"title": "The launch, live", "live": True}, "downloaded_bytes": 45_300_000}
    await api.put("recorded", "download", progress=20, started_at=_ago(minutes=12, seconds=34), **live)
    drm = {"error": "The video is encrypted (DRM).", "error_code": "drm_protected"}
    hint = "Clipwire does not break encryption."
    await api.put(
        "drm", "failed", completed_at=_ago(minutes=9), video_info={"title": TITLES[2]}, hint=hint, **drm
    )


async def odd(api: FakeApi) -> None:
    """Prepare tasks with odd titles."""
    titles = (
        "x" * 10_000,
        "word " * 2_000,
        "\u202eevil\u202c \u05e9\u05dc\u05d5\u05dd (1080p) 12 - \u0645\u0631\u062d\u0628\u0627",
        "\u200b\u200b\u2060",
        "\U0001f468\u200d\U0001f469\u200d\U0001f467\u200d\U0001f466 " * 40,
        "Z\u0351\u036b\u0343\u036a\u0302\u036b\u033d\u034f\u0334\u0319\u0324\u031e\u0349\u035a\u032f" * 8,
    )
    for number, title in enumerate(titles):
        about = _finished(number, 0) | {
            "video_info": {"title": title, "uploader": title[:300], "duration": 60}
        }
        await api.put(f"odd{number}", "completed", **about)
    url = "https://films.example/" + "error/failed/" * 40
    failed = {"error": "A sentence that never ends, " * 40, "hint": "y" * 500, "error_code": "http_404"}
    await api.put("broken", "failed", url=url, completed_at=_ago(minutes=2), **failed)


async def long_list(api: FakeApi) -> None:
    """Prepare one list with 300 entries."""
    counts = {"total": 300, "completed": 280, "failed": 20}
    title = {"title": "A whole channel about bread"}
    await api.put(
        "list", "completed", entries=counts, url=_LIST, video_info=title, completed_at=_ago(minutes=1)
    )
    for number in range(300):
        about = _finished(number, 0) | {"playlist_id": "list"}
        await api.put(f"entry{number}", "completed" if number % 15 else "failed", **about)


async def many(api: FakeApi) -> None:
    """Prepare hundreds of running tasks."""
    loading = {"downloaded_bytes": 5_000_000, "total_bytes": 9_000_000, "speed": 1e6, "eta": 4}
    await api.put_many(500, "download", progress=60, video_info={"title": TITLES[0]}, **loading)


async def one(api: FakeApi) -> None:
    """Prepare a single task, which is in sight on every screen."""
    await api.put("done0", "completed", **_finished(0, 0), **_pictured(api, 0))
    for kind in ("video", "audio"):
        name = f"done0.{kind}"
        api.open_links[name] = {"id": name, "url": name, "kind": kind, "expires_at": "2031-07-05T12:10:00Z"}


async def _locked(api: FakeApi) -> None:
    api.token = "sesame"


async def _queue_paused(api: FakeApi) -> None:
    await everything(api)
    api.is_paused = True


async def _wrong_token(page: Page, _: FakeApi) -> None:
    await page.locator("#token").fill("open")
    await page.keyboard.press("Enter")
    await page.locator("#login-problem:not(:empty)").wait_for()


async def _opened(page: Page, _: FakeApi) -> None:
    await page.evaluate("scrollTo(0, innerHeight)")  # scrolls, because only rows in sight are in the document
    await page.locator(".row[data-id=members] [data-action=open]").click()
    await page.locator(".row[data-id=members] .log summary").click()


async def _unfolded(page: Page, _: FakeApi) -> None:
    await page.locator(".row[data-id=list] [data-action=open]").click()
    await page.locator(".row[data-id=comes]").wait_for()


async def _unfolded_long(page: Page, _: FakeApi) -> None:
    await page.locator(".row[data-id=list] [data-action=open]").click()
    await page.locator(".row[data-id=entry0]").wait_for()


async def _searched(page: Page, api: FakeApi) -> None:
    await _unfolded_long(page, api)
    await page.locator(".entry-search input").fill("lecture")
    await page.locator(".entry-search span:not(:empty)").wait_for()


async def _opened_odd(page: Page, _: FakeApi) -> None:
    for name in ("odd2", "broken"):
        await page.locator(f".row[data-id={name}] [data-action=open]").click()
        await page.locator(f".row[data-id={name}] .details").wait_for()


async def _had(page: Page, api: FakeApi) -> None:
    task = api.tasks["done0"]
    api.looks[task["url"]] = task["video_info"]
    await _type(page, task["url"])
    await page.locator("#draft .facts", has_text=" · ").wait_for()


async def _placing(page: Page, api: FakeApi) -> None:
    api.has_library = True
    await _opened_file(page, api)
    await page.locator(".placing").wait_for()


async def _opened_file(page: Page, _: FakeApi) -> None:
    await page.locator(".row[data-id=done0] [data-action=open]").click()
    await page.locator(".row[data-id=done0] .file").first.wait_for()
    await page.locator(".row[data-id=done0] .open-links li").first.wait_for()


async def _menu(page: Page, _: FakeApi) -> None:
    await page.locator(".row [data-action=more]").nth(1).click()


async def _deleted(page: Page, _: FakeApi) -> None:
    await page.locator(".row[data-id=unknown]").focus()
    await page.keyboard.press("Delete")


async def _selected(page: Page, _: FakeApi) -> None:
    for name in ("loading", "converting", "paused"):
        await page.locator(f".row[data-id={name}]").focus()
        await page.keyboard.press("x")


async def _due(page: Page, api: FakeApi) -> None:
    await page.locator(".row").first.focus()
    for name in ("x", "y", "z"):
        await api.put(name)
    await page.locator("#due:visible").wait_for()


async def _offline(page: Page, _: FakeApi) -> None:
    await page.context.set_offline(True)
    await page.locator("#offline:not(:empty)").wait_for()


def _line(name: str) -> Callable[[Page, FakeApi], Awaitable[None]]:
    async def seen(page: Page, _: FakeApi) -> None:
        await page.locator(f"#{name}:visible").wait_for()

    return seen


async def _unfold_filter(page: Page) -> None:
    """Unfold the filter, which is folded on a phone."""
    if await page.locator("#find").is_visible():
        await page.locator("#find").click()


async def _nothing_found(page: Page, _: FakeApi) -> None:
    await _unfold_filter(page)
    await page.locator("input[type=search]").fill("zzzz")
    await page.locator(".no-match").wait_for()


async def _hidden(page: Page, _: FakeApi) -> None:
    await _unfold_filter(page)
    await page.locator(".chips label").last.click()
    await _type(page, _FILM)
    await page.keyboard.press("Enter")
    await page.locator("#filtered:visible").wait_for()


async def _looked_at(page: Page, api: FakeApi) -> None:
    formats = [{"format_id": "137", "ext": "mp4", "height": 1080, "filesize": 130_000_000}]
    api.looks[_FILM] = {"title": TITLES[0], "duration": 661, "uploader": "Kitchen", "formats": formats}
    await _type(page, _FILM)
    await page.locator("#draft .facts", has_text="1080p").wait_for()


async def _shelf(page: Page, api: FakeApi) -> None:
    await page.evaluate("""localStorage["clipwire.watched"] = '{"done0": [90, 300], "done2": [454, 454]}'""")
    await page.evaluate("document.documentElement.toggleAttribute('data-finding', true)")
    await page.locator("#filter [value=completed]").check(force=True)
    await page.locator("#as-covers").click()
    await page.locator(".shelf li").first.wait_for()


async def _shelves(api: FakeApi) -> None:
    """Prepare subscriptions with new entries, or with faults that need the reader."""
    await everything(api)
    await _followed(api)
    later = datetime.now(UTC) + timedelta(minutes=1)
    name = next(reversed(api.subscriptions.all))
    for number in range(3):
        await api.put(f"done{number}", "completed", subscription_id=name)
    films = [entry | {"task_id": f"done{n}"} for n, entry in enumerate(entries(3, "fetched", 60))]
    await api.subscriptions.change(name, films)
    quiet = api.subscriptions.add(
        "https://sea.example/", name=TITLES[2], picture="/api/tasks/done1/thumbnail"
    )
    fresh = [entry | {"task_id": "done0"} for entry in entries(1, "fetched", 70)]
    await api.subscriptions.change(quiet, fresh, last_fetched_at=later.strftime("%Y-%m-%dT%H:%M:%SZ"))


async def _folded(page: Page, _: FakeApi) -> None:
    await page.evaluate("document.documentElement.toggleAttribute('data-finding', true)")
    await page.locator("#filter [value=completed]").check(force=True)
    await page.locator(".fold").first.click()
    await page.locator(".fold[aria-expanded=false]").wait_for()


async def _of_subscription(page: Page, api: FakeApi) -> None:
    await _shelf(page, api)
    await page.locator(".shelves label.needs").first.click()
    await page.locator(".shelf-about:visible").wait_for()


async def _options(page: Page, api: FakeApi) -> None:
    await _looked_at(page, api)
    await page.locator("#choices .more").click()


async def _clip(page: Page, api: FakeApi) -> None:
    task = next(task for task in api.tasks.values() if task["stage"] == "completed")
    api.looks[task["url"]] = task["video_info"]
    await _type(page, task["url"])
    await page.locator("#choices .more").click()
    await page.locator("#clip-player").click()
    await page.locator("[data-part=end]").fill("2:05.5")
    await page.keyboard.press("Tab")


async def _clip_taken(page: Page, api: FakeApi) -> None:
    await _clip(page, api)
    await page.locator("[data-part=take]").click()


async def _list(page: Page, api: FakeApi) -> None:
    day = datetime(2026, 3, 1, tzinfo=UTC)
    entries = [{"index": n, "title": TITLES[n % 5], "url": f"{_LIST}/{n}", "duration": 61 * n,
                "published_at": (day - timedelta(days=n)).isoformat(),
                "thumbnail": f"{_LIST}/{n}.jpg"} for n in range(1, 732)]  # fmt: skip
    for n in range(1, 732):
        if n % 7:  # some pictures fail
            picture = b64encode(_slope(96, 54, n * 70)).decode()
            api.entry_pictures[f"{_LIST}/{n}.jpg"] = f"data:image/png;base64,{picture}"
    api.looks[_LIST] = {"title": "A whole channel about bread", "entries": entries, "total_entries": 731}
    await _type(page, _LIST)
    await page.locator("#draft .acts button").nth(1).wait_for()


async def _entries(page: Page, api: FakeApi) -> None:
    await _list(page, api)
    await page.locator("#draft [data-part=verb]").click()
    await page.locator("#entries [data-part=more]").scroll_into_view_if_needed()


async def _refused(page: Page, api: FakeApi) -> None:
    api.refuses["nonsense"] = "The URL must begin with http:// or https://"
    await _type(page, f"{_FILM}\nnonsense\n{_LIST}")
    await page.keyboard.press("Enter")
    await page.locator("#problems .line").wait_for()


async def _keys(page: Page, _: FakeApi) -> None:
    await page.locator("h1").click()
    await page.keyboard.press("?")


async def _settings(page: Page, api: FakeApi) -> None:
    """Prepare all that the settings can show to a reader who is logged in."""
    await page.locator("#token").fill(api.token)
    await page.keyboard.press("Enter")
    await page.locator("#connection[data-state=live]").wait_for(state="attached")
    await page.locator("#menu").click()
    await page.locator("[role=menuitem][data-name=settings]").click()


async def _player(page: Page, _: FakeApi) -> None:
    await page.locator(".row[data-id=done0] [data-action=more]").click()
    await page.locator("[role=menuitem][data-name=play]").click()
    await page.locator("#player[open]").wait_for()


async def _code(page: Page, api: FakeApi) -> None:
    await _player(page, api)
    await page.locator("#player [data-part=send]").click()
    await expect(page.locator("#send img")).to_have_js_property("complete", True)


async def _settings_with_all(page: Page, api: FakeApi) -> None:
    api.usual = {"small": {"quality": "480", "outputs": ["video"]}}
    hosts = {"films": ["films.example"], "old": ["a.example", "b.example", "c.example", "d.example"]}
    api.cookies = [
        {"name": name, "hosts": hosts[name], "count": 4, "expired": 0 if name == "films" else 4,
         "expires_at": "2031-07-05T12:00:00Z"} for name in hosts
    ]  # fmt: skip
    await _settings(page, api)
    await page.locator("#settings li").first.wait_for()


async def _settings_unfolded(page: Page, api: FakeApi) -> None:
    await _settings_with_all(page, api)
    await page.locator("#settings [data-part=defaults] > summary").click()
    await page.locator("#settings [name=audio_format]").select_option("m4a")


async def _peopled(api: FakeApi) -> None:
    """Let the reader be an admin among several people with separate lists."""
    await everything(api)
    limits = {"max_waiting": 10, "max_bytes_per_day": 5 * 10**9, "retention_hours": 48}
    used = {"running": 1, "waiting": 3, "bytes_per_day": 5 * 10**9, "free_in": 5_400}
    api.people.become("root", limits=limits, used=used)
    api.people.add("anna", "bob", "carol", "dave", "erin", "frank", "root")
    api.people.people[-1]["role"] = "admin"
    api.people.people[1] |= {"is_leaving": True}
    api.people.people[0] |= {
        "has_password": True,
        "own_limits": {"max_waiting": 5, "max_stored_bytes": 10**10},
    }
    api.people.tokens.append({"label": "phone", "created_at": _ago(days=3), "expires_at": _ago(days=-80)})
    chrome = "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 Chrome/140.0.0.0 Safari/537.36"
    api.people.sessions = [
        {"id": str(number), "way": "password", "began_at": _ago(days=number), "ends_at": _ago(days=-20),
         "address": "192.0.2.7", "agent": chrome, "is_current": number == 0} for number in range(2)
    ]  # fmt: skip
    task = "6b3f0f4c-6c4f-4a5e-9c5a-0d6c0b8f3a11"
    done = (("log_in", ""), ("person_added", "anna user"), ("log_in_refused", "anna"),
            ("task_deleted", task), ("person_changed_refused", "root"))  # fmt: skip
    api.people.events = [
        {"at": _ago(minutes=number), "who": "root", "what": what, "on": on, "from": "192.0.2.7"}
        for number, (what, on) in enumerate(done * 12)
    ]
    for number, each in enumerate([*api.tasks.values()]):
        await api.put(each["task_id"], each["stage"], owner=("anna", "root", "carol")[number % 3])


async def _owners(page: Page, _: FakeApi) -> None:
    await _unfold_filter(page)
    await page.locator(".owner select").wait_for()
    await page.locator(".for-whom select").select_option("anna")


async def _room(page: Page, number: int) -> None:
    """Open one of the dialogs for people that the settings lead to."""
    await page.locator("#connection[data-state=live]").wait_for(state="attached")
    await page.locator(".owner").wait_for(state="attached")
    await page.locator("#menu").click()
    await page.locator("[role=menuitem][data-name=settings]").click()
    await page.locator("#settings .ways button").nth(number).click()


async def _account(page: Page, _: FakeApi) -> None:
    await _room(page, 0)
    await page.locator("#account [name=label]").fill("laptop")
    await page.keyboard.press("Enter")
    await page.locator("#account .secret").wait_for()
    await page.locator("#account li button").first.click()
    await page.locator("#account .asked").wait_for()


async def _people(page: Page, _: FakeApi) -> None:
    await _room(page, 1)
    await page.locator("#people .fields button").click()
    await page.locator("#people .asked").wait_for()


async def _person(page: Page, _: FakeApi) -> None:
    await _room(page, 1)
    await page.locator(".person[data-name=anna]").click()
    await page.locator("#people .part .fields button").last.click()
    await page.locator("#people .remains").scroll_into_view_if_needed()


async def _audit(page: Page, _: FakeApi) -> None:
    await _room(page, 2)
    await page.locator("#audit td").first.wait_for()


async def _with_password(api: FakeApi) -> None:
    await _locked(api)
    api.people.ways = ["token", "password"]


async def _at_provider(api: FakeApi) -> None:
    await _locked(api)
    api.people.ways = ["token", "password", "oidc"]


async def _refused_there(page: Page, _: FakeApi) -> None:
    await page.goto(page.url + "?log_in_error=unknown")
    await page.locator("#login-problem:not(:empty)").wait_for()


async def _corner(page: Page, api: FakeApi) -> None:
    await _player(page, api)
    await page.locator("#player [data-part=corner]").click()
    await page.locator("#player[data-small]").wait_for()


async def _type(page: Page, text: str) -> None:
    await page.locator("#links").fill(text)


async def _followed(api: FakeApi) -> None:
    """Prepare subscriptions of every kind."""
    subscriptions = api.subscriptions
    subscriptions.add("https://lectures.example/all", name=TITLES[3], items=[
        *entries(40, "fetched"), *entries(300, "known", 41)])  # fmt: skip
    subscriptions.add("https://gone.example/", stage="failing", error_code="no_list",
                      error="There is no list at this link.",
                      hint="Subscribe to the page of a channel, a playlist or a feed.")  # fmt: skip
    subscriptions.add("https://tube.example/c/night", name=TITLES[4], stage="failing", error_code="http_429",
                      error="The site asks for a pause: HTTP 429.", hint="Later it may work.",
                      next_check_at=_ago(hours=-2), items=entries(3, "waiting", reason="retry"))  # fmt: skip
    subscriptions.add("https://tube.example/c/sea", name=TITLES[2], next_check_at=_ago(minutes=5),
                      items=entries(12, "fetched"))  # fmt: skip
    subscriptions.add("https://old.example/feed.xml", name="A feed that rests", enabled=False,
                      items=entries(7, "fetched"))  # fmt: skip
    items = [
        *entries(1, "queued", 1, _title),
        *entries(1, "waiting", 2, _title, reason="not_live_yet", not_before="2031-07-05T12:00:00Z"),
        *entries(12, "waiting", 3, _title, reason="held"),
        *entries(2, "failed", 15, _title, reason="http_404"),
        *entries(6, "fetched", 17, _title, pinned=True),
        *entries(4, "skipped", 23, _title, reason="not_title"),
        *entries(3000, "known", 27, _title),
    ]
    feed = {"name": "bread", "url": f"{api.url}feeds/3f0c9f2ab84d4c1e/bread.xml"}
    await api.put("done0", "completed", **_pictured(api, 0))
    subscriptions.add(
        "https://films.example/channel",
        name="A whole channel about bread",
        feed=feed,
        items=items,
        picture="/api/tasks/done0/thumbnail",
    )


def _title(number: int) -> str:
    return TITLES[number % 5]


async def _subscriptions(page: Page, _: FakeApi) -> None:
    await page.locator("#menu").hover()
    await page.locator("#menu").click()
    await page.locator("[role=menuitem].subscriptions").click()
    await page.locator("#subscriptions .follow-list li").first.wait_for()


async def _subscription(page: Page, api: FakeApi) -> None:
    await _subscriptions(page, api)
    await page.locator(".follow-open", has_text="A whole channel about bread").click()
    await page.locator(".follow-items li").first.wait_for()


async def _ticked(page: Page, api: FakeApi) -> None:
    await _subscription(page, api)
    for number in (3, 5, 17):
        await page.locator(".follow-items input").nth(number).check()


async def _ticked_many(page: Page, api: FakeApi) -> None:
    api.subscriptions.profiles = {"music": {}, "talks": {}}
    await _subscriptions(page, api)
    for number in (0, 1, 3):
        await page.locator(".follow-list input").nth(number).check()
    await page.locator(".follow-bar button").nth(4).wait_for()
    await page.locator(".follow-bar button").nth(3).click()
    await page.locator(".follow-bar select").wait_for()


async def _searched_items(page: Page, api: FakeApi) -> None:
    await _subscription(page, api)
    # Empties the list, so that only entries of the search can be in it.
    await page.locator(".follow-items").evaluate("(list) => list.replaceChildren()")
    await page.locator(".follow-head input").fill("sea")
    await page.locator(".follow-items li").first.wait_for()


async def _failing(page: Page, api: FakeApi) -> None:
    await _subscriptions(page, api)
    await page.locator(".follow-open", has_text=TITLES[4]).click()
    await page.locator(".follow-why").wait_for()


async def _editing_profile(page: Page, api: FakeApi) -> None:
    audio = {"outputs": ["audio"], "audio_format": "mp3"}
    music = {"interval": "6h", "request": audio, "filters": {"min_duration": 90}, "keep": {"last": 50}}
    api.subscriptions.profiles = {"music": music, "talks": {}}
    await _editing(page, api)
    await page.locator("#follow-profile").select_option("music")


async def _editing(page: Page, api: FakeApi) -> None:
    await _subscription(page, api)
    await page.locator(".follow-acts button").nth(2).click()
    await page.locator(".follow-form").wait_for()


async def _editing_library(page: Page, api: FakeApi) -> None:
    library = {"name": "{channel}/{date} {title}", "folder": "YouTube/Talks"}
    await api.subscriptions.change(list(api.subscriptions.all)[-1], library=library)
    await _editing(page, api)
    await page.locator(".follow-form fieldset [role=status]:not(:empty)").scroll_into_view_if_needed()


async def _renewing(page: Page, api: FakeApi) -> None:
    await _subscriptions(page, api)
    await page.locator(".follow-feed button").last.click()
    await page.locator(".follow-ask button").last.scroll_into_view_if_needed()


async def _subscribed(page: Page, api: FakeApi) -> None:
    await _list(page, api)
    await page.locator("#draft .acts").get_by_role("button", name=re.compile("Subscribe|订阅")).click()
    await page.locator("#subscriptions[open] .follow-one").wait_for()
    [name] = api.subscriptions.all
    await api.subscriptions.change(name, entries(43, "known", 1, _title), stage="idle",
                                   name="A whole channel about bread", title="A whole channel about bread",
                                   checked_at=_ago(seconds=2))  # fmt: skip
    await page.locator(".follow-ask:visible").wait_for()
    await page.locator(".follow-items li").first.wait_for()


async def _nothing_followed(page: Page, api: FakeApi) -> None:
    name = api.subscriptions.add("https://films.example/channel")
    await _subscriptions(page, api)
    del api.subscriptions.all[name]
    await page.locator("#subscriptions .lead", has_text="OPML").or_(
        page.locator(".follow-list:empty")).first.wait_for(state="attached")  # fmt: skip


SCENES = {
    "subscriptions": Scene(_followed, _subscriptions),
    "subscriptions-empty": Scene(nothing, _nothing_followed),
    "subscription": Scene(_followed, _subscription),
    "subscription-ticked": Scene(_followed, _ticked),
    "subscriptions-ticked": Scene(_followed, _ticked_many),
    "subscription-searched": Scene(_followed, _searched_items),
    "subscription-profile": Scene(_followed, _editing_profile),
    "subscription-failing": Scene(_followed, _failing),
    "subscription-edited": Scene(_followed, _editing),
    "subscription-library": Scene(_followed, _editing_library),
    "feeds-renewed": Scene(_followed, _renewing),
    "subscribed": Scene(nothing, _subscribed),
    "all": Scene(everything),
    "empty": Scene(nothing),
    "many": Scene(many),
    "opened": Scene(everything, _opened),
    "opened-file": Scene(one, _opened_file),
    "opened-placing": Scene(one, _placing),
    "list-folded": Scene(listed),
    "list-unfolded": Scene(listed, _unfolded),
    "list-long": Scene(long_list, _unfolded_long),
    "list-searched": Scene(long_list, _searched),
    "odd": Scene(odd),
    "odd-opened": Scene(odd, _opened_odd),
    "had": Scene(one, _had),
    "menu": Scene(everything, _menu),
    "deleted": Scene(everything, _deleted),
    "selected": Scene(everything, _selected),
    "due": Scene(everything, _due),
    "offline": Scene(everything, _offline),
    "queue-paused": Scene(_queue_paused, _line("paused")),
    "nothing-found": Scene(everything, _nothing_found),
    "hidden-by-filter": Scene(everything, _hidden),
    "looked-at": Scene(everything, _looked_at),
    "options": Scene(everything, _options),
    "rows-of-subscription": Scene(_shelves, _folded),
    "shelf": Scene(_shelves, _shelf),
    "shelf-subscription": Scene(_shelves, _of_subscription),
    "clip": Scene(everything, _clip),
    "clip-taken": Scene(everything, _clip_taken),
    "list": Scene(everything, _list),
    "entries": Scene(everything, _entries),
    "refused": Scene(everything, _refused),
    "keys": Scene(everything, _keys),
    "settings": Scene(_locked, _settings),
    "player": Scene(one, _player, is_elsewhere=True),
    "code": Scene(one, _code, is_elsewhere=True),
    "settings-with-all": Scene(_locked, _settings_with_all),
    "settings-defaults": Scene(_locked, _settings_unfolded),
    "corner": Scene(finished, _corner),
    "owners": Scene(_peopled, _owners),
    "account": Scene(_peopled, _account),
    "people": Scene(_peopled, _people),
    "person": Scene(_peopled, _person),
    "audit": Scene(_peopled, _audit),
    "log-in-password": Scene(_with_password),
    "log-in-oidc": Scene(_at_provider, _refused_there),
    "log-in": Scene(_locked),
    "wrong-token": Scene(_locked, _wrong_token),
}


def _finished(number: int, days: int) -> dict[str, Any]:
    kinds = {"video": ("mp4", 158_008_374, "video/mp4"), "audio": ("mp3", 7_900_000, "audio/mpeg")}
    return {
        "progress": 100,
        "completed_at": _ago(days=days, minutes=5),
        "video_info": {"title": TITLES[number % 5], "uploader": "厨房 Kitchen", "duration": 300 + number * 77,
                       "height": 1080},
        "files": {kind: f"/api/download/{kind}_{number}.{ending}" for kind, (ending, _, _) in kinds.items()},
        "file_info": {kind: {"size": size, "type": type_} for kind, (_, size, type_) in kinds.items()},
    }  # fmt: skip


def _pictured(api: FakeApi, number: int) -> dict[str, Any]:
    """Give most tasks a picture: a slope of two colours."""
    if number % 4 == 3:
        return {}
    api.pictures[f"done{number}"] = _slope(96, 54, number * 70)
    return {"thumbnail": f"/api/tasks/done{number}/thumbnail"}


def _slope(width: int, height: int, shade: int) -> bytes:
    """Return a slope of two colours as PNG."""
    rows = b"".join(
        b"\0" + b"".join(bytes(((x * 2 + shade) % 256, y * 4, (shade * 3 + x) % 256)) for x in range(width))
        for y in range(height)
    )
    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunks = ((b"IHDR", head), (b"IDAT", zlib.compress(rows)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
        for name, data in chunks
    )


def _ago(**time: float) -> str:
    return (datetime.now(UTC) - timedelta(**time)).strftime("%Y-%m-%dT%H:%M:%SZ")


async def settle(page: Page) -> None:
    """Wait until all movements have ended, but those without end."""
    await asyncio.sleep(0.35)
    await page.evaluate("document.fonts.ready")
