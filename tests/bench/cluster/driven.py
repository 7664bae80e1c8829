"""A web node with tasks that progress by themselves: see `tests.bench.driven`.

`python -m tests.bench.cluster.driven URL DATA_DIR TASKS PERIOD`: what another node tells of them has come
through the database.
"""

import asyncio
import sys
from pathlib import Path

from server.settings import DownloadSettings, ServerSettings, Settings, StorageSettings
from tests.bench.driven import driven
from tests.bench.references import serve


def settings_of(url: str, data_dir: Path) -> Settings:
    return Settings(
        server=ServerSettings(roles=("web",)),
        storage=StorageSettings(database=url, data_dir=data_dir),
        downloads=DownloadSettings(min_free_disk=0),
    )


if __name__ == "__main__":
    settings = settings_of(sys.argv[1], Path(sys.argv[2]))
    asyncio.run(serve(driven(settings, int(sys.argv[3]), float(sys.argv[4]))))
