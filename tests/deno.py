"""Runs the deno that comes with yt-dlp, which has the parser of a browser and of TypeScript."""

import subprocess
import sysconfig
from pathlib import Path

from tests.service import ROOT


def deno(*arguments: str, text: str | None = None, fails: bool = False) -> str:
    """What deno prints, run in the project's folder with `text` as its input; if it `fails`, its errors."""
    program = Path(sysconfig.get_path("scripts"), "deno")
    environment = {"DENO_DIR": str(ROOT / ".venv/deno"), "NO_COLOR": "1"}
    result = subprocess.run(
        (program, *arguments),
        cwd=ROOT,
        env=environment,
        input=text,
        capture_output=True,
        text=True,
        timeout=240,  # seconds: deno compiles what it reads, on a machine that does other things as well
    )
    printed = result.stdout + result.stderr
    assert (result.returncode != 0) is fails, printed
    return printed if fails else result.stdout
