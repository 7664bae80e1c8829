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

_BEGINNING_OF_ID = re.compile(r"[0-9a-f]{8}[0-9a-f-]{0,27}")


@dataclass(frozen=True, slots=True)
class SubscriptionArguments:
    """`what` are links, ids, or a file; `backlog` is none, all, a number, or a day."""

    what: Sequence[str]
    search: str | None
    limit: int
    backlog: str | None
    profile: str | None
    as_json: bool


async def run(server: Remote, action: str, arguments: SubscriptionArguments) -> int:
    """Do `action`; return the exit status: 1 if anything was refused, or nobody answers."""
    async with client_of(server) as client:
        try:
            outcomes = await _act(client, action, arguments)
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


async def _act(client: Client, action: str, arguments: SubscriptionArguments) -> list[tuple[str, object]]:
    """Do `action` and print the results. Return pairs of a link or an id, and its outcome."""
    subscriptions, what = client.subscriptions, arguments.what
    match action:
        case "list":
            async for each in subscriptions.all(q=arguments.search, limit=arguments.limit):
                _show(each, arguments)
            return []
        case "items":
            subscription_id = await _whole_id(client, what[0])
            async for item in subscriptions.items(subscription_id, q=arguments.search, limit=arguments.limit):
                _show(item, arguments)
            return []
        case "export":
            sys.stdout.flush()
            sys.stdout.buffer.write(await subscriptions.export_opml())
            return []
        case "import":
            imported = await subscriptions.import_opml(_read(what[0]))
            return [_print_outcome(one.url, one.outcome, arguments) for one in imported]
        case "add":
            wishes: dict[str, Any] = (
                {} if arguments.backlog is None else {"backlog": backlog_of(arguments.backlog)}
            )
            wishes |= {} if arguments.profile is None else {"profile": arguments.profile}
            return [
                _print_outcome(url, await _try_to_add(subscriptions.add(url, **wishes)), arguments)
                for url in what
            ]
        case "fetch" | "skip":
            subscription_id, keys = await _whole_id(client, what[0]), what[1:]
            items = await subscriptions.act_on_items(subscription_id, action, keys)
            return [_print_outcome(key, one, arguments) for key, one in zip(keys, items, strict=True)]
    ids = [await _whole_id(client, each) for each in what]
    outcomes = await subscriptions.act("delete" if action == "rm" else action, ids)  # type: ignore[arg-type]
    return [_print_outcome(each, one, arguments) for each, one in zip(ids, outcomes, strict=True)]


def _read(file: str) -> bytes:
    return sys.stdin.buffer.read() if file == "-" else Path(file).read_bytes()


async def _try_to_add(adding: Any) -> Subscription | ClipwireError:
    try:
        made: Subscription = await adding
    except ClipwireError as error:
        return error
    return made


def backlog_of(text: str) -> object:
    """Return `text` in the form of the API; a wrong one is sent unchanged, and the server refuses it."""
    if text.isdecimal():
        return {"last": int(text)}
    return {"since": text} if re.match(r"[0-9]{4}-", text) else text


def _print_outcome(about: str, outcome: object, arguments: SubscriptionArguments) -> tuple[str, object]:
    if isinstance(outcome, Subscription | Item):
        _show(outcome, arguments)
    elif outcome is None:
        print(f"{about}  {word('removed')}")
    return about, outcome


def _show(one: Subscription | Item, arguments: SubscriptionArguments) -> None:
    if arguments.as_json:
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
    if not _BEGINNING_OF_ID.fullmatch(begin):
        return begin
    ids = [one.subscription_id async for one in client.subscriptions.all()]
    found = [each for each in ids if each.startswith(begin)]
    if len(found) > 1:
        raise ClipwireError(word("several_ids", id=begin, ids=", ".join(found)), "several_ids")
    return found[0] if found else begin
