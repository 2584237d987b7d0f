"""A primary that dies and a standby that takes over, under load: each failure that was answered 200 counts once."""

import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from tests.e2e.test_exactly_once import kind_of
from tests.e2e.test_replicas import Replica, Resender
from tests.support.postgres import QUOTED, postgres
from tests.support.running import until

CONNECTIONS: Final = 16
"""To each exporter."""
ENOUGH: Final = 500
"""Failures answered 200 by each exporter before the primary dies, and after the standby has taken over."""


@contextmanager
def sending(senders: list[Resender]) -> Iterator[None]:
    """Let all of them send meanwhile, and at the end until each failure was answered 200."""
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


def answered(senders: list[Resender], more: int) -> None:
    """Wait until each of them has had so many more answers 200."""
    before = [len(sender.answered) for sender in senders]
    until(lambda: all(len(sender.answered) >= had + more for sender, had in zip(senders, before, strict=True)))


def test_a_standby_that_takes_over_has_all_that_was_answered(tmp_path: Path) -> None:
    """The primary is killed and its synchronous standby promoted: two exporters that know both hosts find the new one.

    Both are sent the same failures all the time; what they show then is each failure once.
    """
    with postgres() as primary, postgres(primary=primary) as standby:
        hosts = f"127.0.0.1:{primary.port},127.0.0.1:{standby.port}"
        url = f"postgresql://exporter:{QUOTED}@{hosts}/postgres?target_session_attrs=read-write"
        replicas = [Replica(tmp_path / name, url) for name in ("a", "b")]
        senders = [Resender(replica.public) for replica in replicas]
        try:
            with sending(senders):
                answered(senders, ENOUGH)
                primary.kill()
                until(lambda: all(sender.refused for sender in senders))
                standby.promote()
                answered(senders, ENOUGH)
            sent = max(sender.sent for sender in senders)
            assert [sender.answered for sender in senders] == [set(range(sender.sent)) for sender in senders]
            expected = Counter(kind_of(number) for number in range(sent))
            assert [replica.exporter.failures() for replica in replicas] == [expected] * 2
        finally:
            for replica in replicas:
                replica.exporter.end()
