"""Runs scripts, each in a fork of an interpreter that has imported yt-dlp: what a script changes ends with
its fork.

The import takes a third of a second of CPU, and there are dozens of such scripts.
"""

import asyncio
import atexit
import functools
import json
import subprocess
import sys
import tempfile
import threading
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]

# For each line on stdin: fork, run its script, print its exit status. It imports no module of this project.
_FORKING = """
import json, os, sys, traceback
import yt_dlp

def run(script, arguments, output):
    sys.argv[1:] = arguments
    os.dup2(output, 1)
    try:
        exec(script, {"__name__": "__main__"})
        sys.stdout.flush()
        os._exit(0)
    except BaseException:
        traceback.print_exc()
        os._exit(1)

for line in sys.stdin:
    script, arguments, target = json.loads(line)
    output = os.open(target, os.O_WRONLY)
    child = os.fork() or run(script, arguments, output)
    os.close(output)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""


async def run(script: str, argument: object) -> Any:
    """Run `script` with the checkout and `argument`, as JSON, in `sys.argv[1:]`; return what it prints,
    parsed as JSON.
    """
    async with asyncio.timeout(60):
        return await asyncio.to_thread(_forking().run, script, [str(ROOT), json.dumps(argument)])


class _Forking:
    def __init__(self) -> None:
        self._one_at_a_time = threading.Lock()
        self._process = subprocess.Popen(
            (sys.executable, "-I", "-c", _FORKING), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def run(self, script: str, arguments: list[str]) -> Any:
        assert self._process.stdin
        assert self._process.stdout
        with self._one_at_a_time, tempfile.NamedTemporaryFile() as said:
            print(json.dumps([script, arguments, said.name]), file=self._process.stdin, flush=True)
            assert self._process.stdout.readline() == "0\n"
            return json.load(said)

    def close(self) -> None:
        self._process.communicate()  # closes the interpreter's stdin, which ends the interpreter


@functools.cache
def _forking() -> _Forking:
    forking = _Forking()
    atexit.register(forking.close)
    return forking
