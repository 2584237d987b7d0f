"""Good clients and scrapes are answered while hostile clients hold connections to the public listener."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import pytest

from tests.support.guarded import guarded_exporter
from tests.support.hostility import hostile, signed
from tests.support.running import Exporter, exchange


@pytest.fixture
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Exporter]:
    """Yield an exporter that requires signatures; it may not log an error."""
    with guarded_exporter(tmp_path_factory.mktemp("hostile")) as guarded:
        yield guarded.running
    assert [line for line in guarded.running.lines if "Traceback" in line or "level=error" in line] == []


@pytest.mark.parametrize(("number", "good"), [(200, 50), (1_100, 10)], ids=["some", "more than the limit"])
def test_good_clients_are_answered(guarded: Exporter, number: int, good: int) -> None:
    """With all kinds of hostile clients connected, each good request is counted."""
    requests = signed(range(good))
    with hostile(guarded.public, number), ThreadPoolExecutor(4) as pool:
        one_by_one = [exchange(guarded.public, raw).status for raw in requests[: good // 2]]
        at_once = list(pool.map(partial(exchange, guarded.public), requests[good // 2 :]))
        assert [*one_by_one, *(answer.status for answer in at_once)] == [200] * good
        assert guarded.failures() == {"rcptto/5xx/5.1.1": good}
