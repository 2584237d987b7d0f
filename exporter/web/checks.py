"""The lines of the status page: for each step of the setup, what the exporter knows about it and what to do next.

Pure: facts in, lines out. A line claims only what this process can observe. What SMTPeter and Prometheus do is inferred
from their requests.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, NamedTuple

from exporter.metrics.activity import Event
from exporter.metrics.collector import Snapshot, latest
from exporter.refusals import reasons_of

LOOKBACK: Final = 300
"""Seconds without a scrape after which Prometheus no longer returns a series (its default lookback delta)."""
_SIGNED: Final = reasons_of("signed", "foreign", "dns")


class State(StrEnum):
    """The state of one line, as the page shows it."""

    DONE = "done"
    OK = "OK"
    NOT_YET = "not yet"
    PROBLEM = "problem"
    UNKNOWN = "cannot tell"


class Line(NamedTuple):
    """One line of the page. ``text`` and ``todo`` are Markdown with code spans only.

    ``text`` has no full stop at the end; if ``at`` is given, the page appends how long ago that was. ``docs`` is a page
    and heading below docs/, for lines that are neither done nor OK.
    """

    state: State
    text: str
    at: float | None = None
    todo: str = ""
    docs: str = ""
    title: str = ""


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
    loops: Sequence[str]
    """The types of events of other webhooks that were rejected in the last hour."""
    engine: str
    """The database that holds the ledger."""
    shared: bool
    """Whether other replicas may use the same ledger."""
    ledger: Snapshot
    problem: str | None
    """Why the ledger is not writable; None if it is."""
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
        return latest([self.at("counted"), *(total.raised_at for total in self.ledger.totals)], now=self.now)

    @property
    def none_yet(self) -> State:
        """The state for an event not seen since the start.

        Unknown if the ledger has failures, because the event may have happened earlier.
        """
        return State.UNKNOWN if self.last_failure else State.NOT_YET


def steps(facts: Facts) -> list[Line]:
    """Return the steps of the setup, in order."""
    checks = {
        "Public URL": _public_url,
        "Verification file": _verification_file,
        "Signed requests": _signed_requests,
        "Failures": _failures,
        "Scrapes": _scrapes,
    }
    return [_titled(title, check(facts)) for title, check in checks.items()]


def parts(facts: Facts) -> list[Line]:
    """Return the state of what the exporter depends on: the ledger, and the keys if signatures are required."""
    checks = {"Ledger": _ledger} | ({"Keys": _keys} if facts.signature_required else {})
    return [_titled(title, check(facts)) for title, check in checks.items()]


def _titled(title: str, line: Line) -> Line:
    docs = line.docs or f"page.md#{title.lower().replace(' ', '-')}"
    return line._replace(title=title, docs="" if line.state in {State.DONE, State.OK} else docs)


def held(facts: Facts) -> int:
    """Return how many new series are still shown as 0; 0 if the latest snapshot of the ledger is too old to tell."""
    if facts.now - facts.ledger.at > facts.birth_hold:
        return 0
    return sum(total.held for total in facts.ledger.totals)


def verdict(facts: Facts) -> tuple[State, str]:
    """Return the overall state, and a sentence that says it."""
    setup = steps(facts)
    if bad := [line.title for line in [*setup, *parts(facts)] if line.state == State.PROBLEM]:
        return State.PROBLEM, f"{'Problem' if len(bad) == 1 else 'Problems'}: {', '.join(bad)}."
    left = [line for line in setup if line.state != State.DONE]
    if not left:
        return (
            State.DONE,
            "It works: SMTPeter's requests arrive, failures are counted, and Prometheus scrapes the counts.",
        )
    return left[0].state, f"{len(setup) - len(left)} of {len(setup)} steps done. Next: {left[0].title}."


def _public_url(facts: Facts) -> Line:
    url = facts.public_url
    if not url:
        return Line(
            State.NOT_YET,
            "`webhook.public-url` is not set",
            todo="Set it to the URL that you enter in SMTPeter's dashboard, without `/failures`. The exporter then "
            "rejects requests that were signed for another URL.",
        )
    answer = "403 and the word `unsigned`" if facts.signature_required else "415 and the word `content_type`"
    curl = f"From outside your network, run `curl -i -X POST {url}/failures`. The answer should be {answer}."
    if at := max(facts.at("public_url"), facts.at("signed")):
        return Line(State.DONE, f"Requests for {url} arrive. The last one arrived", at)
    if at := facts.at("request"):
        text = f"Requests arrive, but none had the host and path of {url}. The last one arrived"
        todo = f"{curl} If you get it, your reverse proxy rewrites the host or the path. You need not change that."
        return Line(State.UNKNOWN, text, at, todo)
    return Line(facts.none_yet, "No request has arrived since the exporter started", facts.since, curl)


def _verification_file(facts: Facts) -> Line:
    count = facts.verification_files or 0
    if problem := facts.verification_problem:
        todo = (
            "Each file must be a regular file of at most 4 KiB inside the directory, and the exporter's user must be "
            "able to read it."
        )
        return Line(State.PROBLEM, f"Not everything in the directory can be served: {problem}", todo=todo)
    if facts.verification_files is None:
        found = "`webhook.verification-dir` is not set"
        todo = "Set it to a directory. SMTPeter gives you a file when you add the URL in its dashboard. Put it there."
    elif not count:
        found = "The directory contains no `smtpeter-….txt`"
        todo = "SMTPeter gives you this file when you add the URL in its dashboard. Put it there."
    else:
        found = "1 file found" if count == 1 else f"{count} files found"
        todo = "In SMTPeter's dashboard, verify the URL."
        if at := facts.at("file"):
            return Line(State.DONE, f"{found}, last fetched", at)
    if facts.at("signed"):
        return Line(State.DONE, f"{found}. SMTPeter sends requests, so it has probably verified the URL")
    if count:
        return Line(facts.none_yet, f"{found}, not fetched since the exporter started", facts.since, todo)
    return Line(facts.none_yet, found, todo=todo)


def _signed_requests(facts: Facts) -> Line:
    if not facts.signature_required:
        return Line(
            State.UNKNOWN,
            "Signature verification is off (`signature.mode`): anyone who can reach the URL can submit fake failures",
            todo="Remove `signature.mode` and set `signature.account`, unless you are only testing.",
        )
    at = facts.at("signed")
    count = sum(number for reason, number in facts.refusals.items() if reason in _SIGNED)
    rejected = f"{count:,} signed {'request was' if count == 1 else 'requests were'} rejected in the last hour"
    if count and facts.now - at >= 3_600:  # the period that facts.refusals covers
        text = f"{rejected}, and none was accepted"
        return Line(State.PROBLEM, text, todo="See the reasons below.", docs="runbooks/SMTPeterSignatureRefusals.md")
    if at:
        text = f"{rejected}. The last accepted one arrived" if count else "The last signed request was accepted"
        return Line(State.DONE, text, at)
    url = f" with the URL `{facts.public_url}/failures`" if facts.public_url else ""
    todo = f'In SMTPeter\'s dashboard, add a webhook of the type failures{url}, verify the URL, and press "check now".'
    return Line(facts.none_yet, "No signed request has been accepted since the exporter started", facts.since, todo)


def _failures(facts: Facts) -> Line:
    at = facts.last_failure or None
    last = "The last failure was counted" if at else "No failure has been counted yet"
    if facts.problem:
        text = f"Failures are answered 503 because the ledger is not writable. {last}"
        todo = "Fix the ledger (see below). Counting then resumes automatically."
        return Line(State.PROBLEM, text, at, todo, "runbooks/SMTPeterLedgerNotWritable.md")
    if at:
        return Line(State.DONE, last, at)
    todo = "Wait for a delivery that fails, or use SMTPeter to send mail to an address that does not exist."
    if not facts.signature_required:
        todo = "Send one with `smtpeter-exporter send`, or wait for a delivery that fails."
    return Line(State.NOT_YET, last, todo=todo)


def _scrapes(facts: Facts) -> Line:
    add = "add this exporter to `scrape_configs` in `prometheus.yml`, and reload Prometheus."
    at = facts.at("scrape")
    if at and facts.now - at <= LOOKBACK:
        return Line(State.DONE, "Prometheus last scraped `/metrics`", at)
    if at:
        todo = (
            "Find this exporter on the targets page of Prometheus, which shows the error. Queries return nothing once "
            "the last scrape is older than five minutes."
        )
        return Line(State.PROBLEM, "Prometheus no longer scrapes `/metrics`. The last scrape was", at, todo)
    if at := facts.at("read"):
        todo = f"If that is your collector, all is well. Otherwise, {add}"
        return Line(State.UNKNOWN, "`/metrics` was read, but not by Prometheus. The last time was", at, todo)
    todo = f"{add[0].upper()}{add[1:]}"
    return Line(State.NOT_YET, "`/metrics` has not been read since the exporter started", facts.since, todo)


def _ledger(facts: Facts) -> Line:
    if facts.problem:
        docs = "runbooks/SMTPeterLedgerNotWritable.md"
        return Line(State.PROBLEM, f"{facts.engine}, not writable: {facts.problem}", docs=docs)
    if not facts.ledger.at:
        return Line(State.OK, f"{facts.engine}, writable")
    return Line(State.OK, f"{facts.engine}, writable. Its size was {_size(facts.ledger.size)}", facts.ledger.at)


def _keys(facts: Facts) -> Line:
    if not facts.keys:
        text = "No key is cached. The exporter looks SMTPeter's key up in DNS when the first signed request arrives"
        return Line(State.NOT_YET, text)
    expired = sum(stale for _, stale in facts.keys)
    one = len(facts.keys) == 1
    cached, oldest = ("1 key is cached", "It") if one else (f"{len(facts.keys)} keys are cached", "The oldest")
    at = facts.now - max(age for age, _ in facts.keys)
    if expired:
        which = "it has" if one else f"{expired} of them {'has' if expired == 1 else 'have'}"
        text = f"{cached}, but {which} expired and DNS does not answer. {oldest} was looked up"
        todo = (
            "Fix DNS. The exporter uses an expired key for twelve hours after its lookup. Do not restart it meanwhile, "
            "because it would lose the key."
        )
        return Line(State.PROBLEM, text, at, todo, "runbooks/SMTPeterKeysUnavailable.md")
    return Line(State.OK, f"{cached}. {oldest} was looked up", at)


def _size(count: float) -> str:
    """Return a number of bytes in rounded decimal units."""
    for unit in ("bytes", "kB", "MB"):
        if count < 1_000:
            return f"{count:.{0 if unit == 'bytes' or count >= 10 else 1}f} {unit}"
        count /= 1_000
    return f"{count:.1f} GB"
