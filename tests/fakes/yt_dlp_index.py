"""An index for pip on loopback, with releases that are copies of the installed yt-dlp under other version
numbers.
"""

import hashlib
import io
import json
import re
import shutil
import threading
import zipfile
from base64 import urlsafe_b64encode
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.metadata import distribution
from pathlib import Path

NEWER, NEWEST = "2026.12.1", "2027.1.2"
GENERIC = "yt_dlp/extractor/generic.py"
Change = tuple[str, str, str]  # a file, a text in it, and the text that replaces it

# Faults that a release may have.
NO_IMPORT: Change = (
    "yt_dlp/__init__.py",
    "import collections",
    "raise RuntimeError('no')\nimport collections",
)
NO_EXTRACTION: Change = (
    GENERIC,
    "        if url.startswith('//'):",
    "        raise KeyError('no')\n        if url:",
)
# The page is refused as yt-dlp refuses one; this is no fault of the release.
REFUSAL: Change = (
    GENERIC,
    "        if url.startswith('//'):",
    "        raise ExtractorError('no', expected=True)\n        if url:",
)
# A method that children call has other parameters, and the table of borrowed parts does not tell: such a task
# ends as `internal`.
FAULT: Change = (
    "yt_dlp/YoutubeDL.py",
    "    def dl(self, name, info, subtitle=False, test=False):\n",
    "    def dl(self):\n        pass\n\n    def was_dl(self, name, info, subtitle=False, test=False):\n",
)


@cache
def _files() -> dict[str, bytes]:
    """Return the files of the installed release: names in its wheel, and contents."""
    release = distribution("yt-dlp")
    assert release.files
    return {
        str(file): Path(str(release.locate_file(file))).read_bytes()
        for file in release.files
        if re.match(r"yt_dlp/(?!.*__pycache__)|.*\.dist-info/(METADATA|WHEEL|entry_points\.txt)$", str(file))
    }


def _changed(version: str, changes: tuple[Change, ...]) -> dict[str, bytes]:
    old = distribution("yt-dlp").version
    number: Change = ("yt_dlp/version.py", old, version)
    meta: Change = (f"yt_dlp-{old}.dist-info/METADATA", f"\nVersion: {old}\n", f"\nVersion: {version}\n")
    files = dict(_files())
    for name, text, other in (number, meta, *changes):
        before = files[name].decode()
        assert text in before, (name, text)
        files[name] = before.replace(text, other, 1).encode()
    return files


def make_wheel(version: str, *changes: Change) -> tuple[str, bytes]:
    """Return the name and the content of a wheel."""
    old, files = distribution("yt-dlp").version, _changed(version, changes)
    files = {name.replace(f"-{old}.dist", f"-{version}.dist"): content for name, content in files.items()}
    lines = [
        f"{name},sha256={urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b'=').decode()},"
        for name, content in files.items()
    ]
    record = f"yt_dlp-{version}.dist-info/RECORD"
    files[record] = "\n".join([*lines, f"{record},,", ""]).encode()
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as wheel:
        for name, content in files.items():
            wheel.writestr(name, content)
    return f"yt_dlp-{version}-py3-none-any.whl", packed.getvalue()


def lay_out(folder: Path, version: str, *changes: Change) -> None:
    """Write the folder that an update would make of this release, with the bytecode of the installed one:
    this takes no time.
    """
    source = Path(str(distribution("yt-dlp").locate_file("yt_dlp")))
    shutil.copytree(source, folder / "yt_dlp")
    for name, content in _changed(version, changes).items():
        if name == "yt_dlp/version.py" or name in {change[0] for change in changes}:
            (folder / name).write_bytes(content)


@dataclass
class Index:
    """The index. `url` is what pip is to be configured with. `before` is called with the number of a request
    and its path; it may wait, or kill a process.
    """

    url: str = ""
    asked: list[str] = field(default_factory=list)
    before: Callable[[int, str], None] = lambda number, path: None
    as_json: bool = False
    _wheels: dict[str, tuple[bytes, str | None, str]] = field(default_factory=dict)

    def put(
        self, version: str, *changes: Change, sha256: str | None = "", requires_python: str = ">=3.11"
    ) -> None:
        """Offer a release. `sha256` is the hash that the index states: the right one by default, none if
        None.
        """
        name, content = make_wheel(version, *changes)
        true = hashlib.sha256(content).hexdigest()
        self._wheels[name] = content, true if sha256 == "" else sha256, requires_python

    def answer(self, path: str) -> tuple[str, bytes] | None:
        """Return media type and body of the answer for `path`, or None."""
        if path == "/index/yt-dlp/":
            return self._json() if self.as_json else ("text/html", self._html().encode())
        wheel = self._wheels.get(path.removeprefix("/files/"))
        return ("application/octet-stream", wheel[0]) if wheel else None

    def _html(self) -> str:
        """Return the index page as PEP 503 describes it."""
        links = (
            f'<a href="/files/{name}{f"#sha256={sha256}" if sha256 else ""}"'
            f' data-requires-python="{requires.replace(">", "&gt;")}">{name}</a><br>'
            for name, (_, sha256, requires) in self._wheels.items()
        )
        return f"<!DOCTYPE html><html><body>{''.join(links)}</body></html>"

    def _json(self) -> tuple[str, bytes]:
        """Return media type and body of the index page as PEP 691 describes it."""
        files = [
            {"filename": name, "url": f"/files/{name}", "requires-python": requires,
             "hashes": {"sha256": sha256} if sha256 else {}}
            for name, (_, sha256, requires) in self._wheels.items()
        ]  # fmt: skip
        body = {"meta": {"api-version": "1.0"}, "name": "yt-dlp", "files": files}
        return f"application/vnd.{'pypi'}.simple.v1+json", json.dumps(body).encode()

    @property
    def environment(self) -> dict[str, str]:
        """Return the environment that configures pip."""
        return {"PIP_INDEX_URL": self.url, "PIP_CONFIG_FILE": "/dev/null", "PIP_RETRIES": "0"}


@contextmanager
def running_index() -> Iterator[Index]:
    index, numbers = Index(), iter(range(1 << 20))

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            index.asked.append(self.path)
            index.before(next(numbers), self.path)
            answer = index.answer(self.path)
            self.send_response(200 if answer else 404)
            self.send_header("Content-Type", answer[0] if answer else "text/plain")
            self.send_header("Content-Length", str(len(answer[1]) if answer else 0))
            self.end_headers()
            with suppress(ConnectionError):  # the client may have been killed
                self.wfile.write(answer[1] if answer else b"")

        def log_message(self, *_: object) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    serving = threading.Thread(target=server.serve_forever, args=(0.02,), name="index")
    serving.start()
    index.url = f"http://127.0.0.1:{server.server_port}/index"
    try:
        yield index
    finally:
        server.shutdown()
        serving.join()
        server.server_close()
