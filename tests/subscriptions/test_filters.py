"""Each filter of a subscription is complete: it can be set, it is applied, and users read why an entry was
left out. A test names the file that lacks a new filter.
"""

import re
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest
from pydantic_core import to_json

from server.child.extract.entry_filters import JUDGES, EntryJudge
from server.core import jobs
from server.core.jobs import CheckWishes, EntryFilters
from server.subscriptions.searching import ORDERS_OF_ITEMS, ORDERS_OF_SUBSCRIPTIONS, SORTS
from server.subscriptions.subscription import (
    BACKLOG,
    BY_CLIENT,
    HELD,
    IN_MEMORY,
    MEMBERS_ONLY,
    NO_MEDIA,
    NOT_LIVE_YET,
    REMOVED,
    RETENTION,
    RETRY,
    TOO_YOUNG,
    UNCLEAR,
    Filters,
)
from server.subscriptions.subscription_checker import entry_filters_of
from server.subscriptions.subscription_schemas import SubscriptionFilters
from tests.jobs import download_job
from tests.page_tables import ROOT, page_table, page_texts

NOW = 1_767_300_000.0  # 2026-01-01T20:40:00Z
WANTED = {"title": "A talk", "duration": 60, "published_at": "2025-12-31T10:00:00Z"}
# Filter -> a value that `WANTED` passes, and the fields of an entry that does not pass it.
EXAMPLES: dict[str, tuple[object, dict[str, object]]] = {
    "title": ("talk", {"title": "A walk"}),
    "not_title": ("trailer", {"title": "The Trailer"}),
    "min_duration": (30, {"duration": 29}),
    "max_duration": (90, {"duration": 91}),
    "since": ("2025-12-31", {"published_at": "2025-12-30T23:59:59Z"}),
    "until": ("2025-12-31", {"published_at": "2026-01-01"}),
    "kinds": (["video", "stream"], {"kind": "short"}),
    "members": (False, {"_members": True}),
    "min_age": ("2h", {"published_at": "2026-01-01T18:41:00Z"}),
}
# Filters that an entry may pass later, and the reason for which it waits. For all others the reason is the
# filter's name.
WAITING = {"members": "members_only", "min_age": "too_young"}


def verdict(filters: dict[str, object], entry: dict[str, Any], **check: Any) -> str | None:
    """Return the child's decision on `entry` with these filters of a subscription."""
    wanted = entry_filters_of(Filters.model_validate_json(to_json(filters)))
    of_check = dict.fromkeys((one.name for one in fields(CheckWishes)), None)
    of_check |= {"known": (), "since_cut": (), "again": (), "days": False, "now": NOW, **check}
    job = replace(download_job(Path("/w")), check=CheckWishes(**of_check | {"filters": wanted}))  # type: ignore[arg-type]
    arrived = jobs.from_message(jobs.to_message(job))
    assert arrived.check
    assert arrived.check.filters == wanted
    return EntryJudge(arrived.check, arrived.wishes.live).verdict(entry)


@pytest.mark.parametrize("name", sorted({*Filters.model_fields, *JUDGES, *EXAMPLES}))
def test_a_filter_has_all_its_parts(name: str) -> None:
    assert name in Filters.model_fields, "`Filters` in server/subscriptions/subscription.py"
    assert name in SubscriptionFilters.model_fields, "server/subscriptions/subscription_schemas.py"
    assert name in {one.name for one in fields(EntryFilters)}, "`EntryFilters` in server/core/jobs.py"
    assert name in JUDGES, "`JUDGES` in server/child/extract/entry_filters.py"
    assert name in EXAMPLES, "`EXAMPLES` in tests/subscriptions/test_filters.py"
    value, otherwise = EXAMPLES[name]
    reason = WAITING.get(name, name)
    assert verdict({name: value}, WANTED) is None
    assert verdict({name: value}, WANTED | otherwise) == reason, (
        "`entry_filters_of` in server/subscriptions/subscription_checker.py, or its judge"
    )

    place, reasons = page_table("REASONS")
    assert reason in reasons, f"`REASONS` in {place}"
    for path, texts in page_texts().items():
        assert texts.get(reasons[reason]), f"`{reasons[reason]}` in {path}"
    place, settings = page_table("SETTINGS")
    assert name in settings or name == "members", f"`SETTINGS` in {place}"
    [form] = (ROOT / "static" / "js").rglob("subscriptionform.js")
    text = form.read_text("utf-8")
    field = rf'(#(text|number|choice|tick)\(\s*|#fields\.set\()"filters\.{name}"'
    assert re.search(field, text), f"a field of the form in {form}"
    sent = re.search(r"\n( +)filters: \{\n(.*?)\n\1\},", text, re.DOTALL)
    assert sent
    assert re.search(rf"^ +{name}:", sent[2], re.MULTILINE), f"what is sent of the form in {form}"
    guide = (ROOT / "docs" / "api.md").read_text("utf-8")
    told = re.search(r"^`filters`: .*?\n\n", guide, re.MULTILINE | re.DOTALL)
    assert told
    assert f"`{name}`" in told[0], "the paragraph `filters` in docs/api.md"


@pytest.mark.parametrize("name", [name for name in EXAMPLES if name not in ("kinds", "members")])
def test_an_entry_of_which_its_list_says_too_little_is_unclear(name: str) -> None:
    assert verdict({name: EXAMPLES[name][0]}, {}) == "unclear"


def test_what_an_entry_does_not_pass_counts_before_what_it_waits_for() -> None:
    young_for_members = WANTED | EXAMPLES["min_age"][1] | {"_members": True, "_live": "is_upcoming"}
    assert verdict({"min_age": "2h", "title": "walk"}, young_for_members) == "title"
    assert verdict({"min_age": "2h"}, young_for_members) == "members_only"
    assert verdict({"min_age": "2h", "members": True}, young_for_members) == "not_live_yet"
    known = young_for_members | {"_live": "was_live"}
    assert verdict({"min_age": "2h", "members": True}, known) == "too_young"
    assert (
        verdict({"min_age": "2h", "members": True, "min_duration": 1}, known | {"duration": None})
        == "unclear"
    )


def test_a_day_is_needed_where_the_backlog_goes_by_it() -> None:
    assert verdict({}, {"title": "A talk"}, days=True) == "unclear"
    assert verdict({}, {"title": "A talk", "_live": "is_live"}, days=True) == "not_live_yet"
    assert verdict({}, WANTED, days=True) is None


def test_each_reason_of_an_item_has_words_on_the_page_and_a_place_in_the_guide() -> None:
    reasons = {HELD, BACKLOG, RETRY, UNCLEAR, NOT_LIVE_YET, MEMBERS_ONLY, TOO_YOUNG, NO_MEDIA, IN_MEMORY}
    place, words = page_table("REASONS")
    assert (reasons | {REMOVED, BY_CLIENT, RETENTION}) - words.keys() == set(), f"`REASONS` in {place}"
    guide = (ROOT / "docs" / "api.md").read_text("utf-8").partition("\n## Subscriptions")[2]
    rows = re.findall(r"^\| `(?:skipped|waiting|fetched)` \|.*", guide, re.MULTILINE)
    told = set(re.findall(r"`(\w+)`", " ".join(rows)))
    assert (reasons | {REMOVED, BY_CLIENT}) - told == set(), "the table of states in docs/api.md"


def test_an_order_is_one_of_subscriptions_and_of_items_and_users_can_choose_it() -> None:
    tables = {"ORDERS_OF_SUBSCRIPTIONS": ORDERS_OF_SUBSCRIPTIONS, "ORDERS_OF_ITEMS": ORDERS_OF_ITEMS}
    path = ROOT / "static" / "js" / "subscriptions" / "subscriptionlist.js"
    on_the_page = path.read_text("utf-8").partition("const SORTS = {")[2].partition("}")[0]
    for order in SORTS:
        for name, table in tables.items():
            assert order in table, f"`{name}` in server/subscriptions/searching.py"
        assert f"  {order}: " in on_the_page, f"`SORTS` in {path}"
