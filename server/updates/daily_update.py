"""Checks for a newer yt-dlp once a day, with `updates.yt_dlp = "daily"`.

The look is a program of its own (`server/commands/update.py`), so that a server which updates itself has
loaded nothing for that. It ends with the server, also when the server is killed.

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

FIRST = 5.0  # seconds after the start, which has ended by then
EVERY = 86_400.0  # seconds
AFTER_A_FAILURE = 3600.0  # seconds
AT_MOST = 1800.0  # seconds that one check may take
_PROGRAM = (
    "import sys; sys.path.insert(0, sys.argv[1]); from server.commands import update; "
    "update.run(sys.argv[2], int(sys.argv[3]), sys.argv[4])"
)


async def look_daily(
    fork_servers: ForkServers, data_dir: Path, floor: int, ffmpeg: Path | None = None
) -> None:
    """`floor`: bytes that must stay free on the disk. `ffmpeg`: the setting `downloads.ffmpeg`."""
    wait = FIRST
    while True:
        await asyncio.sleep(wait)
        fine = await _look(data_dir, floor, ffmpeg)
        await fork_servers.look()  # now, and not with the next job
        state = await fork_servers.state()
        wait = AFTER_A_FAILURE if state is None or state.outcome == "failed" or not fine else EVERY


async def _look(data_dir: Path, floor: int, ffmpeg: Path | None) -> bool:
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
        log.error("no look for a newer yt-dlp: %s", exc)
        return False
    assert process.stdout
    try:
        async with asyncio.timeout(AT_MOST):
            said = await process.stdout.read()
            status = await process.wait()
    except TimeoutError:
        log.error("the look for a newer yt-dlp took more than %s s, and was ended", AT_MOST)
        return False
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)  # pip, too
        await to_the_end(process.wait())
    for line in said.decode(errors="replace").splitlines():
        log.log(logging.WARNING if status else logging.INFO, "%s", clean(line).removeprefix("clipwire: "))
    return status in (0, 1)
