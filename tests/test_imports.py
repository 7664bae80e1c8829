"""What a server without PostgreSQL does not pay for."""

import subprocess
import sys

from tests.service import ROOT

OF_A_CLUSTER = ("psycopg", "psycopg_pool", "procrastinate", "obstore")
PROGRAM = f"""
import sys
from server.app import create_app
from server.commands import backup, check, get, serve
from server.settings import Settings
create_app(Settings())
print([name for name in {OF_A_CLUSTER} if name in sys.modules])
"""


def test_the_default_imports_nothing_that_only_a_cluster_needs() -> None:
    command = (sys.executable, "-c", PROGRAM)
    ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert (ran.stdout, ran.stderr) == ("[]\n", "")
