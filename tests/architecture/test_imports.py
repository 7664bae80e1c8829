"""A server or command does not import what it does not use: that would cost memory and CPU at each start."""

import os
import subprocess
import sys
from pathlib import Path

from tests.service import ROOT

OF_A_CLUSTER = ("psycopg", "psycopg_pool", "procrastinate", "obstore")
OF_A_FEATURE = ("apprise", "argon2", "cryptography", "joserfc", "minify", "segno")
OF_CHILDREN = ("requests", "urllib3", "yt_dlp")
OF_COMMANDS = ("curl_cffi", "rich", "server.assembly.copying", "tqdm")
PROGRAM = f"""
import asyncio, sys
from server.api.protocol import HttpRunner
from server.app import create_app
from server.commands import backup, check, get, serve
from server.commands.head_start import launch_early
from server.settings import load

async def start_and_stop():
    runner = HttpRunner(create_app(load()), access_log=None)
    await runner.setup()
    imported = [*sys.modules]
    await runner.cleanup()
    return imported

imported = asyncio.run(start_and_stop())
print([name for name in {OF_A_CLUSTER + OF_A_FEATURE + OF_CHILDREN + OF_COMMANDS} if name in imported])
"""


def test_the_default_imports_nothing_that_no_request_has_used(tmp_path: Path) -> None:
    """Each of these modules would cost every start its memory and CPU."""
    command = (sys.executable, "-c", PROGRAM)
    environment = os.environ | {"CLIPWIRE_STORAGE__DATA_DIR": str(tmp_path / "data")}
    ran = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60)
    assert ran.stdout == "[]\n", ran.stderr


def test_a_get_from_a_running_server_imports_nothing_of_the_server_but_its_commands() -> None:
    """A `get` from a running server takes mostly the time of its imports."""
    program = """
import sys
from server.commands import cli, get, get_command, progress_display, remote, request_options
remote.remote(None)
print(sorted(name for name in sys.modules if name.startswith("server.") and ".commands" not in name))
print([name for name in ("tqdm", "yt_dlp", "rich") if name in sys.modules])
"""
    ran = subprocess.run(
        (sys.executable, "-c", program), cwd=ROOT, capture_output=True, text=True, timeout=60
    )
    assert (ran.stdout, ran.stderr) == ("[]\n[]\n", "")


def test_before_it_is_known_whether_a_server_runs_nothing_is_imported_that_takes_its_time() -> None:
    """`get` starts a server of its own first, then imports the rest while that server starts."""
    program = """
import sys
from server.commands import cli, get_command, own_server, progress_display, remote, request_options, saving
remote.remote(None).refuses_connections()
print([name for name in ("aiohttp", "pydantic", "clipwire_client.client") if name in sys.modules])
"""
    ran = subprocess.run(
        (sys.executable, "-c", program), cwd=ROOT, capture_output=True, text=True, timeout=60
    )
    assert (ran.stdout, ran.stderr) == ("[]\n", "")
