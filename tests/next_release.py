"""A possible next release: this release's source with one more column, field and kind of announcement."""

import shutil
from pathlib import Path

from tests.service import ROOT, Service

# A file, a text in it, and the text that replaces it in the next release.
CHANGES = (
    (
        "core/task.py",
        "    reached: tuple[int, int] = Field(",
        '    mood: str = "calm"\n    reached: tuple[int, int] = Field(',
    ),
    (
        "api/payload.py",
        "    cookies: str | None = Field(",
        '    mood: str = "calm"\n    cookies: str | None = Field(',
    ),
    (
        "api/payload.py",
        "            cookies=status.cookies,\n",
        "            cookies=status.cookies,\n            mood=status.mood,\n",
    ),
    (
        "storage/postgresql/announcing.py",
        '        return f"{self.task_id} {self.revision}"',
        '        return f"{self.task_id} {self.revision}\\n~ {self.task_id} calm"',
    ),
    (
        "cluster/worker.py",
        "UPDATE tasks SET node = %s, finish_asked = false",
        "UPDATE tasks SET node = %s, finish_asked = false, mood = 'busy'",
    ),
)
SCRIPT = """
    ALTER TABLE tasks ADD COLUMN mood text NOT NULL DEFAULT 'calm';
    ALTER TABLE nodes ADD COLUMN mood text NOT NULL DEFAULT 'calm';
    CREATE INDEX tasks_mood ON tasks (mood) WHERE NOT removed;
"""


class NextRelease(Service):
    """A service that runs the next release. Its newest script says that servers before `oldest_server` may
    not use the database: see `server.storage.postgresql.migrations`.
    """

    def __init__(self, folder: Path, oldest_server: int, /, **settings: str) -> None:
        super().__init__(folder, **settings)
        self.cwd = folder / "release"
        shutil.copytree(ROOT / "server", self.cwd / "server", ignore=shutil.ignore_patterns("__pycache__"))
        (self.cwd / "static").symlink_to(ROOT / "static")
        for name, old, new in CHANGES:
            path = self.cwd / "server" / name
            text = path.read_text()
            assert text.count(old) == 1, f"{name} has changed: {old}"
            path.write_text(text.replace(old, new))
        scripts = self.cwd / "server/storage/postgresql/sql"
        script = scripts / f"{len(list(scripts.glob('*.sql'))) + 1:04}_mood.sql"
        script.write_text(f"-- oldest server: {oldest_server}\n{SCRIPT}")
