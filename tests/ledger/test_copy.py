"""``ledger copy``: from any engine to any other, all of it, also when it is cut off; and never over what is there."""

import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Final

import pytest

from exporter.errors import LedgerError
from exporter.ledger import copy as ledger_copy
from exporter.ledger.contract import COPYING, DAY, Ledger, StoredIdentity, Total
from exporter.ledger.copy import copy
from exporter.ledger.postgres import PostgresLedger
from exporter.ledger.url import PostgresUrl
from tests.ledger.test_contract import BOUNCE, DEFER, ENGINES, NOW, database_of, failures, identity, server
from tests.ledger.test_contract import failure as record
from tests.support.running import command, environment, exporter, failure

PAIRS: Final = [(source, target) for source in ENGINES for target in ENGINES]
Open = Callable[[str, str], Ledger]


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[Open]:
    """Opens a ledger of an engine under a name; all are closed afterwards."""
    with ExitStack() as stack:

        def open_one(engine: str, name: str) -> Ledger:
            (tmp_path / name).mkdir(exist_ok=True)
            ledger = ENGINES[engine](tmp_path / name, NOW)
            stack.callback(ledger.close)
            return ledger

        yield open_one


@pytest.fixture(autouse=True)
def _small_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ledger_copy, "PAGE", 7)


def filled(ledger: Ledger) -> Ledger:
    """With 100 failures of two days and two series, one of them held."""
    ledger.record(failures(range(60)), now=NOW, held=False)
    ledger.record([record(number, DEFER) for number in range(60, 100)], now=NOW + DAY, held=True)
    return ledger


class Interrupted(Exception):
    """The copy is cut off."""


class Failing:
    """A ledger that takes so many pages and then no more."""

    def __init__(self, ledger: Ledger, pages: int) -> None:
        self._ledger = ledger
        self._pages = pages

    def __getattr__(self, name: str) -> object:
        """What the ledger itself does."""
        return getattr(self._ledger, name)

    def keep(self, identities: list[StoredIdentity]) -> None:
        """Pass it on, or fail."""
        if not self._pages:
            raise Interrupted
        self._pages -= 1
        self._ledger.keep(identities)


@pytest.mark.parametrize(("source", "target"), PAIRS)
def test_copies_everything(opened: Open, source: str, target: str) -> None:
    """Totals, births and days are the same, and what the source had counted does not count again."""
    first, second = filled(opened(source, "a")), opened(target, "b")
    assert copy(first, second, say=print) == "copied 100 identities and 2 series, 100 in all"
    assert sorted(second.totals()) == sorted(first.totals())
    assert second.identities(b"", 1_000) == first.identities(b"", 1_000)
    assert second.record(failures(range(90, 102)), now=NOW, held=False) == [False] * 10 + [True] * 2
    assert {total.series: total.value for total in second.totals()} == {BOUNCE: 62, DEFER: 40}


@pytest.mark.parametrize(("source", "target"), PAIRS)
def test_goes_on_where_it_was_cut_off(opened: Open, source: str, target: str) -> None:
    """Cut off after five pages, it shows only that it was begun; run again it takes the other pages, and is right."""
    first, second = filled(opened(source, "a")), opened(target, "b")
    with pytest.raises(Interrupted):
        copy(first, Failing(second, 5), say=print)  # type: ignore[arg-type]  # all that copy uses
    assert second.totals() == [Total(COPYING, 0, held=False, raised_at=0)]
    assert len(second.identities(b"", 1_000)) == 35
    copy(first, Failing(second, 10), say=print)  # type: ignore[arg-type]  # all that copy uses
    assert sorted(second.totals()) == sorted(first.totals())
    assert second.identities(b"", 1_000) == first.identities(b"", 1_000)


@pytest.mark.parametrize(("source", "target"), PAIRS)
def test_a_copy_that_was_whole_is_found_so(opened: Open, source: str, target: str) -> None:
    """Cut off after its last step, and run again: all of it is compared, and it says that nothing was left to do."""
    first, second = filled(opened(source, "a")), opened(target, "b")
    copy(first, second, say=print)
    assert copy(first, second, say=print) == "was copied before: 100 identities and 2 series are the same"
    second.record(failures([1_000]), now=NOW, held=False)
    with pytest.raises(LedgerError, match="DST has counted failures of its own"):
        copy(first, second, say=print)


def test_times_are_copied_in_full(opened: Open) -> None:
    """A database that shows numbers with fewer digits, as before PostgreSQL 12, takes the totals as they are."""
    first = opened("sqlite", "a")
    first.record(failures([1]), now=NOW + 0.123456789, held=False)
    url = server().create("digits")
    server().execute("ALTER DATABASE digits SET extra_float_digits = 0")
    second = PostgresLedger(PostgresUrl(url), now=NOW)
    copy(first, second, say=print)
    assert second.totals() == first.totals()
    second.close()


@pytest.mark.parametrize("target", ENGINES)
def test_never_writes_over_counts(opened: Open, target: str) -> None:
    """A target that has counted is refused before and, should it have counted meanwhile, at the end."""
    first, second = filled(opened("sqlite", "a")), opened(target, "b")
    second.record(failures([7]), now=NOW, held=False)
    for attempt in (lambda: copy(first, second, say=print), lambda: second.adopt(first.totals())):
        with pytest.raises(LedgerError, match="DST has counted failures of its own"):
            attempt()
    assert second.totals() == [Total(BOUNCE, 1, held=False, raised_at=NOW)]


@pytest.mark.parametrize("target", ENGINES)
def test_target_that_knows_other_failures_is_refused(opened: Open, target: str) -> None:
    """Identities that the source does not hold, here of another copy, are found out, wherever they fall."""
    first, second = filled(opened("sqlite", "a")), opened(target, "b")
    second.adopt([Total(COPYING, 0, held=False, raised_at=0)])
    second.keep([StoredIdentity(identity(1_000), 1)])
    with pytest.raises(LedgerError, match="DST knows failures that SRC does not"):
        copy(first, second, say=print)
    assert second.totals() == [Total(COPYING, 0, held=False, raised_at=0)]


def ended(*words: str) -> tuple[int, str]:
    """Exit code and output of ``ledger copy``."""
    done = subprocess.run(
        [sys.executable, "-m", "exporter", "ledger", "copy", *words],
        check=False,
        capture_output=True,
        text=True,
        env=environment(),
    )
    return done.returncode, done.stdout + done.stderr


def test_moves_an_exporter_to_postgresql_and_back(tmp_path: Path) -> None:
    """As a user would: stop, copy, start on the other ledger; what was counted stays counted, once, both ways."""
    url = server().create("moving")
    here, there = f"sqlite:///{tmp_path}/ledger.db", f"sqlite:///{tmp_path}/back.db"
    with exporter(tmp_path) as running:
        assert [running.post(failure(number)).status for number in (1, 2)] == [200, 200]
        code, said = ended(here, url)
        assert (code, "another exporter" in said) == (3, True)
    assert ended(here, url) == (0, "copied 2 identities and 4 series, 8 in all\n")
    with exporter(tmp_path, "--storage.url", url) as running:
        assert [running.post(failure(number)).status for number in (2, 3)] == [200, 200]
        assert running.failures() == {"rcptto/5xx/5.1.1": 3}
        code, said = ended(url, there)
        assert (code, "an exporter has it; stop all of them first" in said) == (3, True)
    assert ended(url, there) == (0, "copied 3 identities and 4 series, 12 in all\n")
    with exporter(tmp_path, "--storage.url", there) as running:
        assert [running.post(failure(number)).status for number in (1, 2, 3)] == [200, 200, 200]
        assert running.failures() == {"rcptto/5xx/5.1.1": 3}


def test_mistakes_are_told(tmp_path: Path) -> None:
    """No URL, no such file, nothing in it: one line each that says what is wrong."""
    ledger = f"sqlite:///{tmp_path}/a.db"
    code, said = ended("ledger.db", ledger)
    assert (code, "SRC: 'ledger.db': expected sqlite:///" in said, said.count("\n")) == (2, True, 1)
    assert ended(ledger, f"sqlite:///{tmp_path}/b.db") == (
        3,
        f"smtpeter-exporter: ledger {tmp_path}/a.db: there is no such file\n",
    )
    database = server().create("nothing")
    code, said = ended(database, ledger)
    assert (code, "there is none in this database" in said) == (3, True)
    assert not server().execute("SELECT 1 FROM pg_class WHERE relname LIKE 'smtpeter%'", "nothing")
    with exporter(tmp_path, "--storage.url", ledger):
        pass
    assert ended(ledger, f"sqlite:///{tmp_path}/b.db") == (
        3,
        "smtpeter-exporter: SRC is empty: there is nothing to copy\n",
    )


@pytest.mark.parametrize("engine", ENGINES)
def test_no_exporter_starts_on_half_a_copy(tmp_path: Path, engine: str) -> None:
    """A ledger that a copy was begun to is refused with exit code 3 and what to do."""
    ledger = ENGINES[engine](tmp_path, NOW)
    ledger.adopt([Total(COPYING, 0, held=False, raised_at=0)])
    ledger.close()
    url = server().url(database_of(tmp_path)) if engine == "postgresql" else f"sqlite:///{tmp_path}/ledger.db"
    done = subprocess.run(
        command(tmp_path, "--storage.url", url), check=False, capture_output=True, text=True, env=environment()
    )
    assert (done.returncode, "a copy to it was not ended; run ledger copy again, or delete it" in done.stderr) == (
        3,
        True,
    )
