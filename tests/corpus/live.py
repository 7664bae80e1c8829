"""A broadcast by DASH: a real ffmpeg sends the site's film, again and again, as fast as it is shown."""

import asyncio
import shutil
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Final

from tests.site.media import SECONDS
from tests.tools import BUNDLED

TIMES: Final = 3
LASTS: Final = TIMES * SECONDS  # seconds that the broadcast lasts
_LOOPED: Final = ("-re", "-stream_loop", str(TIMES - 1), "-i", "../../video.mp4", "-c", "copy")
_SETS: Final = ("-window_size", "5", "-adaptation_sets", "id=0,streams=v id=1,streams=a")
_BEGUN: Final = 4  # segments of sound that are written before the first client may come


@asynccontextmanager
async def sending(folder: Path) -> AsyncIterator[str]:
    """Broadcast into `folder`, beside the site's further media; yield the name of the manifest."""
    folder.mkdir()
    command = (BUNDLED, "-v", "error", "-nostdin", *_LOOPED, "-f", "dash", "-seg_duration", "1", *_SETS)
    program = await asyncio.create_subprocess_exec(
        *command, "manifest.mpd", cwd=folder, stdin=subprocess.DEVNULL
    )
    try:
        async with asyncio.timeout(30):
            while len(list(folder.glob("chunk-stream1-*.m4s"))) < _BEGUN:
                await asyncio.sleep(0.1)
        yield "manifest.mpd"
    finally:
        with suppress(ProcessLookupError):
            program.kill()
        await program.wait()
        shutil.rmtree(folder)
