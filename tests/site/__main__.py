"""Runs the site alone: `python -m tests.site [PORT]`, until Ctrl-C or SIGTERM."""

import asyncio
import contextlib
import signal
import sys
import tempfile
from pathlib import Path

from tests.site import make_media, open_site


async def main(port: int) -> None:
    stop = asyncio.Event()
    for wanted in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(wanted, stop.set)
    with tempfile.TemporaryDirectory() as folder:
        media = await asyncio.to_thread(make_media, Path(folder))
        async with open_site(media, port) as site:
            print(site.url("/"), flush=True)
            await stop.wait()


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(main(int(sys.argv[1]) if len(sys.argv) > 1 else 0))
