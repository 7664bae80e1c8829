"""`clipwire subscriptions`: lists the subscriptions of a running server, and acts on them."""

import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from clipwire_client import Client, ClipwireError, Item, Subscription

from server.commands.remote import Remote, say
from server.commands.remote_client import client_of, explain
from server.commands.words import one_line, word

_BEGINS_AN_ID = re.compile(r"[0-9a-f]{8}[0-9a-f-]{0,27}")


@dataclass(frozen=True, slots=True)
class AskedSubscription:
    """`what` are links, ids, or a file; `backlog` is none, all, a number, or a day."""

    what: Sequence[str]
    search: str | None
    limit: int
    backlog: str | None
    profile: str | None
    as_json: bool


async def run(server: Remote, action: str, asked: AskedSubscription) -> int:
    """Exit status 1 if anything was refused, or nobody answers."""
    async with client_of(server) as client:
        try:
            outcomes = await _done(client, action, asked)
        except ClipwireError as error:
            explain(error, server)
            return 1
        except OSError as error:
            say(one_line(str(error)))
            return 1
    refused = [(about, one) for about, one in outcomes if isinstance(one, ClipwireError)]
    for about, refusal in refused:
        explain(refusal, server, about)
    return int(bool(refused))


async def _done(client: Client, action: str, asked: AskedSubscription) -> list[tuple[str, object]]:
    """What became of each, which is printed, and what it is about, where it was refused."""
    subscriptions, what = client.subscriptions, asked.what
    match action:
        case "list":
            async for each in subscriptions.all(q=asked.search, limit=asked.limit):
                _show(each, asked)
            return []
        case "items":
            mine = await _whole_id(client, what[0])
            async for item in subscriptions.items(mine, q=asked.search, limit=asked.limit):
                _show(item, asked)
            return []
        case "export":
            sys.stdout.flush()
            sys.stdout.buffer.write(await subscriptions.export_opml())
            return []
        case "import":
            taken = await subscriptions.import_opml(_read(what[0]))
            return [_told(one.url, one.outcome, asked) for one in taken]
        case "add":
            wishes: dict[str, Any] = {} if asked.backlog is None else {"backlog": backlog_of(asked.backlog)}
            wishes |= {} if asked.profile is None else {"profile": asked.profile}
            return [_told(url, await _tried(subscriptions.add(url, **wishes)), asked) for url in what]
        case "fetch" | "skip":
            mine, keys = await _whole_id(client, what[0]), what[1:]
            items = await subscriptions.act_on_items(mine, action, keys)
            return [_told(key, one, asked) for key, one in zip(keys, items, strict=True)]
    ids = [await _whole_id(client, each) for each in what]
    outcomes = await subscriptions.act("delete" if action == "rm" else action, ids)  # type: ignore[arg-type]
    return [_told(each, one, asked) for each, one in zip(ids, outcomes, strict=True)]


def _read(file: str) -> bytes:
    return sys.stdin.buffer.read() if file == "-" else Path(file).read_bytes()


async def _tried(adding: Any) -> Subscription | ClipwireError:
    try:
        made: Subscription = await adding
    except ClipwireError as error:
        return error
    return made


def backlog_of(text: str) -> object:
    """Return the API's form; anything else is sent unchanged, and refused by name."""
    if text.isdecimal():
        return {"last": int(text)}
    return {"since": text} if re.match(r"[0-9]{4}-", text) else text


def _told(about: str, outcome: object, asked: AskedSubscription) -> tuple[str, object]:
    if isinstance(outcome, Subscription | Item):
        _show(outcome, asked)
    elif outcome is None:
        print(f"{about}  {word('removed')}")
    return about, outcome


def _show(one: Subscription | Item, asked: AskedSubscription) -> None:
    if asked.as_json:
        print(one.model_dump_json(exclude_unset=True))
    elif isinstance(one, Item):
        state = f"{one.state} {one.reason or ''}".strip()
        print(f"{one.key}  {state:<22}  {one_line(one.title or one.url)}")
    else:
        counts = ", ".join(f"{state} {count}" for state, count in one.items.items())
        why = f"  {one.error}" if one.error else ""
        print(f"{one.subscription_id}  {one.stage:<8}  {one_line(one.name)}  {counts}{why}".rstrip())


async def _whole_id(client: Client, begin: str) -> str:
    """Return the id that begins with `begin`, if only one does."""
    if not _BEGINS_AN_ID.fullmatch(begin):
        return begin
    ids = [one.subscription_id async for one in client.subscriptions.all()]
    found = [each for each in ids if each.startswith(begin)]
    if len(found) > 1:
        raise ClipwireError(word("several_ids", id=begin, ids=", ".join(found)), "several_ids")
    return found[0] if found else begin
