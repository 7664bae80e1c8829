"""The client of a command, and its errors in words for a terminal."""

import re
import time
from collections.abc import Callable

from aiohttp import ClientConnectorCertificateError
from clipwire_client import Client, ClipwireError, NotClipwire, ServerUnreachable, UnencryptedSecret

from server.commands.remote import Remote, say
from server.commands.words import language, word

_BEGINNING_OF_ID = re.compile(r"[0-9a-f]{8}[0-9a-f-]{0,27}")
HEARTBEAT = 6.0  # seconds between pings; a server that is gone is noticed after 9
# Seconds: each of many transfers reports an outage of the server, which is printed once in this time.
SAY_AGAIN_AFTER = 60.0


def client_of(server: Remote, say: Callable[[str], None] = say) -> Client:
    """Return a client; `say` gets a line about each error after which it tries again."""
    said_at = float("-inf")

    def troubled(error: ClipwireError) -> None:
        nonlocal said_at
        if time.monotonic() - said_at > SAY_AGAIN_AFTER:
            said_at = time.monotonic()
            say(word("tries_again", detail=error.detail))

    return Client(
        server.url,
        server.token,
        language=language(),
        insecure=server.insecure,
        heartbeat=HEARTBEAT,
        troubled=troubled,
    )


def explain(error: ClipwireError, server: Remote, about: str = "", say: Callable[[str], None] = say) -> None:
    """Print the error in one line; `about` names the link, if there are several."""
    url = server.url
    match error:
        case NotClipwire():
            say(word("not_clipwire", url=url, what=error.detail))
        case UnencryptedSecret():
            say(word("unencrypted", url=url))
        case ServerUnreachable(__cause__=ClientConnectorCertificateError() as wrong):
            say(word("not_trusted", url=url, why=getattr(wrong.certificate_error, "verify_message", wrong)))
        case ServerUnreachable():
            say(word("unreachable", detail=error.detail))
        case _ if error.code == "not_found":  # a Clipwire server answers, but not under this prefix
            say(word("not_clipwire", url=url, what=error.detail))
        case _ if error.status == 401:
            say(word("wrong_token" if server.token else "needs_token", url=url))
        case _:
            say(f"{about}: {error.detail}" if about else error.detail)
            for field, message in error.errors:
                say(f"{field}: {message}")


async def whole_id(client: Client, task_id: str) -> str:
    """Return the id that begins with `task_id`; the first characters are enough if no other id begins so.

    Raises `ClipwireError`.
    """
    if not _BEGINNING_OF_ID.fullmatch(task_id):
        return task_id
    found = [task.task_id async for task in client.tasks() if task.task_id.startswith(task_id)]
    if len(found) > 1:
        raise ClipwireError(word("several_ids", id=task_id, ids=", ".join(found)), "several_ids")
    return found[0] if found else task_id
