"""Whether it works: what is known of each step of setting up, and what to do about those that are not done.

Pure: facts in, lines out. A line never says more than can be known from here: what only SMTPeter or Prometheus knows is
told as far as it shows in what they do.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, NamedTuple

from exporter.metrics.activity import Event
from exporter.metrics.collector import Snapshot
from exporter.refusals import reasons_of

FORGOTTEN: Final = 300
"""Seconds after which Prometheus takes a series that is no longer scraped for gone."""
_SIGNED: Final = reasons_of("signed", "foreign", "dns")


class State(StrEnum):
    """How it stands with a line, in words."""

    DONE = "done"
    WELL = "well"
    NOT_YET = "not yet"
    TROUBLE = "trouble"
    UNKNOWN = "cannot tell"


class Line(NamedTuple):
    """One thing to know. ``text`` and ``todo`` are Markdown in which only code is marked.

    ``text`` goes on with how long ago ``at`` was, if it is given; ``docs`` is a page and heading below docs/, for lines
    that are neither done nor well.
    """

    state: State
    text: str
    at: float | None = None
    todo: str = ""
    docs: str = ""
    title: str = ""


@dataclass(frozen=True, kw_only=True)
class Facts:
    """All that the page tells of, at the time ``now``; times are seconds since the epoch, 0 for never."""

    now: float
    since: float
    """When this process started."""
    version: str
    machine: str
    docs_url: str
    public_url: str
    signature_required: bool
    verification_files: int | None
    """How many verification files can be served; None when no folder is set."""
    verification_problem: str | None
    """Why the folder, or one of its files, can't be served; None if all can."""
    last: Mapping[Event, float]
    """When each kind of event last was seen here."""
    refusals: Mapping[str, int]
    """How many requests were refused in the last hour, by reason."""
    engine: str
    """What kind of ledger it is."""
    shared: bool
    """Whether other exporters may have the same ledger."""
    ledger: Snapshot
    problem: str | None
    """Why the ledger can't be written."""
    birth_hold: float
    """For how many seconds a new series is shown as 0."""
    keys: Sequence[tuple[float, bool]]
    """Of each key that is held its age in seconds, and whether it is past its time."""

    def at(self, event: Event) -> float:
        """When the event last was."""
        return self.last.get(event, 0.0)

    @property
    def last_failure(self) -> float:
        """When a failure was last counted, here or in the ledger as it was last seen."""
        return max([self.at("counted"), *(total.raised_at for total in self.ledger.totals)])

    @property
    def none_yet(self) -> State:
        """The state of what was not seen since the start: failures in the ledger say that it may have been before."""
        return State.UNKNOWN if self.last_failure else State.NOT_YET


def steps(facts: Facts) -> list[Line]:
    """The steps of setting up, in order."""
    judges = {
        "Public URL": _public_url,
        "Verification file": _file,
        "Signed calls": _signed,
        "Failures": _failures,
        "Scrapes": _scrapes,
    }
    return [_titled(title, judge(facts)) for title, judge in judges.items()]


def parts(facts: Facts) -> list[Line]:
    """How it stands with what the exporter works with."""
    judges = {"Ledger": _ledger} | ({"Keys": _keys} if facts.signature_required else {})
    return [_titled(title, judge(facts)) for title, judge in judges.items()]


def _titled(title: str, line: Line) -> Line:
    docs = line.docs or f"page.md#{title.lower().replace(' ', '-')}"
    return line._replace(title=title, docs="" if line.state in {State.DONE, State.WELL} else docs)


def held(facts: Facts) -> int:
    """How many series are shown as 0 because they are new; by the last look at the ledger, unless it was long ago."""
    if facts.now - facts.ledger.at > facts.birth_hold:
        return 0
    return sum(total.held for total in facts.ledger.totals)


def verdict(facts: Facts) -> tuple[State, str]:
    """The answer in a sentence, and how it stands in all."""
    setting_up = steps(facts)
    if bad := [line.title for line in [*setting_up, *parts(facts)] if line.state == State.TROUBLE]:
        return State.TROUBLE, f"There is trouble: {', '.join(bad)}."
    left = [line for line in setting_up if line.state != State.DONE]
    if not left:
        return State.DONE, "It works: SMTPeter's calls come in, failures are counted, and Prometheus reads the counts."
    done = len(setting_up) - len(left)
    said = f"{done} of {len(setting_up)} steps {'is' if done == 1 else 'are'} done. Next: {left[0].title}."
    return left[0].state, said


def _public_url(facts: Facts) -> Line:
    url = facts.public_url
    if not url:
        return Line(
            State.NOT_YET,
            "`webhook.public-url` is not set",
            todo="Set it to the URL that SMTPeter is to call, without `/failures`: then no call counts that "
            "was signed for another one.",
        )
    answer = "403 and the word `unsigned`" if facts.signature_required else "415 and the word `content_type`"
    curl = f"On a machine elsewhere, `curl -i -X POST {url}/failures` should show {answer}."
    if at := max(facts.at("call"), facts.at("signed")):
        return Line(State.DONE, f"Requests for {url} come in, the last one", at)
    if at := facts.at("request"):
        text = f"Requests come in, but none had the host and path of {url}; the last one came"
        return Line(State.UNKNOWN, text, at, f"{curl} If it does, the proxy rewrites host or path, which does no harm.")
    return Line(facts.none_yet, "No request has come in since the start", facts.since, curl)


def _file(facts: Facts) -> Line:
    count = facts.verification_files or 0
    if problem := facts.verification_problem:
        todo = "Let the folder and the files in it be readable for the exporter's user."
        return Line(State.TROUBLE, f"Not all can be served: {problem}", todo=todo)
    if facts.verification_files is None:
        there = "`webhook.verification-dir` is not set"
        todo = "Set it to a folder, and put the file there that SMTPeter hands out when you add the URL."
    elif not count:
        there = "The folder has no `smtpeter-….txt`"
        todo = "Put the file there that SMTPeter hands out when you add the URL in its dashboard."
    else:
        there = "1 file is there" if count == 1 else f"{count} files are there"
        todo = "Let SMTPeter verify the URL, in its dashboard."
        if at := facts.at("file"):
            return Line(State.DONE, f"{there}, last fetched", at)
    if facts.at("signed"):
        return Line(State.DONE, f"{there}; SMTPeter calls, so most likely it has verified the URL")
    if count:
        return Line(facts.none_yet, f"{there}, but nobody has fetched it since the start", facts.since, todo)
    return Line(facts.none_yet, there, todo=todo)


def _signed(facts: Facts) -> Line:
    if not facts.signature_required:
        return Line(
            State.UNKNOWN,
            "Signatures are not checked, for `signature.mode` is off: whoever reaches the URL can invent failures",
            todo="Leave it out and set `signature.account`, unless this is a trial on a machine of your own.",
        )
    at = facts.at("signed")
    refused = sum(count for reason, count in facts.refusals.items() if reason in _SIGNED)
    were = f"{refused:,} {'was' if refused == 1 else 'were'} refused"
    if refused and facts.now - at >= 3_600:  # the hour of which refusals are known
        text = f"In the last hour no signed call was accepted, and {were}"
        return Line(State.TROUBLE, text, todo="See the reasons below.", docs="runbooks/SMTPeterSignatureRefusals.md")
    if at:
        meanwhile = f"{were} in the last hour. " if refused else ""
        return Line(State.DONE, f"{meanwhile}The last one that was accepted came", at)
    return Line(
        facts.none_yet,
        "None was accepted since the start",
        facts.since,
        "In SMTPeter's dashboard, add a webhook of the type failures with the URL, verify it, and press check now.",
    )


def _failures(facts: Facts) -> Line:
    at = facts.last_failure or None
    last = "the last one was counted" if at else "none was counted yet"
    if facts.problem:
        text = f"They are answered 503, for the ledger can't be written; {last}"
        todo = "Mend the ledger, see below; it goes on by itself."
        return Line(State.TROUBLE, text, at, todo, "runbooks/SMTPeterLedgerNotWritable.md")
    if at:
        return Line(State.DONE, last.capitalize(), at)
    todo = "Wait for a delivery that fails, or mail an address that does not exist, through SMTPeter."
    if not facts.signature_required:
        todo = "Post one with `smtpeter-exporter send`, or wait for a delivery that fails."
    return Line(State.NOT_YET, last.capitalize(), todo=todo)


def _scrapes(facts: Facts) -> Line:
    add = "add this exporter to `scrape_configs` in `prometheus.yml`, and reload Prometheus."
    at = facts.at("scrape")
    if at and facts.now - at <= FORGOTTEN:
        return Line(State.DONE, "Prometheus reads `/metrics`, the last time", at)
    if at:
        todo = "See this exporter on Prometheus's page of targets. What is not scraped is forgotten after five minutes."
        return Line(State.TROUBLE, "Prometheus has stopped reading `/metrics`; the last time was", at, todo)
    if at := facts.at("read"):
        todo = f"If another collector than Prometheus reads it, all is well. Else: {add}"
        return Line(State.UNKNOWN, "`/metrics` was read, but not by Prometheus; the last time", at, todo)
    return Line(State.NOT_YET, "Nobody has read `/metrics` since the start", facts.since, f"A{add[1:]}")


def _ledger(facts: Facts) -> Line:
    if facts.problem:
        docs = "runbooks/SMTPeterLedgerNotWritable.md"
        return Line(State.TROUBLE, f"{facts.engine}, can't be written: {facts.problem}", docs=docs)
    if not facts.ledger.at:
        return Line(State.WELL, f"{facts.engine}, writable")
    text = f"{facts.engine}, writable; {_size(facts.ledger.size)} when it was last looked at"
    return Line(State.WELL, text, facts.ledger.at)


def _keys(facts: Facts) -> Line:
    if not facts.keys:
        return Line(State.NOT_YET, "None is held; SMTPeter's key is looked up in DNS when it calls")
    stale = sum(stale for _, stale in facts.keys)
    one = len(facts.keys) == 1
    held, oldest = ("1 key is held", "it") if one else (f"{len(facts.keys)} keys are held", "the oldest")
    at = facts.now - max(age for age, _ in facts.keys)
    if stale:
        late = "" if one else f"{stale} of them "
        text = f"{held}, {late}past its time because DNS gives no answer; {oldest} was looked up"
        todo = "Mend DNS before twelve hours are over, and do not restart the exporter meanwhile."
        return Line(State.TROUBLE, text, at, todo, "runbooks/SMTPeterKeysUnavailable.md")
    return Line(State.WELL, f"{held}; {oldest} was looked up", at)


def _size(count: float) -> str:
    """A number of bytes in round figures."""
    for unit in ("bytes", "kB", "MB"):
        if count < 1_000:
            return f"{count:.{0 if unit == 'bytes' or count >= 10 else 1}f} {unit}"
        count /= 1_000
    return f"{count:.1f} GB"
