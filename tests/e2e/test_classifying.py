"""Posted failures increment the counters by reason, provider and tag of a running exporter."""

import json
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from urllib.parse import urlencode

import pytest

from exporter.classification.reason import REASONS
from tests.support.running import FORM, Exporter, changes, exporter, failure

CONFIGURATION = """
[providers]
school = ["school.example", "*.school.example"]
[reasons]
"queue quota exceeded for tenant" = "rate_limited"
'mailbox .* closed by (court|bailiff)' = "mailbox_unavailable"
'(x+x+)+y' = "policy"
[tags]
count = ["newsletter", "May sale", "naïve"]
"""

_numbers = count()


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Exporter]:
    """Run an exporter with a provider and tags in its configuration."""
    directory = tmp_path_factory.mktemp("classifying")
    (directory / "exporter.toml").write_text(CONFIGURATION)
    with exporter(directory, "--config.file", str(directory / "exporter.toml")) as shared:
        yield shared


def incremented(running: Exporter, name: str, content_type: str, body: bytes) -> dict[str, float]:
    """Post a failure; return how much it increments the counters by ``name``, by their labels."""
    before = running.samples()
    with running.client() as client:
        assert client.request("POST", "/failures", body, {"Content-Type": content_type}).status == 200
    prefix = f"smtpeter_failures_by_{name}_total"
    found = changes(before, running.samples())
    return {key.removeprefix(prefix): by for key, by in found.items() if key.startswith(prefix)}


def test_each_reason_and_tag_has_a_series_from_the_start(tmp_path: Path) -> None:
    """Before the first failure they are all 0. The main counter and those by provider have no series."""
    (tmp_path / "exporter.toml").write_text(CONFIGURATION)
    with exporter(tmp_path, "--config.file", str(tmp_path / "exporter.toml")) as fresh:
        counters = {key: value for key, value in fresh.samples().items() if key.startswith("smtpeter_failures")}
    assert counters == {
        **{f'smtpeter_failures_by_reason_total{{reason="{reason}"}}': 0.0 for reason in REASONS},
        **{
            f'smtpeter_failures_{family}_total{{tag="{tag}"}}': 0.0
            for family in ("by_tag", "after_delivery_by_tag")
            for tag in ("newsletter", "May sale", "naïve", "other")
        },
    }


TAGS: dict[str, tuple[str, bytes | dict[str, object], set[str]]] = {
    "one text": (FORM, b"tags=newsletter", {"newsletter"}),
    "with semicolons": (FORM, b"tags=x;May+sale%3B+newsletter+", {"newsletter", "May sale"}),
    "repeated": (FORM, b"tags=newsletter&tags=May+sale", {"newsletter", "May sale"}),
    "repeated as PHP does": (FORM, b"tags%5B%5D=newsletter&tags[]=y", {"newsletter"}),
    "list": ("application/json", {"tags": ["newsletter", "x", 3, None]}, {"newsletter"}),
    "text in JSON": ("application/json", {"tags": "newsletter;x"}, {"newsletter"}),
    "not ASCII": (FORM, "tags=naïve".encode(), {"naïve"}),
    "twice the same": (FORM, b"tags=newsletter;newsletter", {"newsletter"}),
    "none that is configured": (FORM, b"tags=x;y", {"other"}),
    "other spelling": (FORM, b"tags=Newsletter", {"other"}),
    "empty": (FORM, b"tags=", {"other"}),
    "none": (FORM, b"", {"other"}),
    "an object": ("application/json", {"tags": {"0": "newsletter"}}, {"newsletter"}),
    "numbered": (FORM, b"tags[0]=x&tags%5B1%5D=newsletter", {"newsletter"}),
    "null": ("application/json", {"tags": None}, {"other"}),
}


@pytest.mark.parametrize(("content_type", "tags", "expected"), TAGS.values(), ids=TAGS)
def test_tags_count(running: Exporter, content_type: str, tags: bytes | dict[str, object], expected: set[str]) -> None:
    """In each format, each configured tag is incremented by one, or other if there is none of them."""
    fields = failure(next(_numbers))
    body = urlencode(fields).encode() + b"&" + tags if isinstance(tags, bytes) else json.dumps(fields | tags).encode()
    assert incremented(running, "tag", content_type, body) == {f'{{tag="{tag}"}}': 1.0 for tag in expected}


@pytest.mark.parametrize(
    ("recipient", "provider"),
    [
        ("Jane.Doe@GMail.com", "gmail"),
        ("jane@kpnmail.nl", "kpn"),
        ("jane@school.example", "school"),
        ("jane@a.b.school.example", "school"),
        ("jane@example.org", "other"),
        ("jane", "other"),
    ],
)
def test_providers_count(running: Exporter, recipient: str, provider: str) -> None:
    """The recipient's domain becomes the name of a provider, or other; the domain itself is not exposed."""
    body = urlencode(failure(next(_numbers), recipient=recipient)).encode()
    assert incremented(running, "provider", FORM, body) == {f'{{code_class="5xx",provider="{provider}"}}': 1.0}
    assert "example" not in running.get("/metrics").text


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"description": "550 5.7.1 Service unavailable; client [192.0.2.1] blocked", "extended": "5.7.1"}, "blocked"),
        ({"state": "bounce", "code": "", "extended": "5.0.0", "description": "mailbox is full"}, "mailbox_full"),
        ({"state": "suppression", "code": "", "extended": "", "description": ""}, "suppressed"),
        ({"extended": "4.7.3", "description": "450 4.7.3 Queue quota exceeded for tenant"}, "rate_limited"),
        ({"state": "suppression", "description": "Mailbox 7,\r\nclosed by bailiff"}, "mailbox_unavailable"),
        ({"extended": "5.2.2", "description": "x" * 1_001 + "y"}, "mailbox_full"),
        ({"extended": "5.2.2", "description": "x" * 999 + "y"}, "policy"),
    ],
)
def test_reasons_count(running: Exporter, fields: dict[str, str], reason: str) -> None:
    """Codes, state and description become a reason, unless a rule of the configuration decides first."""
    body = urlencode(failure(next(_numbers), **fields)).encode()
    assert incremented(running, "reason", FORM, body) == {f'{{reason="{reason}"}}': 1.0}


def test_totals_agree(running: Exporter) -> None:
    """The sums of failures, of failures by reason and of failures by provider are the same."""
    for code, extended in (("550", "5.1.1"), ("452", "4.2.2"), ("", "")):
        running.post(failure(next(_numbers), code=code, extended=extended))
    samples = running.samples()
    totals = {
        name: sum(value for key, value in samples.items() if key.startswith(f"smtpeter_{name}_total"))
        for name in ("failures", "failures_by_reason", "failures_by_provider", "failures_by_reason_provider")
    }
    assert totals["failures"] >= 3
    assert set(totals.values()) == {totals["failures"]}
