"""The words of each kind of message are found in several languages, and not in texts of another kind."""

import re
from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.returned import words
from exporter.returned.words import LONGEST_TEXT, folded

FAILED: Final = (
    "Undeliverable: Newsletter",
    "Mail delivery failed: returning message to sender",
    "failure notice",
    "Delivery Status Notification (Failure)",
    "Unzustellbar: Rechnung",
    "Onbestelbaar: Nieuwsbrief",
    "Uw bericht is niet bezorgd",
    "Non remis : Facture",
    "No se puede entregar: Factura",
    "Non recapitabile: Fattura",
    "Não é possível entregar: Fatura",
    "Недоставленное сообщение",
    "系统退信",
)
AUTOMATIC: Final = (
    "Automatic reply: Newsletter",
    "[Auto-Reply] Newsletter",
    "Auto: Newsletter",
    "Out of Office: Newsletter",
    "Automatisch antwoord: Nieuwsbrief",
    "Afwezig",
    "Automatische Antwort: Rechnung",
    "Abwesenheitsnotiz: Rechnung",
    "Réponse automatique : Facture",
    "Respuesta automática: Factura",
    "Risposta automatica: Fattura",
    "Ik ben er even niet",
    "Resposta automática: Fatura",
    "自動応答: x",
)
AUTOMATIC_TEXT: Final = (
    "I am out of the office until Monday.",
    "Ik ben tot 3 mei met vakantie.",
    "Dit is een automatisch gegenereerd antwoord.",
    "Ik ben tot 3 juni niet bereikbaar.",
    "Ich bin bis Montag nicht im Büro.",
    "Je suis absente jusqu\u2019au 5 mai.",
    "Estoy fuera de la oficina.",
    "Sono in ferie fino a lunedì.",
    "Estou de férias.",
    "We have received your request.",
)
CHALLENGES: Final = (
    "Please confirm that you are human.",
    "To release your message for delivery, please send an empty message.",
    "Spam Arrest requests that senders verify themselves.",
    "Your message is being held until you click the link.",
    "Please add yourself to my Guest List.",
    "Confirmez que vous n'êtes pas un robot.",
    "Bitte bestätigen Sie, dass Sie kein Roboter sind.",
    "Bevestig dat u geen robot bent.",
    "Bitte klicken Sie auf den Link, um Ihre E-Mail zuzustellen.",
    "Klik op de link zodat uw bericht wordt afgeleverd.",
    "Cliquez ici pour que votre message soit remis.",
    "Confirme su dirección.",
    "Conferma che non sei un robot.",
    "Para confirmar o envio, clique aqui.",
)
DELAYS: Final = (
    "Delayed Mail (still being retried)",
    "Warning: could not send message for past 4 hours",
    "This message hasn't been delivered yet",
    "Zustellung verzögert: Rechnung",
    "Bezorging vertraagd",
)
OTHER: Final = (
    "Re: Vakantie in Frankrijk",
    "Wij bevestigen de ontvangst van uw bericht.",
    "This is to confirm your order.",
    "Leuk stuk over de moestuin!",
    "Please unsubscribe me.",
)


@pytest.mark.parametrize("text", FAILED)
def test_failure_notices(text: str) -> None:
    """The subjects of failure notices are found."""
    assert words.FAILED_SUBJECT.search(folded(text))


@pytest.mark.parametrize("text", AUTOMATIC)
def test_automatic_replies(text: str) -> None:
    """The subjects of automatic replies are found at their beginning."""
    assert words.AUTO_SUBJECT.match(folded(text))
    assert not words.AUTO_SUBJECT.match(folded(f"Re: {text}"))


@pytest.mark.parametrize("text", AUTOMATIC_TEXT)
def test_texts_of_automatic_replies(text: str) -> None:
    """The texts of automatic replies are found."""
    assert words.AUTO_TEXT.search(folded(text))


@pytest.mark.parametrize("text", CHALLENGES)
def test_challenges(text: str) -> None:
    """Requests for a confirmation are found."""
    assert words.CHALLENGE_TEXT.search(folded(text))


@pytest.mark.parametrize("text", DELAYS)
def test_delays(text: str) -> None:
    """Delays are found, and none of them is final."""
    assert words.DELAYED.search(folded(text))
    assert not words.FINAL_SUBJECT.search(folded(text))


@pytest.mark.parametrize("text", OTHER)
def test_other_texts(text: str) -> None:
    """Replies of people have none of these words."""
    assert not words.AUTO_SUBJECT.match(folded(text))
    patterns = (words.FAILED_SUBJECT, words.FAILED_TEXT, words.AUTO_TEXT, words.CHALLENGE_TEXT, words.DELAYED)
    assert not any(pattern.search(folded(text)) for pattern in patterns)


@pytest.mark.parametrize("text", [*CHALLENGES, *AUTOMATIC, *AUTOMATIC_TEXT])
def test_failures_are_no_replies(text: str) -> None:
    """No automatic reply and no challenge looks like a failure notice."""
    assert not words.FAILED_SUBJECT.search(folded(text))
    assert not words.FAILED_TEXT.search(folded(text))


def test_folded() -> None:
    """Case, accents, typographic apostrophes and white space make no difference."""
    assert folded(" RÉPONSE\n jusqu\u2019au  Büro ß") == "reponse jusqu'au buro ss"


@given(st.text())
def test_folded_twice(text: str) -> None:
    """A folded text stays as it is, and is no longer than allowed."""
    assert folded(folded(text)) == folded(text)
    assert len(folded(f"{text}\ufdfa" * 500)) <= LONGEST_TEXT


def test_repetitions_are_bounded() -> None:
    """No pattern repeats anything without a limit, so that none takes more than linear time."""
    patterns = [value.pattern for value in vars(words).values() if isinstance(value, re.Pattern)]
    assert len(patterns) == 10
    assert [pattern for pattern in patterns if re.search(r"[^\\][*+]|\{\d*,\}", pattern)] == []
