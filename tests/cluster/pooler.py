"""A real PgBouncer in front of a database, in transaction pooling mode."""

import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

import pytest

from tests.cluster.folders import own_folder
from tests.cluster.postgres import as_somebody
from tests.ports import free_port

READY_WITHIN = 10.0  # seconds that PgBouncer may take to answer
_SETTINGS = """
[databases]
* = host={host} port={port} user={user}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {ours}
unix_socket_dir =
auth_type = any
pool_mode = transaction
"""


@contextmanager
def pooled(url: str) -> Iterator[str]:
    """Start a PgBouncer in front of `url`; yield its address. Skips the test if PgBouncer is not
    installed.
    """
    program = shutil.which("pgbouncer", path="/usr/sbin:/usr/bin") or shutil.which("pgbouncer")
    if not program:  # no Python package contains PgBouncer, so the test is skipped even in CI
        pytest.skip("NOT TESTED, for want of PgBouncer: apt-get install pgbouncer")
    there, ours = urlsplit(url), free_port()
    with own_folder("pooler", "/tmp") as folder:
        folder.chmod(0o755)  # PgBouncer may run as another user, who must read the folder
        settings = folder / "settings.ini"
        settings.write_text(
            _SETTINGS.format(host=there.hostname, port=there.port, user=there.username, ours=ours)
        )
        with (folder / "log").open("wb") as log:
            command = (*as_somebody(), program, str(settings))
            process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        try:
            _wait_until_it_listens(ours, process)
            yield there._replace(netloc=f"{there.username}@127.0.0.1:{ours}").geturl()
        finally:
            process.kill()
            process.wait()


def _wait_until_it_listens(port: int, process: "subprocess.Popen[bytes]") -> None:
    give_up = time.monotonic() + READY_WITHIN
    while True:
        with socket.socket() as door:
            if not door.connect_ex(("127.0.0.1", port)):
                return
        if process.poll() is not None or time.monotonic() > give_up:
            raise RuntimeError("PgBouncer does not start")
        time.sleep(0.02)
