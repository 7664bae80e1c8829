"""`python -m server get URL`: submit to a running server and follow it with a progress bar."""

import sys
from typing import Any

import aiohttp

from server.commands.listening import reachable
from server.settings import Settings

WIDTH = 30  # characters of the bar


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
            async with session.post(f"{prefix}/api/process", json=body) as response:
                answer = await response.json(content_type=None)
            if response.status != 202:
                return _refused(answer)
            return await _follow(session, f"{prefix}/ws/{answer['task_id']}", base)
    except aiohttp.ClientError as exc:
        print(f"clipwire: no answer from {base}: {exc}; is the server running?", file=sys.stderr)
        return 1


async def _follow(session: aiohttp.ClientSession, path: str, base: str) -> int:
    status: dict[str, Any] = {}
    async with session.ws_connect(path) as ws:
        async for message in ws:
            status = message.json()
            _draw(status)
    print(file=sys.stderr)
    if status.get("status") != "completed":
        print(f"clipwire: {status.get('error') or 'the server went away; the task goes on'}", file=sys.stderr)
        if hint := status.get("hint"):
            print(f"clipwire: {hint}", file=sys.stderr)
        return 1
    for link in status["files"].values():
        print(base + link)
    return 0


def _draw(status: dict[str, Any]) -> None:
    done = status["progress"] * WIDTH // 100
    bar = "█" * done + "░" * (WIDTH - done)
    title = status["video_info"].get("title", status["url"])[:40]
    line = f"{bar} {status['progress']:3d}% {status['message']} {title}"
    print(f"\r\x1b[K{line}", end="", file=sys.stderr, flush=True)


def _refused(problem: dict[str, Any]) -> int:
    print(f"clipwire: {problem.get('detail', problem)}", file=sys.stderr)
    for wrong in problem.get("errors", []):
        print(f"clipwire: {wrong['field']}: {wrong['message']}", file=sys.stderr)
    return 1


def _language() -> str:
    import locale

    return (locale.getlocale()[0] or "en").replace("_", "-")
