"""The answers of simulated traffic are classified as their table says, and their shares are realistic."""

import re

import pytest

from exporter.classification.labels import STATES
from exporter.classification.providers import Providers
from exporter.classification.reason import REASONS
from exporter.simulator.answers import JUDGES, MAILBOXES, SAMPLE_REPLIES
from tests.support.decisions import decide


@pytest.mark.parametrize("reason", REASONS)
def test_answers_have_the_reason_of_their_table(reason: str) -> None:
    """Each reason has an answer, and its answers are classified as that reason."""
    replies = [reply for reply in SAMPLE_REPLIES if reply.reason == reason]
    found = set()
    for reply in replies:
        text = reply.text.format(recipient="jan@example.com", domain="example.com", queue="0")
        found.add(decide(reply.state, reply.code, reply.extended, text).reason)
    assert found == {reason}


def test_domains_belong_to_their_provider() -> None:
    """Each domain of an answer is one of its provider."""
    providers = Providers()
    wrong = [
        (reply.provider, domain)
        for reply in SAMPLE_REPLIES
        for domain in reply.domains
        if providers.provider_of(f"jan@{domain}") != reply.provider
    ]
    assert wrong == []


def test_other_domains_belong_to_nobody() -> None:
    """Companies are under .example, and mistyped domains under top-level domains that do not exist."""
    invented = [*MAILBOXES["company"].domains, *MAILBOXES["mistyped"].domains]
    assert [domain for domain in invented if not re.search(r"\.(example|con|cmo|nk|nll)$", domain)] == []


def test_answers_are_complete() -> None:
    """Each state is one that MailerQ has, and the texts contain no other placeholders than the known ones."""
    assert {reply.state for reply in SAMPLE_REPLIES} <= STATES
    placeholders = {name for reply in SAMPLE_REPLIES for name in re.findall(r"\{(.*?)\}", reply.text)}
    assert placeholders == {"recipient", "domain", "queue"}


def test_shares_are_realistic() -> None:
    """They add up to 1. Nearly half are unknown recipients, and 10 to 20 % depend on the sender's reputation."""
    shares = dict.fromkeys(REASONS, 0.0)
    for reply in SAMPLE_REPLIES:
        shares[reply.reason] += reply.share
    assert sum(shares.values()) == pytest.approx(1)
    assert 0.4 < shares["recipient_unknown"] < 0.5
    assert 0.1 < sum(shares[reason] for reason in JUDGES) < 0.2


def test_judges_give_their_answer() -> None:
    """Each provider that judges the sender has an answer with the reason."""
    given = {(reply.reason, reply.provider) for reply in SAMPLE_REPLIES}
    assert JUDGES.items() <= given
