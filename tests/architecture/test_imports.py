"""What a server does not pay for that does not use it."""

import subprocess
import sys

from tests.service import ROOT

OF_A_CLUSTER = ("psycopg", "psycopg_pool", "procrastinate", "obstore")
ON_DEMAND = ("segno",)
PROGRAM = f"""
import sys
from server.app import create_app
from server.commands import backup, check, get, serve
from server.settings import Settings
create_app(Settings())
print([name for name in {OF_A_CLUSTER + ON_DEMAND} if name in sys.modules])
"""


def test_the_default_imports_nothing_that_only_others_need() -> None:
    command = (sys.executable, "-c", PROGRAM)
    ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert (ran.stdout, ran.stderr) == ("[]\n", "")


def test_a_get_from_a_running_server_imports_nothing_of_the_server_but_its_commands() -> None:
    """Its start is most of what somebody waits for."""
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
    """A server of its own starts while `get` imports the rest."""
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
