"""The lines of the status page: for each step of the setup, what the exporter knows about it and what to do next.

Pure: facts in, lines out. A line claims only what this process can observe. What SMTPeter and Prometheus do is inferred
from their requests.
"""

from typing import Final, NamedTuple

from exporter.classification.loops import FAILURES, WEBHOOKS
from exporter.refusals import REFUSAL_REASONS, reasons_of
from exporter.web.facts import Facts
from exporter.web.lines import Line, State
from exporter.web.loops import loop_lines

LOOKBACK: Final = 300
"""Seconds without a scrape after which Prometheus no longer returns a series (its default lookback delta)."""
_SIGNED: Final = reasons_of("signed", "foreign", "dns")


def steps(facts: Facts) -> list[Line]:
    """Return the steps of the setup, in order."""
    checks = {
        "Public URL": _public_url,
        "Verification file": _verification_file,
        "Signed requests": _signed_requests,
        **({"Failures": _failures} if FAILURES in facts.loops else {}),
        "Scrapes": _scrapes,
    }
    return [check(facts).titled(title) for title, check in checks.items()]


def parts(facts: Facts) -> list[Line]:
    """Return the state of what the exporter depends on: the ledger, and the keys if signatures are required."""
    checks = {"Ledger": _ledger} | ({"Keys": _keys} if facts.signature_required else {})
    return [check(facts).titled(title) for title, check in checks.items()]


def held(facts: Facts) -> int:
    """Return how many new series are still shown as 0; 0 if the latest snapshot of the ledger is too old to tell."""
    if facts.now - facts.ledger.at > facts.birth_hold:
        return 0
    return sum(total.held for total in facts.ledger.totals)


def verdict(facts: Facts) -> tuple[State, str]:
    """Return the overall state, and a sentence that says it."""
    setup = steps(facts)
    if bad := [line.title for line in [*setup, *loop_lines(facts), *parts(facts)] if line.state == State.PROBLEM]:
        return State.PROBLEM, f"{'Problem' if len(bad) == 1 else 'Problems'}: {', '.join(bad)}."
    left = [line for line in setup if line.state != State.DONE]
    if left:
        return left[0].state, f"{len(setup) - len(left)} of {len(setup)} steps done. Next: {left[0].title}."
    counted = "failures are counted, " if FAILURES in facts.loops else ""
    works = f"It works: SMTPeter's requests arrive, {counted}and Prometheus scrapes the counts."
    open_ = [line.title for line in loop_lines(facts) if line.state != State.OK]
    return State.DONE, f"{works} Still open: {', '.join(open_)}." if open_ else works


class Notice(NamedTuple):
    """A sentence about the whole page, in Markdown, and a page and heading below docs/ that says more."""

    text: str
    docs: str = ""


def notices(facts: Facts) -> list[Notice]:
    """Return what the reader must know to understand the page."""
    found = []
    if count := held(facts):
        found.append(
            Notice(
                f"{count} new series {'is' if count == 1 else 'are'} shown as 0 for the first {facts.birth_hold:g} "
                "seconds, so that Prometheus sees the first increase.",
                "page.md#new-series",
            )
        )
    if facts.shared:
        found.append(
            Notice(
                f"This page covers only the exporter on {facts.machine}. Other replicas may use the same ledger. Each "
                "has its own page, and may have counted the last failure."
            )
        )
    return found


class Rejection(NamedTuple):
    """The rejected requests with one reason: how often, what was rejected and what to do, as Markdown."""

    reason: str
    times: str
    what: str
    todo: str


def rejections(facts: Facts) -> list[Rejection]:
    """Return the rejected requests of the last hour. Names the webhooks that call the URL of another loop."""
    found = []
    for reason, count in facts.refusals.items():
        _, what, todo = REFUSAL_REASONS[reason]
        if reason == "other_loop":
            for webhook in reversed(facts.misdirected):
                todo = (
                    f"The webhook for {WEBHOOKS[webhook.type]} calls the URL that ends in `/{webhook.called}`. {todo}"
                )
        times = "once" if count == 1 else f"{count:,} times"
        found.append(Rejection(reason, times, f"{what[0].upper()}{what[1:]}.", todo))
    return found


def _public_url(facts: Facts) -> Line:
    url, path = facts.public_url, facts.loops[0].path
    if not url:
        return Line(
            State.NOT_YET,
            "`webhook.public-url` is not set",
            todo=f"Set it to the URL that you enter in SMTPeter's dashboard, without `{path}`. The exporter then "
            "rejects requests that were signed for another URL.",
        )
    answer = "403 and the word `unsigned`" if facts.signature_required else "415 and the word `content_type`"
    curl = f"From outside your network, run `curl -i -X POST {url}{path}`. The answer should be {answer}."
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
    webhooks = len(facts.loops)
    each = "this file" if webhooks == 1 else "a file for each webhook"
    if facts.verification_files is None:
        found = "`webhook.verification-dir` is not set"
        gives = "a file when you add the URL" if webhooks == 1 else "a file for each webhook when you add its URL"
        todo = f"Set it to a directory. SMTPeter gives you {gives} in its dashboard. Put it there."
    elif not count:
        found = "The directory contains no `smtpeter-….txt`"
        todo = f"SMTPeter gives you {each} when you add the URL in its dashboard. Put it there."
    else:
        found = "1 file found" if count == 1 else f"{count} files found"
        found += f" for {webhooks} webhooks" if webhooks > 1 else ""
        todo = "In SMTPeter's dashboard, verify the URL."
        if webhooks > count:
            todo += " Each webhook has a file of its own."
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
    loop = facts.loops[0]
    url = f" with the URL `{facts.public_url}{loop.path}`" if facts.public_url else ""
    todo = (
        f'In SMTPeter\'s dashboard, add a webhook of the type {loop.name}{url}, verify the URL, and press "check now".'
    )
    return Line(facts.none_yet, "No signed request has been accepted since the exporter started", facts.since, todo)


def _failures(facts: Facts) -> Line:
    at, requested = facts.last_failure or None, facts.requests.get(FAILURES.name)
    last = "The last failure was counted" if at else "No failure has been counted yet"
    if facts.problem:
        text = f"Failures are answered 503 because the ledger is not writable. {last}"
        todo = "Fix the ledger (see below). Counting then resumes automatically."
        return Line(State.PROBLEM, text, at, todo, "runbooks/SMTPeterLedgerNotWritable.md", requested=requested)
    if at:
        return Line(State.DONE, last, at, requested=requested)
    todo = "Wait for a delivery that fails, or use SMTPeter to send mail to an address that does not exist."
    if not facts.signature_required:
        todo = "Send one with `smtpeter-exporter send`, or wait for a delivery that fails."
    return Line(State.NOT_YET, last, todo=todo, requested=requested)


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
    size = f". Its size was {_size(facts.ledger.size)}" if facts.ledger.at else ""
    at = facts.ledger.at or None
    if facts.only_failures:
        others = (
            ""
            if tuple(facts.loops) == (FAILURES,)
            else ": only failures are counted, and events of other loops are answered 503"
        )
        todo = "Free disk space, or give the ledger more. The log says how much is free."
        return Line(State.PROBLEM, f"{facts.engine}, writable, but space is short{others}{size}", at, todo)
    return Line(State.OK, f"{facts.engine}, writable{size}", at)


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
