"""``send``: its arguments, and the variables that it posts. tests/e2e has the requests."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import pytest

from exporter.cli import send as send_module
from exporter.errors import ExporterError
from exporter.simulator.client import FORMS, Response, Signing
from tests.support.command_line import invoke
from tests.support.texts import Texts

URL: Final = "http://127.0.0.1:10125/failures"


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """Replace the client by a list of what it was called with; it is answered 200, or with the status in the URL."""
    calls: list[dict[str, Any]] = []

    def send(url: str, fields: Mapping[str, str], *, form: str, signer: Signing | None) -> Response:
        calls.append({"url": url, "form": form, "signer": signer, **fields})
        answers = {403: ("Forbidden", "unsigned"), 404: ("Not Found", "not_found")}
        answers |= {405: ("Method Not Allowed", "method"), 200: ("OK", "counted")}
        status = next((status for status in answers if str(status) in url), 200)
        return Response(status, *answers[status])

    monkeypatch.setattr(send_module, "send", send)
    return calls


def test_send_posts_a_failure_that_is_counted(sent: list[dict[str, Any]]) -> None:
    """Without options it posts a complete failure, whose id is another one each time."""
    assert [invoke("send", URL)[:3] for _ in range(2)] == [(0, "200 OK: counted\n", "")] * 2
    first, second = sent
    assert first["id"] != second["id"]
    assert {name: text for name, text in first.items() if name not in {"id", "description"}} == {
        "url": URL,
        "form": "form",
        "signer": None,
        "recipient": "no.such.user@gmail.com",
        "state": "rcptto",
        "code": "550",
        "extended": "5.1.1",
    }


@pytest.mark.parametrize("form", FORMS)
def test_send_posts_the_given_failure(sent: list[dict[str, Any]], form: str) -> None:
    """Each variable and the format have an option."""
    fields = {"id": "1", "recipient": "a@b.nl", "state": "data", "code": "451", "extended": "4.3.2", "description": "d"}
    flags = [word for name, text in fields.items() for word in (f"--{name}", text)]
    assert invoke("send", URL, *flags, "--format", form).code == 0
    assert sent == [{"url": URL, "form": form, "signer": None, **fields}]


def test_send_fails_unless_the_answer_is_200(sent: list[dict[str, Any]]) -> None:
    """Another answer is printed, and the exit code is 1."""
    assert invoke("send", f"{URL}/403")[:2] == (1, "403 Forbidden: unsigned\n")
    assert len(sent) == 1


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1:10125/404",
        "http://127.0.0.1:10125/403",
        "http://127.0.0.1:10126/405",
        "http://127.0.0.1:10125/404/bounces",
    ],
)
@pytest.mark.usefixtures("sent")
def test_send_has_hints(url: str, texts: Texts) -> None:
    """After an answer that a first test often gets, one more line on standard error shows the way out."""
    outcome = invoke("send", url)
    assert (outcome.code, outcome.err.count("\n")) == (1, 1)
    texts.check(outcome.err.strip())


@pytest.mark.usefixtures("sent")
def test_the_right_path_has_no_hint() -> None:
    """If the path is that of the webhook, the cause is another one."""
    assert invoke("send", "http://127.0.0.1:10125/404/failures")[:3] == (1, "404 Not Found: not_found\n", "")


def test_a_url_of_another_scheme_is_an_error() -> None:
    """Nothing is sent; the error names the URL."""
    for url in ("nonsense", "file:///etc/passwd"):
        outcome = invoke("send", url)
        assert isinstance(outcome.error, ExporterError)
        assert url in str(outcome.error)


@pytest.mark.parametrize(
    ("flags", "fields"),
    [
        (("deliveries",), {"type": "delivery", "recipient": "no.such.user@gmail.com"}),
        (("deliveries", "--recipient", "a@b.nl"), {"type": "delivery", "recipient": "a@b.nl"}),
        (
            ("bounces", "--recipient", "a@b.nl", "--mime"),
            {"type": "bounce", "recipient": "a@b.nl", "mime": "A: b\udcff"},
        ),
        (("abuses", "--mime"), {"type": "abuse", "emailfrom": "feedback@gmail.com", "mime": "A: b\udcff"}),
        (
            ("abuses", "--email-from", "x@y.nl", "--mime"),
            {"type": "abuse", "emailfrom": "x@y.nl", "mime": "A: b\udcff"},
        ),
    ],
)
def test_send_posts_an_event_of_another_loop(
    flags: tuple[str, ...], fields: Mapping[str, str], tmp_path: Path, sent: list[dict[str, Any]]
) -> None:
    """It has the type and the variables of its loop, and the bytes of the file, even if they are not UTF-8."""
    file = tmp_path / "message.eml"
    file.write_bytes(b"A: b\xff")
    words = [*flags, str(file)] if flags[-1] == "--mime" else flags
    assert invoke("send", URL, "--id", "1", "--loop", *words).code == 0
    assert sent == [{"url": URL, "form": "form", "signer": None, "id": "1", **fields}]


@pytest.mark.parametrize(
    ("flags", "named"),
    [
        (("--loop", "bounces"), "--mime"),
        (("--loop", "abuses"), "--mime"),
        (("--loop", "deliveries", "--state", "data"), "--state"),
        (("--loop", "deliveries", "--mime", __file__), "--mime"),
        (("--loop", "abuses", "--mime", __file__, "--recipient", "a@b.nl"), "--recipient"),
        (("--email-from", "a@b.nl"), "--email-from"),
        (("--loop", "bounces", "--mime", "/does/not/exist"), "--mime"),
        (("--loop", "clicks"), "--loop"),
    ],
)
def test_an_option_that_does_not_fit_the_loop_is_an_error(
    flags: tuple[str, ...], named: str, sent: list[dict[str, Any]]
) -> None:
    """The error names the option that is missing, or that another loop has; nothing is sent."""
    outcome = invoke("send", URL, *flags)
    assert (outcome.code, named in outcome.err.splitlines()[-1], sent) == (2, True, [])
