"""`python -m server get URL`: submit to a running server and follow it with a progress bar."""

import json
import sys
from typing import Any

import aiohttp

from server.commands.listening import reachable
from server.settings import Settings

WIDTH = 30  # characters of the bar
ANSWER_WITHIN = aiohttp.ClientTimeout(total=60)
HEARTBEAT = 20.0  # seconds between pings: a server that has vanished does not close the socket
DRAWN = {"progress": int, "message": str, "url": str, "video_info": dict, "files": dict}
MAX_ANSWER = 1 << 20  # bytes; whoever sends more is not Clipwire


class NotClipwire(Exception):
    """Something else answers at the address of the settings; says what it answers."""


async def get(settings: Settings, url: str, outputs: list[str]) -> int:
    """Print the links of the finished files; exit status 1 if the task or the request fails."""
    base = f"http://{reachable(settings.server.host)}:{settings.server.port}"
    prefix = settings.server.base_path
    headers = {"Accept-Language": _language()}
    if settings.server.tokens:
        headers["Authorization"] = f"Bearer {settings.server.tokens[0].get_secret_value()}"
    body = {"url": url} | ({"outputs": outputs} if outputs else {})
    try:
        async with aiohttp.ClientSession(base, headers=headers) as session:
            posting = session.post(
                f"{prefix}/api/process", json=body, timeout=ANSWER_WITHIN, allow_redirects=False
            )
            async with posting as response:
                answer = await _answer(response)
            if response.status != 202:
                return _refused(answer)
            return await _follow(session, f"{prefix}/ws/{answer['task_id']}", base)
    except NotClipwire as exc:
        _say(
            f"what answers at {base} is not Clipwire ({exc}): see server.host, server.port, server.base_path"
        )
    except aiohttp.WSServerHandshakeError as exc:
        _say(f"the task was accepted by {base}, and cannot be followed: HTTP {exc.status}")
    except TimeoutError:
        _say(f"no answer from {base} within {ANSWER_WITHIN.total:.0f} s; is the server running?")
    except (aiohttp.ClientError, OSError) as exc:
        _say(f"no answer from {base}: {exc}; is the server running?")
    return 1


async def _answer(response: aiohttp.ClientResponse) -> dict[str, Any]:
    """A task, or a problem. Raises `NotClipwire` if it is neither."""
    body = bytearray()
    async for part in response.content.iter_any():
        body += part
        if len(body) > MAX_ANSWER:
            break
    answer = _object(bytes(body)) or {}
    expected = ("task_id",) if response.status == 202 else ("code", "detail")
    if not all(isinstance(answer.get(name), str) for name in expected):
        leads = response.headers.get("Location")
        described = f"a redirect to {leads}" if leads else response.content_type
        raise NotClipwire(f"HTTP {response.status}, {described}")
    return answer


def _object(text: object) -> dict[str, Any] | None:
    try:
        found = json.loads(text)  # type: ignore[arg-type]  # a message of a socket may be anything
    except (ValueError, TypeError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


async def _follow(session: aiohttp.ClientSession, path: str, base: str) -> int:
    status: dict[str, Any] = {}
    async with session.ws_connect(path, heartbeat=HEARTBEAT) as ws:
        async for message in ws:
            status = _object(message.data) or {}
            if status.get("removed"):
                status = {"error": "the task was deleted"}
            elif not all(isinstance(status.get(name), kind) for name, kind in DRAWN.items()):
                raise NotClipwire("its WebSocket says something else")
            else:
                _draw(status)
    print(file=sys.stderr)
    if status.get("status") != "completed":
        _say(status.get("error") or "the server went away; the task goes on")
        if hint := status.get("hint"):
            _say(hint)
        return 1
    for link in status["files"].values():
        print(base + link)
    return 0


def _draw(status: dict[str, Any]) -> None:
    done = status["progress"] * WIDTH // 100
    bar = "█" * done + "░" * (WIDTH - done)
    title = status["video_info"].get("title", status["url"])[:40]
    line = f"{bar} {status['progress']:3d}% {_line(status['message'])} {_line(title)}"
    print(f"\r\x1b[K{line}", end="", file=sys.stderr, flush=True)


def _refused(problem: dict[str, Any]) -> int:
    _say(problem["detail"])
    for wrong in problem.get("errors", []):
        _say(f"{wrong['field']}: {wrong['message']}")
    return 1


def _say(text: str) -> None:
    print(f"clipwire: {_line(text)}", file=sys.stderr)


def _line(text: str) -> str:
    """`text` as one line that does nothing to a terminal, whatever an answer or an error holds."""
    return " ".join("".join(letter if letter.isprintable() else " " for letter in text).split())


def _language() -> str:
    import locale

    return (locale.getlocale()[0] or "en").replace("_", "-")
