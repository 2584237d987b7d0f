"""Cut the power at many moments of a run, and open with the exporter's own code what the disk then holds."""

import signal
import tempfile
from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from http.client import HTTPConnection
from pathlib import Path
from random import Random
from typing import Final, NamedTuple
from urllib.parse import urlencode

from bench.disk import Disk
from bench.kills import Verdict
from bench.write_trace import Answer, Event, read_trace, traced
from deploy.demo.running import response_of
from exporter.classification.classifier import Classifier
from exporter.classification.labels import LabelSets
from exporter.classification.providers import Providers
from exporter.classification.series import Record, Series
from exporter.errors import LedgerError
from exporter.ledger.sqlite import SqliteLedger
from exporter.webhook.parsing import parse
from tests.support.records import NOW
from tests.support.running import FORM, TIMEOUT, exporter, failure
from tests.support.sender import KINDS, kind_of

CLIENTS: Final = 8
LEDGER: Final = "ledger.db"


class Recording(NamedTuple):
    """The events of a run whose ledger is the file ``ledger``, and the number of failures that were sent."""

    ledger: str
    events: Sequence[Event]
    sent: int


class Cuts(NamedTuple):
    """The results: how many cuts were during a checkpoint, after how many there was a problem, and the problems.

    A ledger that can't be opened has lost everything.
    """

    during_checkpoints: int
    verdict: Verdict
    problems: list[str]


def record_run(directory: Path, amount: int) -> Recording:
    """Send an exporter under strace this many failures, and some of them twice; kill and restart it in the middle."""
    events: list[Event] = []
    trace = directory / "trace"
    for numbers, end in ((range(amount // 2), signal.SIGKILL), (range(amount // 2, amount), signal.SIGTERM)):
        with exporter(directory, measured=False, program=traced(trace)) as running:
            sent = _send(running.public, numbers)
            running.stop(end)
        events += read_trace(trace, running.pid, directory, sent)
        trace.unlink()
    disk = Disk()
    for event in events:
        if not isinstance(event, Answer):
            disk.apply(event)
    real = {str(path): path.read_bytes() for path in directory.glob(f"{LEDGER}*") if path.suffix != ".lock"}
    assert disk.contents() == real, "the trace lacks a change of the ledger"
    return Recording(str(directory / LEDGER), events, amount)


def _send(address: str, numbers: range) -> dict[int, list[int]]:
    """Send the failures over several connections; return the numbers in the order of each connection, by its port."""

    def run(share: range) -> tuple[int, list[int]]:
        connection = HTTPConnection(address, timeout=TIMEOUT)
        connection.connect()
        port: int = connection.sock.getsockname()[1]
        sent: list[int] = []
        for number in share:
            for one in (number, sent[len(sent) // 2]) if len(sent) % 10 == 9 else (number,):
                connection.request("POST", "/failures", _body(one), {"Content-Type": FORM})
                assert response_of(connection.getresponse()).status == 200
                sent.append(one)
        assert connection.sock.getsockname()[1] == port, "the exporter closed a connection"
        connection.close()
        return port, sent

    with ThreadPoolExecutor(CLIENTS) as pool:
        return dict(pool.map(run, [numbers[client::CLIENTS] for client in range(CLIENTS)]))


def _body(number: int) -> bytes:
    return urlencode(failure(number, **KINDS[kind_of(number)])).encode()


def records_of(numbers: range) -> list[Record]:
    """Return the records of the failures with these numbers."""
    classifier = Classifier(LabelSets(), Providers({}), ())
    return [classifier.event_of(parse(FORM, _body(number))).record for number in numbers]


def cut_power(recording: Recording, points: int, seed: int) -> Cuts:
    """Cut the power at a number of points, half of them during checkpoints; each leaves other writes on the disk."""
    chance = Random(seed)  # noqa: S311 -- seeded
    records = records_of(range(recording.sent))
    busy = _checkpoints(recording)
    moments = Counter(
        chance.choice(busy) if busy and point % 2 else chance.randrange(len(recording.events) + 1)
        for point in range(points)
    )
    problems: list[tuple[Verdict, str]] = []
    disk, answered = Disk(), set[int]()
    with tempfile.TemporaryDirectory(prefix="chaos-") as name:
        for moment, event in enumerate([*recording.events, None]):
            for _ in range(moments[moment]):
                verdict, why = _judge(Path(name), disk.cut(chance), records, answered)
                if any(verdict):
                    problems.append((verdict, f"cut before event {moment:,} of {len(recording.events):,}: {why}"))
            if isinstance(event, Answer):
                answered.add(event.number)
            elif event is not None:
                disk.apply(event)
    during = sum(moments[moment] for moment in busy)
    lost, twice = (sum(verdict[at] for verdict, _ in problems) for at in (0, 1))
    return Cuts(during, Verdict(lost, twice), [why for _, why in problems])


def _checkpoints(recording: Recording) -> list[int]:
    """Return the moments at which writes to the database file, not to its WAL, are not flushed."""
    disk, busy = Disk(), []
    for moment, event in enumerate(recording.events):
        if disk.pending(recording.ledger):
            busy.append(moment)
        if not isinstance(event, Answer):
            disk.apply(event)
    return busy


def _judge(
    directory: Path, files: Mapping[str, bytes], records: Sequence[Record], answered: set[int]
) -> tuple[Verdict, str]:
    """Open a ledger of these files, and report all failures again; return whether any is lost or counted twice.

    Only identities that the ledger has may be in its totals, and among them are those of all answered failures.
    """
    for old in directory.iterdir():
        old.unlink()
    for path, content in files.items():
        (directory / Path(path).name).write_bytes(content)
    try:
        with closing(SqliteLedger(directory / LEDGER, now=NOW)) as ledger:
            before = _totals(ledger)
            new = ledger.record(records, now=NOW, held=False)
            after = _totals(ledger)
    except LedgerError as error:
        return Verdict(1, 0), str(error)
    stored = {number for number, is_new in enumerate(new) if not is_new}
    if missing := answered - stored:
        return Verdict(1, 0), f"{len(missing)} failures that were answered 200 are missing, such as {min(missing)}"
    for when, totals, numbers in (("before", before, stored), ("after", after, range(len(records)))):
        expected = Counter(series for number in numbers for series in records[number].series)
        if totals != expected:
            return (
                Verdict(int(bool(expected - totals)), int(bool(totals - expected))),
                f"{when} all were sent again: {dict(totals)}, expected {dict(expected)}",
            )
    return Verdict(0, 0), ""


def _totals(ledger: SqliteLedger) -> Counter[Series]:
    return Counter({total.series: total.value for total in ledger.totals() if total.value})
