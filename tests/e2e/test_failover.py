"""Failover of PostgreSQL under load: each failure that was answered 200 is counted exactly once."""

import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from tests.support.postgres import QUOTED, postgres
from tests.support.replicas import Replica, Resender
from tests.support.running import until
from tests.support.sender import kind_of

CONNECTIONS: Final = 16
"""Connections to each exporter."""
ENOUGH: Final = 500
"""Failures that each exporter answers 200 before the primary is killed, and after the failover."""


@contextmanager
def sending(senders: list[Resender]) -> Iterator[None]:
    """Let all senders send during the block, and then until each failure was answered 200."""
    over = threading.Event()
    threads = [
        threading.Thread(target=sender.run, args=(over,), daemon=True) for sender in senders for _ in range(CONNECTIONS)
    ]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        over.set()
    until(lambda: not any(thread.is_alive() for thread in threads))


def wait_for_answers(senders: list[Resender], more: int) -> None:
    """Wait until each sender has had this many more answers 200."""
    goals = [len(sender.answered) + more for sender in senders]
    until(lambda: all(len(sender.answered) >= goal for sender, goal in zip(senders, goals, strict=True)))


def test_a_promoted_standby_has_every_answered_failure(tmp_path: Path) -> None:
    """The primary is killed and its synchronous standby promoted. Two exporters that know both hosts find it.

    Both get the same failures all the time, and both expose each failure once in the end.
    """
    with postgres() as primary, postgres(primary=primary) as standby:
        hosts = f"127.0.0.1:{primary.port},127.0.0.1:{standby.port}"
        url = f"postgresql://exporter:{QUOTED}@{hosts}/postgres?target_session_attrs=read-write"
        replicas = [Replica(tmp_path / name, url) for name in ("a", "b")]
        senders = [Resender(replica.public) for replica in replicas]
        try:
            with sending(senders):
                wait_for_answers(senders, ENOUGH)
                primary.kill()
                until(lambda: all(sender.rejected for sender in senders))
                standby.promote()
                wait_for_answers(senders, ENOUGH)
            sent = max(sender.sent for sender in senders)
            assert [sender.answered for sender in senders] == [set(range(sender.sent)) for sender in senders]
            expected = Counter(kind_of(number) for number in range(sent))
            assert [replica.exporter.failures() for replica in replicas] == [expected] * 2
        finally:
            for replica in replicas:
                replica.exporter.end()
