"""A live DASH stream that a real packager makes of a film while it is recorded, and checks of the recording's
packets.
"""

import asyncio
import contextlib
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from tests.site import open_site
from tests.tools import FFMPEG

Kind = Literal["numbers", "times", "plain"]
KINDS: Final[dict[Kind, list[str]]] = {
    "numbers": [],
    "times": ["-media_seg_name", "chunk-stream$RepresentationID$-$Time$.m4s"],
    "plain": ["-use_timeline", "0"],
}
"""How a manifest tells its segments: by a timeline with numbers or with times, or by their length alone."""


@asynccontextmanager
async def sending_dash(
    film: Path, folder: Path, kind: Kind = "numbers", times: int = -1
) -> AsyncIterator[str]:
    """Broadcast `film` as DASH and yield the URL: the film is repeated `times` more, or (-1) until the block
    is left.
    """
    (folder / "dash").mkdir(parents=True)
    looped = ["-re", "-stream_loop", str(times), "-i", str(film / "video.mp4"), "-c", "copy"]
    sets = ["-window_size", "5", "-adaptation_sets", "id=0,streams=v id=1,streams=a"]
    dash = ["-f", "dash", "-seg_duration", "1", *KINDS[kind], *sets, str(folder / "dash/manifest.mpd")]
    sender = await asyncio.create_subprocess_exec(
        *(FFMPEG, "-v", "error", "-nostdin", *looped, *dash), stderr=subprocess.DEVNULL
    )
    try:
        async with open_site(folder) as site:
            while len(list((folder / "dash").glob("chunk-stream1-*.m4s"))) < 5:
                await asyncio.sleep(0.1)
            yield site.url("/dash/manifest.mpd")
    finally:
        with contextlib.suppress(ProcessLookupError):
            sender.kill()
        await sender.wait()


@dataclass
class Packets:
    """The packets of one stream of a file, in seconds: `length` from its begin to its end, `lasts` all
    packets together, `gaps` what is missing between them.
    """

    length: float = 0.0
    lasts: float = 0.0
    gaps: float = 0.0


async def packets(film: Path) -> dict[str, Packets]:
    """Measure the packets of a film's picture ("0") and sound ("1")."""
    command = [
        "-v",
        "error",
        "-i",
        str(film),
        "-map",
        "0:v",
        "-map",
        "0:a",
        "-c",
        "copy",
        "-f",
        "framecrc",
        "-",
    ]
    ffmpeg = await asyncio.create_subprocess_exec(FFMPEG, *command, stdout=subprocess.PIPE)
    written, _ = await ffmpeg.communicate()
    seen, units, firsts, ends = (
        dict[str, Packets](),
        dict[str, float](),
        dict[str, float](),
        dict[str, float](),
    )
    for line in written.decode().splitlines():
        if line.startswith("#tb "):
            number, _, unit = line[4:].partition(":")
            above, _, below = unit.partition("/")
            units[number] = int(above) / int(below)
        elif not line.startswith("#"):
            number, decoded, _, lasts, *_ = (each.strip() for each in line.split(","))
            at, long, stream = (
                int(decoded) * units[number],
                int(lasts) * units[number],
                seen.setdefault(number, Packets()),
            )
            stream.gaps += max(0.0, at - ends.get(number, at) - 0.03)
            ends[number] = at + long
            stream.lasts += long
            stream.length = ends[number] - firsts.setdefault(number, at)
    return seen
