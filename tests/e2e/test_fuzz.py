"""Mutated requests to a running exporter. ``make fuzz`` sends 100,000 and checks the memory."""

from pathlib import Path
from typing import Final

from tests.support.forgeries import FORGERIES, VALID_EVERY, forge
from tests.support.guarded import REQUIRED
from tests.support.mutations import STATUSES, fuzz, name_server
from tests.support.running import exporter
from tests.support.signing import ACCOUNT

AMOUNT: Final = 2_000


def test_mutated_requests(tmp_path: Path) -> None:
    """Each request gets the right answer, only those answered 200 are counted, and no internal error is logged."""
    flags = ("--signature.mode", "required", "--signature.account", ACCOUNT, "--log.level", "debug")
    with name_server() as names, exporter(tmp_path, *flags, "--signature.nameserver", names.address) as running:
        outcome = fuzz(running.public, AMOUNT, "a test", connections=8)
        counted, repeated = sum(running.failures().values()), running.samples()["smtpeter_exporter_duplicates_total"]
    assert outcome.problems == []
    assert outcome.cases == AMOUNT
    assert outcome.statuses.keys() <= STATUSES
    assert {200, 400, 403, 404, 405, 413, 415, 431} <= outcome.statuses.keys()
    assert (counted, repeated) == (outcome.counted, outcome.repeated)
    assert counted > AMOUNT / 4
    assert [line for line in running.lines if not line.startswith("ts=") or "Traceback" in line] == []
    assert {line["level"] for line in running.log()} <= {"debug", "info", "warning"}


def test_forged_signatures(tmp_path: Path) -> None:
    """No forgery of any kind is accepted or counted; the valid requests in between are. ``make fuzz`` sends 1,300."""
    amount = 5 * len(FORGERIES)
    with name_server() as names, exporter(tmp_path, *REQUIRED, "--signature.nameserver", names.address) as running:
        outcome = forge(running.public, amount, "a test", first=0)
        assert running.failures() == {"rcptto/5xx/5.1.1": amount // VALID_EVERY}
    assert (outcome.problems, outcome.forged, outcome.valid) == ([], amount, amount // VALID_EVERY)
