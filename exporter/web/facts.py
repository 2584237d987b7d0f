"""The facts that the status page shows."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from exporter.classification.loops import FAILURES, Loop
from exporter.metrics.activity import Event, Misdirected
from exporter.metrics.collector import Snapshot, last_counted, latest
from exporter.metrics.recent import LastDay
from exporter.web.lines import State


@dataclass(frozen=True, kw_only=True)
class Facts:
    """Everything that the page shows, at the time ``now``. Times are seconds since the epoch, 0 for never."""

    now: float
    since: float
    """When this process started."""
    version: str
    machine: str
    docs_url: str
    public_url: str
    signature_required: bool
    verification_files: int | None
    """The number of verification files that can be served; None if no directory is set."""
    verification_problem: str | None
    """Why the directory, or one of its files, cannot be served; None if all can."""
    last: Mapping[Event, float]
    """When this process last saw each kind of event."""
    refusals: Mapping[str, int]
    """The number of requests rejected in the last hour, by reason."""
    misdirected: Sequence[Misdirected]
    """The webhooks of a wrong type whose events were rejected in the last hour."""
    loops: Sequence[Loop]
    """The loops that are served."""
    requests: Mapping[str, float]
    """When this process last received a request for each loop."""
    counts: Mapping[str, float]
    """When this process last counted an event of each loop."""
    engine: str
    """The database that holds the ledger."""
    shared: bool
    """Whether other replicas may use the same ledger."""
    recent: LastDay
    """The failures and deliveries that this process counted."""
    ledger: Snapshot
    problem: str | None
    """Why the ledger is not writable; None if it is."""
    only_failures: bool
    """Whether only failures are recorded, because space is short."""
    birth_hold: float
    """Seconds for which a new series is shown as 0."""
    keys: Sequence[tuple[float, bool]]
    """For each cached key, its age in seconds and whether it has expired."""

    def at(self, event: Event) -> float:
        """Return when the event was last seen."""
        return self.last.get(event, 0.0)

    @property
    def last_failure(self) -> float:
        """When a failure was last counted, by this process or by the ledger's latest snapshot."""
        return self.last_counted(FAILURES)

    def last_counted(self, loop: Loop) -> float:
        """Return when an event of a loop was last counted, by this process or by the ledger's latest snapshot."""
        in_ledger = last_counted(self.ledger.totals, loop, now=self.now)
        return latest((self.counts.get(loop.name, 0.0), in_ledger), now=self.now)

    @property
    def none_yet(self) -> State:
        """The state for an event not seen since the start.

        Unknown if the ledger has failures, because the event may have happened earlier.
        """
        return State.UNKNOWN if self.last_failure else State.NOT_YET
