"""Whoever holds connections to the public listener, good clients and Prometheus are answered."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import pytest

from tests.support.hostility import hostile, signed
from tests.support.running import Exporter, exchange, exporter
from tests.support.signing import ACCOUNT, KEY_ID, NameServer, key, record


@pytest.fixture
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Exporter]:
    """An exporter that wants signatures, and must not have found a fault in itself."""
    flags = ("--signature.mode", "required", "--signature.account", ACCOUNT)
    with NameServer() as name_server:
        name_server.records[KEY_ID] = [record(key())]
        folder = tmp_path_factory.mktemp("hostile")
        with exporter(folder, *flags, "--signature.nameserver", name_server.address) as running:
            yield running
        assert [line for line in running.lines if "Traceback" in line or "level=error" in line] == []


@pytest.mark.parametrize(("number", "good"), [(200, 50), (1_100, 10)], ids=["some", "more than are let in"])
def test_good_clients_are_answered(guarded: Exporter, number: int, good: int) -> None:
    """Idle, slow, half, oversized, garbage, endless, deaf: with all of them there, each good request counts."""
    requests = signed(range(good))
    with hostile(guarded.public, number), ThreadPoolExecutor(4) as pool:
        one_by_one = [exchange(guarded.public, raw).status for raw in requests[: good // 2]]
        at_once = list(pool.map(partial(exchange, guarded.public), requests[good // 2 :]))
        assert [*one_by_one, *(answer.status for answer in at_once)] == [200] * good
        assert guarded.failures() == {"rcptto/5xx/5.1.1": good}
