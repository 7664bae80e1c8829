"""Runs the deno that comes with yt-dlp: it parses JavaScript, as browsers do, and TypeScript."""

import subprocess
import sysconfig
from pathlib import Path

from tests.service import ROOT


def deno(*arguments: str, text: str | None = None, fails: bool = False) -> str:
    """Run deno in the project's folder with `text` as its input, and return what it prints. If `fails`, it
    must fail, and its errors are returned as well.
    """
    program = Path(sysconfig.get_path("scripts"), "deno")
    environment = {"DENO_DIR": str(ROOT / ".venv/deno"), "NO_COLOR": "1"}
    result = subprocess.run(
        (program, *arguments),
        cwd=ROOT,
        env=environment,
        input=text,
        capture_output=True,
        text=True,
        timeout=240,  # seconds: deno compiles the script first, on a machine that may be busy
    )
    printed = result.stdout + result.stderr
    assert (result.returncode != 0) is fails, printed
    return printed if fails else result.stdout
