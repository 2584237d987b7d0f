"""Each recipient has one mailbox provider: of the built-in table, of the user's, or ``other``."""

import re
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.classification.labels import OTHER
from exporter.classification.providers import PROVIDERS, Providers
from tests.support.texts import Texts

TABLE = Providers()


def test_names_are_valid() -> None:
    """A built-in name has 1 to 40 lower-case letters, digits and underscores, and is not ``other``."""
    assert [name for name in PROVIDERS if not re.fullmatch(r"[a-z0-9_]{1,40}", name)] == []
    assert OTHER not in PROVIDERS
    assert TABLE.names == {*PROVIDERS, OTHER}


def test_there_are_at_most_100_providers() -> None:
    """With six classes of codes, they have at most 600 series."""
    assert len(PROVIDERS) <= 100


def test_no_domain_is_listed_twice() -> None:
    """Each domain belongs to one provider and is listed once."""
    count = Counter(domain for domains in PROVIDERS.values() for domain in domains.split())
    assert [domain for domain, times in count.items() if times > 1] == []


def test_each_domain_of_the_table_is_found() -> None:
    """An address at a domain, or below a wildcard, has the provider that lists it."""
    wanted = {domain: name for name, domains in PROVIDERS.items() for domain in domains.split()}
    assert {domain: TABLE.provider_of(f"a@{domain.replace('*', 'sub')}") for domain in wanted} == wanted


@pytest.mark.parametrize(
    ("recipient", "provider"),
    [
        ("someone@gmail.com", "gmail"),
        ("SomeOne@GMAIL.Com", "gmail"),
        ("someone@gmail.com.", "gmail"),
        (" someone@gmail.com ", "gmail"),
        ('"a@b c"@hotmail.nl', "microsoft"),
        ("a@yahoo.com@gmail.com", "gmail"),
        ("someone@live.co.uk", "microsoft"),
        ("someone@aol.com", "yahoo"),
        ("someone@yahoo.co.jp", "yahoo_japan"),
        ("someone@xs4all.nl", "kpn"),
        ("someone@home.nl", "ziggo"),
        ("someone@skynet.be", "proximus"),
        ("someone@nyc.rr.com", "charter"),
        ("someone@a.b.rr.com", "charter"),
        ("someone@t.vodafone.ne.jp", "softbank"),
        ("someone@mail.gmail.com", OTHER),  # without a wildcard, subdomains do not match
        ("someone@notgmail.com", OTHER),
        ("someone@gmail.com.example.com", OTHER),
        ("someone@gmail", OTHER),
        ("someone@[192.0.2.1]", OTHER),
        ("someone@example.com", OTHER),
        ("gmail.com", OTHER),
        ("someone@", OTHER),
        ("@gmail.com", "gmail"),
        ("", OTHER),
        ("someone@gm ail.com", OTHER),
        ("someone@gmail.com..", OTHER),
        ("someone@\uff47mail.com", "gmail"),  # a full-width g, which is the same letter in IDNA
        ("someone@" + "ü" * 300 + ".com", OTHER),
        ("someone@" + "ü" * 70 + ".com", OTHER),
    ],
)
def test_the_domain_decides(recipient: str, provider: str) -> None:
    """The local part, case, a final dot and surrounding spaces make no difference; unknown domains are ``other``."""
    assert TABLE.provider_of(recipient) == provider


def test_the_users_table_takes_precedence() -> None:
    """A domain of the user has the user's name, even if the built-in table or a wildcard has another one."""
    providers = Providers(
        {"gmail.com": "google", "*.example.com": "hosted", "mail.example.com": "own", "*.rr.com": "rr"}
    )

    assert providers.provider_of("a@GMAIL.com") == "google"
    assert providers.provider_of("a@googlemail.com") == "gmail"
    assert providers.provider_of("a@sub.example.com") == "hosted"
    assert providers.provider_of("a@mail.example.com") == "own"
    assert providers.provider_of("a@example.com") == OTHER  # a wildcard only matches subdomains
    assert providers.provider_of("a@nyc.rr.com") == "rr"
    assert providers.names == {*PROVIDERS, OTHER, "google", "hosted", "own", "rr"}


def test_the_nearest_wildcard_decides() -> None:
    """Of two wildcards above a domain, the longer one decides."""
    providers = Providers({"*.example.com": "far", "*.eu.example.com": "near"})

    assert providers.provider_of("a@x.eu.example.com") == "near"
    assert providers.provider_of("a@x.us.example.com") == "far"


@pytest.mark.parametrize("own", ["Bücher.example", "xn--bcher-kva.example", "BÜCHER.EXAMPLE."])
@pytest.mark.parametrize("domain", ["bücher.example", "XN--BCHER-KVA.example", "bücher。example"])
def test_international_domains_match_in_both_spellings(own: str, domain: str) -> None:
    """A domain in Unicode and in Punycode is the same domain, in the user's table and in the recipient."""
    assert Providers({own: "books"}).provider_of(f"a@{domain}") == "books"


@pytest.mark.parametrize("name", ["", "Gmail", "my-mail", "my mail", "ü", "a" * 41, "a\n"])
def test_invalid_names_are_errors(name: str) -> None:
    """A name of the user outside a-z, 0-9 and _ or longer than 40 is an error that shows name and domain."""
    with pytest.raises(ValueError, match=f"^provider {re.escape(repr(name))} of 'example.com'"):
        Providers({"example.com": name})


@pytest.mark.parametrize(
    "domain",
    ["", "example", "a@example.com", "*", "*.", "**.example.com", "exa mple.com", "ü" * 300],
    ids=range(8),
)
def test_invalid_domains_are_errors(domain: str) -> None:
    """A key of the user's table that is no domain is an error that shows it, shortened if it is long."""
    with pytest.raises(ValueError, match=f"^{re.escape(repr(domain[:80]))}"):
        Providers({domain: "mine"})


def test_errors_say_what_was_expected(texts: Texts) -> None:
    """The error about a name, and the one about a domain."""
    for own in ({"example.com": "My mail"}, {"example": "mine"}):
        with pytest.raises(ValueError, match="expected") as caught:
            Providers(own)
        texts.check(caught.value)


@given(recipient=st.text() | st.emails() | st.text().map("a@{}.com".format))
def test_any_text_has_a_known_provider(recipient: str) -> None:
    """Any text has a provider of the table, or ``other``."""
    assert TABLE.provider_of(recipient) in TABLE.names


@given(recipient=st.emails())
def test_case_and_a_final_dot_make_no_difference(recipient: str) -> None:
    """An address in capitals and with a final dot has the same provider."""
    assert TABLE.provider_of(f"{recipient.upper()}.") == TABLE.provider_of(recipient)
