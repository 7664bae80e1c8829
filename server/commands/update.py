"""`python -m server update`: a newer yt-dlp is downloaded beside the old one, tried, and then chosen for new
jobs.

Each step leaves a working release: a new one lies in a folder that nobody uses until it has passed its
test, and choosing it is one rename of a small file. Running servers notice that by themselves (see
`server.tasks.release_switch`).

Decisions: docs/decisions/updates.md
"""

import asyncio
import logging
import os
import shutil
import signal
import sys
import threading
from contextlib import ExitStack, suppress
from pathlib import Path

from server.commands import pip_index
from server.commands.pip_index import NoNewRelease
from server.commands.self_test import UnfitRelease, self_test
from server.commands.words import one_line, word
from server.tasks.yt_dlp_releases import Outcome, Releases, State, installed, is_newer, moment

NEEDED_BYTES = 200 << 20  # on the disk, for pip's downloads and the unpacked packages


async def update(
    data_dir: Path, floor: int, ffmpeg: Path | None = None, *, again: bool = False, asked: bool = True
) -> int:
    """Update yt-dlp. Return the exit status: 1 if a newer release exists and is not used, or if that could
    not be found out.

    `floor`: bytes that must stay free on the disk. A release that was refused before is tried again if a
    person has `asked`; a release from which a server went back, only with `again`.
    """
    releases = Releases(data_dir)
    try:
        await asyncio.to_thread(data_dir.mkdir, mode=0o700, parents=True, exist_ok=True)
        free = shutil.disk_usage(data_dir).free
        if free < floor + NEEDED_BYTES:
            return _failed(releases, word("update_no_room", free=free, floor=floor))
        # Hide the logs of the fork server that is tried: the sentence printed below has the reason.
        logging.disable()
        with ExitStack() as stack:
            new = await _wait_for_turn(stack, releases)
            return await _update(releases, new, ffmpeg, again=again, asked=asked)
    except NoNewRelease as exc:
        return _failed(releases, str(exc))
    except OSError as exc:
        return _failed(releases, f"{exc.filename or data_dir}: {exc.strerror or exc}")


async def _wait_for_turn(stack: ExitStack, releases: Releases) -> Path:
    """Wait until no other update is under way; return the folder for this one."""
    is_noted = False
    while True:
        try:
            return stack.enter_context(releases.update())
        except BlockingIOError:
            if not is_noted:
                print(word("update_waits"), file=sys.stderr)
            is_noted = True
            await asyncio.sleep(0.2)


async def _update(releases: Releases, new: Path, ffmpeg: Path | None, *, again: bool, asked: bool) -> int:
    current = releases.chosen() or installed()
    newest = await pip_index.newest(new)
    refused = releases.read().refused.get(newest)
    if not is_newer(newest, current):
        _note(releases, "none_newer", newest)
        return _say(word("update_none", current=current))
    if refused and not again and (refused != "self_test" or not asked):
        _note(releases, None, newest)
        return _say(word(f"update_still_{refused}", version=newest, current=current), 1)
    folder = releases.folder(newest)
    # An earlier update has chosen it, or was killed just before that.
    is_downloaded = folder.is_dir()
    packages = folder if is_downloaded else await pip_index.download(newest, new)
    try:
        found = await self_test(packages, new, ffmpeg)
        # yt-dlp calls `2026.10.06` what the index calls `2026.10.6`.
        is_same = not is_newer(found, newest) and not is_newer(newest, found)
        why = "" if is_same else word("update_other", version=found)
    except UnfitRelease as exc:
        why = one_line(str(exc))
    if why:

        def refuse(state: State) -> State:
            return state.model_copy(
                update={
                    "refused": {**state.refused, newest: "self_test"},
                    "outcome": "refused",
                    "version": newest,
                    "looked_at": moment(),
                    "detail": why,
                }
            )

        releases.change(refuse)
        return _say(word("update_refused", version=newest, current=current, why=why), 1)
    if not is_downloaded:
        releases.put(packages, newest)
    releases.change(lambda state: _choose(state, newest, releases))
    return _say(word("update_switched", version=newest, current=current))


def _choose(state: State, version: str, releases: Releases) -> State:
    previous = state.chosen if state.chosen and releases.folder(state.chosen).is_dir() else None
    return state.model_copy(
        update={
            "chosen": version,
            "previous": previous if previous != version else state.previous,
            "refused": {known: why for known, why in state.refused.items() if is_newer(known, version)},
            "outcome": "switched",
            "version": version,
            "looked_at": moment(),
            "detail": None,
        }
    )


def _note(releases: Releases, outcome: Outcome | None, version: str | None, why: str | None = None) -> None:
    """Write down the time of a check, and its outcome; without one the outcome of an earlier check stays."""
    change = {"outcome": outcome, "version": version, "detail": why} if outcome else {}
    releases.change(lambda state: state.model_copy(update={**change, "looked_at": moment()}))


def _failed(releases: Releases, why: str) -> int:
    why = one_line(why)
    with suppress(OSError):  # a full disk must not hide the message
        _note(releases, "failed", None, why)
    return _say(word("update_failed", current=releases.chosen() or installed(), why=why), 1)


def _say(text: str, status: int = 0) -> int:
    print(text if status == 0 else f"clipwire: {text}", file=sys.stderr if status else sys.stdout)
    return status


def run(data_dir: str, floor: int, ffmpeg: str) -> None:
    """Run an update for a server that checks daily; end with its input, as the leader of a process group."""
    threading.Thread(target=_end_with_input, name="input", daemon=True).start()
    status = asyncio.run(update(Path(data_dir), floor, Path(ffmpeg) if ffmpeg else None, asked=False))
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)  # end at once: the other thread may still be reading


def _end_with_input() -> None:
    with suppress(OSError):
        while os.read(0, 4096):
            pass
    os.killpg(0, signal.SIGKILL)  # ends pip as well; the next update deletes leftovers
