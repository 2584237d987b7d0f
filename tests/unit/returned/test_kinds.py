"""A message without a report is recognized by its headers, or else by its words."""

import pytest

from exporter.returned.kinds import is_notice, kind_by_words
from exporter.returned.mime import parts_of

QUOTED = "\n\nOn Monday, Shop <shop@example.net> wrote:\n> Confirm your address. I am out of the office."


def kind_of(head: str, text: str = "Hello") -> str:
    """Return the kind of a message with these headers, separated by semicolons."""
    return kind_by_words(parts_of(f"{head.replace('; ', chr(10))}\n\n{text}".encode()))


@pytest.mark.parametrize(
    ("head", "kind"),
    [
        ("Subject: Hello", "other"),
        ("Auto-Submitted: auto-replied", "auto_reply"),
        ("Auto-Submitted: auto-generated", "auto_reply"),
        ("Auto-Submitted: no", "other"),
        ("X-Autoreply: yes", "auto_reply"),
        ("X-Auto-Response-Suppress: All", "auto_reply"),
        ("Precedence: auto_reply", "auto_reply"),
        ("Precedence: bulk", "auto_reply"),
        ("Precedence: bulk; List-Id: <x>", "other"),
        ("Auto-Submitted: auto-generated; List-Id: <x>", "auto_reply"),
        ("Subject: Automatic reply: x; From: postmaster@x", "auto_reply"),
        ("Auto-Submitted: auto-replied; From: MAILER-DAEMON@x", "other"),
        ("Auto-Submitted: auto-replied; From: <MicrosoftExchange329e71ec88ae4615bbc36ab6ce41109e@x>", "other"),
        ("Auto-Submitted: auto-replied; X-Failed-Recipients: a@b", "other"),
        ("Auto-Submitted: auto-replied; Subject: Undeliverable: x", "other"),
        ("From: MAILER-DAEMON@x; Subject: Warning: message x delayed 24 hours", "delay"),
        ("Subject: Delivery delayed: x", "delay"),
        ("X-Mailer: Spam Arrest", "challenge"),
        ("Reply-To: kees-confirm-accept.17@x", "challenge"),
        ("X-TMDA-Confirm: x", "challenge"),
        ("Subject: Sender verification request; Auto-Submitted: auto-replied", "challenge"),
    ],
)
def test_headers(head: str, kind: str) -> None:
    """The headers of software decide, except that failure notices also say that they are automatic."""
    assert kind_of(head) == kind


@pytest.mark.parametrize(
    ("head", "text", "kind"),
    [
        ("Subject: x", "I am out of the office.", "auto_reply"),
        ("Subject: Re: x; In-Reply-To: <x>", "I am out of the office.", "auto_reply"),
        ("Subject: Re: x; In-Reply-To: <x>", f"I am out of the office.{QUOTED}", "other"),
        ("Subject: Re: x", f"Please confirm that you are human.{QUOTED}", "challenge"),
        ("Subject: x; List-Id: <x>", "I am out of the office. Please confirm that you are human.", "other"),
        ("Subject: Re: x; In-Reply-To: <x>", f"Thanks!{QUOTED}", "other"),
        ("From: postmaster@x", "I am out of the office. Please confirm that you are human.", "other"),
        ("Auto-Submitted: auto-replied", "550 5.1.1 no", "other"),
        ("Auto-Submitted: auto-replied", "Your message could not be delivered.", "other"),
        ("Subject: x", "Dit is een automatisch gegenereerd bericht: uw mail kon niet worden bezorgd.", "other"),
        ("From: MAILER-DAEMON@x", "It has not yet been delivered. You do not need to resend it.", "delay"),
        ("From: MAILER-DAEMON@x; Subject: Mail delivery failed", "It was delayed, and then returned.", "other"),
    ],
)
def test_texts(head: str, text: str, kind: str) -> None:
    """The text decides if the headers don't. What a person quotes does not count."""
    assert kind_of(head, text) == kind


@pytest.mark.parametrize(
    ("head", "text", "notice"),
    [
        ("Subject: x", "Hello", True),
        ("Subject: Re: x", "Hello", True),
        ("Subject: Re: x", f"Hello{QUOTED}", False),
        ("In-Reply-To: <x>", f"Hello{QUOTED}", False),
        ("In-Reply-To: <x>; From: postmaster@x", f"Hello{QUOTED}", True),
        ("Precedence: list", "Hello", False),
        ("List-Id: <x>", "Hello", False),
    ],
)
def test_notices(head: str, text: str, *, notice: bool) -> None:
    """A person's reply and mail to a list report no failure."""
    head = head.replace("; ", "\n")
    assert is_notice(parts_of(f"{head}\n\n{text}".encode())) is notice
