"""`clipwire subscriptions`, in a shell, beside the real service."""

import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from clipwire_client import Client

from server.commands.remote_subscriptions import backlog_of
from tests.commands.shell import Shell
from tests.service import Service, Services
from tests.site import Site
from tests.site.followed import Film, Followed


@pytest.fixture
async def service(services: Services) -> AsyncIterator[Service]:
    async with services.lend(CLIPWIRE_SUBSCRIPTIONS__PAUSE="0s") as service:
        yield service
        async with Client(service.url) as client:
            async for each in client.subscriptions.all():
                await client.subscriptions.delete(each.subscription_id)


async def test_a_feed_is_followed_from_a_shell(service: Service, site: Site, tmp_path: Path) -> None:
    site.followed["f"] = Followed([Film("a", "Film A", "/video.mp4", guid="a")])
    shell = Shell(tmp_path).using(service)
    made = await shell.run("subscriptions", "add", site.url("/followed/f.rss"))
    assert made.status == 0, made
    mine = made.task_id
    async with Client(service.url) as client:
        async for each in client.subscriptions.follow(mine):
            if each.stage == "idle":
                break
    listed = await shell.run("subscriptions")
    assert listed.out == f"{mine}  idle      Followed  known 1\n"
    told = await shell.run("subscriptions", "--json", "--search", "follow")
    assert json.loads(told.out)["title"] == "Followed"
    items = await shell.run("subscriptions", "items", mine[:8])
    key = items.out.partition("  known")[0]
    assert items.out.endswith("Film A\n")
    skipped = await shell.run("subscriptions", "skip", mine, key, "no such key")
    assert (skipped.status, "skipped by_client" in skipped.out) == (1, True)
    assert skipped.err.startswith("clipwire: no such key: ")
    again = await shell.run("subscriptions", "add", site.url("/followed/f.rss"))
    assert (again.status, again.out) == (1, "")
    assert again.err.startswith(f"clipwire: {site.url('/followed/f.rss')}: ")
    paused = await shell.run("subscriptions", "pause", mine)
    assert (paused.status, "  paused  " in paused.out) == (0, True)
    opml = await shell.run("subscriptions", "export")
    assert "<opml" in opml.out
    (tmp_path / "mine.opml").write_text(opml.out)
    gone = await shell.run("subscriptions", "rm", mine)
    assert (gone.status, gone.out.startswith(mine)) == (0, True)
    taken = await shell.run("subscriptions", "import", "mine.opml")
    assert (taken.status, "  paused  " in taken.out) == (0, True)
    missing = await shell.run("subscriptions", "import", "nothing.opml")
    assert (missing.status, "nothing.opml" in missing.err, missing.err.count("\n")) == (1, True, 1)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["ad"], "did you mean add?"),
        (["add"], "URL is missing"),
        (["check", " "], "ID is missing"),
        (["fetch", "a"], "KEY is missing"),
        (["items", "a", "b"], "too much: b"),
        (["list", "x"], "too much: x"),
        (["import"], "FILE is missing"),
    ],
)
async def test_what_an_action_lacks_is_named(tmp_path: Path, arguments: list[str], said: str) -> None:
    ran = await Shell(tmp_path).run("subscriptions", *arguments)
    assert (ran.status, said in ran.err) == (2, True), ran


@pytest.mark.parametrize(
    ("text", "sent"),
    [("all", "all"), ("5", {"last": 5}), ("2026-01-31", {"since": "2026-01-31"}), ("some", "some")],
)
def test_a_backlog_is_a_word_a_number_or_a_day(text: str, sent: object) -> None:
    assert backlog_of(text) == sent
