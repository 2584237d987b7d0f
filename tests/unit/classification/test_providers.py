"""Each recipient has one mailbox provider out of a closed table, or the user's own."""

import re
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.classification.labels import OTHER
from exporter.classification.providers import PROVIDERS, Providers

TABLE = Providers()


def test_names_are_fit_for_labels() -> None:
    """Every name has 1 to 40 lower-case letters, digits and underscores; ``other`` is nobody's."""
    assert [name for name in PROVIDERS if not re.fullmatch(r"[a-z0-9_]{1,40}", name)] == []
    assert OTHER not in PROVIDERS
    assert TABLE.names == {*PROVIDERS, OTHER}


def test_there_are_few_enough_providers_for_labels() -> None:
    """At most 100 providers: with six classes of codes these are 600 series at the very most."""
    assert len(PROVIDERS) <= 100


def test_no_domain_is_listed_twice() -> None:
    """Each domain belongs to one provider, and is listed once."""
    count = Counter(domain for domains in PROVIDERS.values() for domain in domains.split())
    assert [domain for domain, times in count.items() if times > 1] == []


def test_every_domain_of_the_table_is_found() -> None:
    """An address at each domain, or below each wildcard, has the provider that lists it."""
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
        ("someone@mail.gmail.com", OTHER),  # no wildcard: a subdomain is a server of its own
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
        ("someone@\uff47mail.com", "gmail"),  # a full-width g: full-width letters are the same letters to IDNA
        ("someone@" + "ü" * 300 + ".com", OTHER),
        ("someone@" + "ü" * 70 + ".com", OTHER),
    ],
)
def test_the_domain_decides(recipient: str, provider: str) -> None:
    """Case, one dot at the end, blanks around and the local part make no difference; other domains are ``other``."""
    assert TABLE.provider_of(recipient) == provider


def test_the_users_own_go_first() -> None:
    """A domain of the user's has the user's name, also where the table or a wildcard has another."""
    providers = Providers(
        {"gmail.com": "google", "*.example.com": "hosted", "mail.example.com": "own", "*.rr.com": "rr"}
    )

    assert providers.provider_of("a@GMAIL.com") == "google"
    assert providers.provider_of("a@googlemail.com") == "gmail"
    assert providers.provider_of("a@sub.example.com") == "hosted"
    assert providers.provider_of("a@mail.example.com") == "own"
    assert providers.provider_of("a@example.com") == OTHER  # a wildcard is for what is below
    assert providers.provider_of("a@nyc.rr.com") == "rr"
    assert providers.names == {*PROVIDERS, OTHER, "google", "hosted", "own", "rr"}


def test_the_nearest_wildcard_decides() -> None:
    """Of two wildcards above a domain, the longer one is its provider's."""
    providers = Providers({"*.example.com": "far", "*.eu.example.com": "near"})

    assert providers.provider_of("a@x.eu.example.com") == "near"
    assert providers.provider_of("a@x.us.example.com") == "far"


@pytest.mark.parametrize("own", ["Bücher.example", "xn--bcher-kva.example", "BÜCHER.EXAMPLE."])
@pytest.mark.parametrize("domain", ["bücher.example", "XN--BCHER-KVA.example", "bücher。example"])
def test_international_domains_are_the_same_in_both_spellings(own: str, domain: str) -> None:
    """A domain in its own letters and in punycode is one domain, in the user's table and in the recipient."""
    assert Providers({own: "books"}).provider_of(f"a@{domain}") == "books"


@pytest.mark.parametrize("name", ["", "Gmail", "my-mail", "my mail", "ü", "a" * 41, "a\n"])
def test_names_that_are_unfit_for_labels_are_refused(name: str) -> None:
    """A name of the user's outside a-z, 0-9 and _ or longer than 40 is an error that names both."""
    with pytest.raises(ValueError, match=r"^provider .* of 'example\.com' is not 1 to 40 of a-z, 0-9 and _$"):
        Providers({"example.com": name})


@pytest.mark.parametrize(
    "domain", ["", "example", "a@example.com", "*", "*.", "**.example.com", "exa mple.com", "ü" * 300]
)
def test_domains_that_are_none_are_refused(domain: str) -> None:
    """What is no domain is an error that shows it and what was expected."""
    with pytest.raises(ValueError, match=r"is not a domain such as example\.com or \*\.example\.com$"):
        Providers({domain: "mine"})


@given(recipient=st.text() | st.emails() | st.text().map("a@{}.com".format))
def test_any_text_has_a_closed_provider(recipient: str) -> None:
    """Any text gives a name out of the table, or ``other``."""
    assert TABLE.provider_of(recipient) in TABLE.names


@given(recipient=st.emails())
def test_case_and_the_dot_of_the_root_make_no_difference(recipient: str) -> None:
    """An address, in capitals and with a dot at its end, has the same provider."""
    assert TABLE.provider_of(f"{recipient.upper()}.") == TABLE.provider_of(recipient)
