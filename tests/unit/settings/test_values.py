"""The values of settings: which texts are valid, and what they mean."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import pytest

from exporter.classification.loops import ABUSES, BOUNCES, DELIVERIES, FAILURES
from exporter.net import Address
from exporter.settings.values import (
    OneOf,
    list_of,
    parse_account,
    parse_docs_url,
    parse_domain,
    parse_duration,
    parse_keep_deliveries,
    parse_loops,
    parse_max_age,
    parse_nameserver,
    parse_path,
    parse_provider,
    parse_public_url,
    parse_rules,
    parse_tag,
)

Parser = Callable[[str], Any]
LEVEL: Final = OneOf("debug", "info")

VALID: Final[list[tuple[Parser, str, object]]] = [
    (parse_duration, "0", 0.0),
    (parse_duration, "0s", 0.0),
    (parse_duration, "60s", 60.0),
    (parse_duration, "1h1m1s500ms", 3_661.5),
    (parse_duration, "1d", 86_400.0),
    (parse_public_url, "", ""),
    (parse_public_url, "https://x.example", "https://x.example"),
    (parse_public_url, "http://[::1]:8443/a", "http://[::1]:8443/a"),
    (parse_public_url, "https://mail.example.com:8443/a/b/", "https://mail.example.com:8443/a/b/"),
    (parse_public_url, "https://x.example/failures/a", "https://x.example/failures/a"),
    (parse_loops, "failures", (FAILURES,)),
    (parse_loops, "deliveries", (DELIVERIES,)),
    (parse_loops, "abuses, failures,bounces,deliveries,failures", (FAILURES, DELIVERIES, BOUNCES, ABUSES)),
    (parse_keep_deliveries, "1d", 86_400.0),
    (parse_keep_deliveries, "30d", 2_592_000.0),
    (parse_docs_url, "", ""),
    (parse_docs_url, "https://git.example.com:8443/a%20b/docs//", "https://git.example.com:8443/a%20b/docs"),
    (parse_docs_url, "http://[::1]/@docs", "http://[::1]/@docs"),
    (parse_path, "", None),
    (parse_path, "a b/c", Path("a b/c")),
    (parse_account, "environment-1234", "environment-1234"),
    (parse_account, "environment_2", "environment_2"),
    (parse_domain, "copernica.com", "copernica.com"),
    (parse_domain, "Keys.Example.", "keys.example"),
    (parse_nameserver, "127.0.0.1:5353", Address("127.0.0.1", 5_353)),
    (parse_nameserver, "192.0.2.1", Address("192.0.2.1", 53)),
    (parse_nameserver, "2001:db8::1", Address("2001:db8::1", 53)),
    (parse_nameserver, "[::1]:54", Address("::1", 54)),
    (parse_nameserver, "[::1]", Address("::1", 53)),
    (parse_max_age, "1s", 1.0),
    (parse_max_age, "24h", 86_400.0),
    (parse_tag, "May sale", "May sale"),
    (parse_tag, "x" * 64, "x" * 64),
    (parse_tag, "naïve", "naïve"),
    (parse_provider, "school=*.example.edu", ("*.example.edu", "school")),
    (list_of(parse_account), "", ()),
    (list_of(parse_account), "a-1, b-2,c-3", ("a-1", "b-2", "c-3")),
    (LEVEL, "info", "info"),
]

INVALID: Final[list[tuple[Parser, list[str]]]] = [
    (parse_duration, ["", "60", "-1s", "1.5s", "s", "1w", "1 s", "1234567890s"]),
    (
        parse_public_url,
        [
            *("example.com", "ftp://x/", "https://", "https://x/?q", "https://x/#f", "https://x/a b", "http://["),
            *("https://x/a%20b", "https://user@x/", "https://münchen.example", "https://x./", "https://x/a/failures"),
            *("https://x/a\n", "https://x\n", "https://x/a\tb", "https://x/./a", "https://x/a/..", "https://x:0/"),
            *("https://x:65536/", "https://x/failures/", "https://x/deliveries", "https://x/a/bounces/"),
            "https://x/abuses",
        ],
    ),
    (parse_loops, ["", "clicks", "failures,", "failures;deliveries", "Failures"]),
    (parse_keep_deliveries, ["", "0s", "23h", "721h", "3"]),
    (
        parse_docs_url,
        [
            *("docs", "/docs", "https://", "https:///docs", "ftp://x/docs", "javascript:alert(1)", "https://x/a b"),
            *("https://user@x/docs", "https://x/?", "https://x/#", 'https://x/"', "https://x/<b>", "https://x/é"),
        ],
    ),
    (parse_path, ["a\0b"]),
    (parse_account, ["", "1234", "environment 1", "environment-", "-1", "environment-1\n"]),
    (parse_domain, ["", ".com", "a..b", "exa mple.com", "x" * 64, "a." * 120 + "com"]),
    (parse_nameserver, ["", "dns.example.com:53", "127.0.0.1:x", "127.0.0.1:70000", "::1:53x"]),
    (parse_max_age, ["", "0s", "999ms", "-5s", "25h"]),
    (parse_tag, ["", "other", "a;b", "x" * 65, "a\nb"]),
    (parse_provider, ["x", "x=", "=example.com", "X=example.com", "a b=example.com", "x=exa mple.com", "x=*"]),
    (parse_rules, ["x", "x=policy\ny", "a=policy,b=blocked", "a = policy , b=policy"]),
    (list_of(parse_account), [",", "a-1,", "a-1,,b-2"]),
    (LEVEL, ["", "INFO", "trace"]),
]


def named(value: object) -> str:
    """Return a name for a case in the output of pytest."""
    return getattr(value, "__name__", type(value).__name__) if callable(value) else repr(value)[:30]


@pytest.mark.parametrize(("parse", "text", "value"), VALID, ids=named)
def test_valid_texts_have_a_value(parse: Parser, text: str, value: object) -> None:
    """Each form that the documentation allows is parsed."""
    assert parse(text) == value


@pytest.mark.parametrize(("parse", "text"), [(parse, text) for parse, texts in INVALID for text in texts], ids=named)
def test_invalid_texts_raise_value_error(parse: Parser, text: str) -> None:
    """Texts that are nearly right are rejected, not guessed at."""
    with pytest.raises(ValueError):  # noqa: PT011 -- most have no text
        parse(text)
