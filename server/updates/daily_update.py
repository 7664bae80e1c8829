"""Checks for a newer yt-dlp once a day, with `updates.yt_dlp = "daily"`.

The check runs as a program of its own (`server/commands/update.py`), so that a server loads nothing for its
updates. It ends with the server, also when the server is killed.

Decisions: docs/decisions/updates.md
"""

import asyncio
import logging
import os
import signal
import sys
from contextlib import suppress
from pathlib import Path

from server.core.redaction import clean
from server.core.shielding import to_the_end
from server.tasks.fork_servers import ForkServers

log = logging.getLogger(__name__)

FIRST_CHECK_AFTER = 5.0  # seconds; by then the start is over
CHECK_EVERY = 86_400.0  # seconds
RETRY_AFTER = 3600.0  # seconds
CHECK_TIMEOUT = 1800.0  # seconds
_PROGRAM = (
    "import sys; sys.path.insert(0, sys.argv[1]); from server.commands import update; "
    "update.run(sys.argv[2], int(sys.argv[3]), sys.argv[4])"
)


async def check_daily(
    fork_servers: ForkServers, data_dir: Path, floor: int, ffmpeg: Path | None = None
) -> None:
    """Check once a day until cancelled. `floor`: bytes that must stay free on the disk. `ffmpeg`: the setting
    `downloads.ffmpeg`.
    """
    wait = FIRST_CHECK_AFTER
    while True:
        await asyncio.sleep(wait)
        has_ended = await _check(data_dir, floor, ffmpeg)
        await fork_servers.follow_choice()  # switch to the release now, not with the next job
        state = await fork_servers.state()
        wait = RETRY_AFTER if state is None or state.outcome == "failed" or not has_ended else CHECK_EVERY


async def _check(data_dir: Path, floor: int, ffmpeg: Path | None) -> bool:
    """Run the update; say whether it ended by itself. It gets only the settings that it needs."""
    try:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-P", "-c", _PROGRAM),
            *(str(Path(__file__).parents[2]), str(data_dir), str(floor), str(ffmpeg or "")),
            env={name: value for name, value in os.environ.items() if not name.startswith("CLIPWIRE_")},
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            start_new_session=True,
        )
    except OSError as exc:
        log.error("the check for a newer yt-dlp did not start: %s", exc)
        return False
    assert process.stdout
    try:
        async with asyncio.timeout(CHECK_TIMEOUT):
            output = await process.stdout.read()
            status = await process.wait()
    except TimeoutError:
        log.error("the check for a newer yt-dlp took more than %s s, and was ended", CHECK_TIMEOUT)
        return False
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)  # pip, which it has started, as well
        await to_the_end(process.wait())
    for line in output.decode(errors="replace").splitlines():
        log.log(logging.WARNING if status else logging.INFO, "%s", clean(line).removeprefix("clipwire: "))
    return status in (0, 1)
