"""``send`` and ``simulate``: their arguments. tests/e2e has what they send."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import pytest

from exporter.cli import post
from exporter.cli.post import simulate_command
from exporter.errors import ExporterError, SettingError
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

    monkeypatch.setattr(post, "send", send)
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
    ["http://127.0.0.1:10125/404", "http://127.0.0.1:10125/403", "http://127.0.0.1:10126/405"],
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
    assert isinstance(invoke("simulate", "nonsense").error, SettingError)


@pytest.mark.parametrize("command", ["send", "simulate"])
@pytest.mark.parametrize(
    "flags",
    [("--sign-key", "x"), ("--sign-key-id", "x"), ("--sign-account", "x"), ("--sign-key", "x", "--sign-key-id", "x")],
)
def test_the_options_of_signing_go_together(command: str, flags: tuple[str, ...], sent: list[dict[str, Any]]) -> None:
    """One or two of the three are an error that names all of them."""
    outcome = invoke(command, URL, *flags)
    assert (outcome.code, outcome.out, sent) == (2, "", [])
    assert [name for name in ("--sign-key", "--sign-key-id", "--sign-account") if name not in outcome.err] == []


@pytest.mark.parametrize("command", ["send", "simulate"])
def test_the_key_must_be_readable(command: str, tmp_path: Path, sent: list[dict[str, Any]]) -> None:
    """A missing file is an error that names the option."""
    flags = ("--sign-key", str(tmp_path / "none"), "--sign-key-id", "x", "--sign-account", "environment-1")
    outcome = invoke(command, URL, *flags)
    assert isinstance(outcome.error, SettingError)
    assert (str(outcome.error).startswith("--sign-key: "), sent) == (True, [])


@pytest.mark.parametrize(
    "flags",
    [
        ("--failures-per-day", "0"),
        ("--failures-per-day", "nan"),
        ("--spike", "nonsense"),
        ("--spike-factor", "nan"),
        ("--spike-after", "2"),
        ("--spike-for", "-1s"),
        ("--past", "3661d"),
        ("--for", "soon"),
        ("--speed", "0"),
        ("--speed", "nan"),
        ("--seed", "x"),
        ("--format", "xml"),
    ],
    ids=" ".join,
)
def test_simulate_checks_its_options(flags: tuple[str, str]) -> None:
    """The last line names the option; nothing is sent."""
    outcome = invoke("simulate", URL, *flags)
    last = outcome.err.splitlines()[-1]
    assert (outcome.code, outcome.out, last.startswith("Error: "), f"'{flags[0]}'" in last) == (2, "", True, True)


def test_errors_about_durations_are_kept(texts: Texts) -> None:
    """The error has the value and what was expected."""
    for text in ("2", "3661d"):
        texts.check(invoke("simulate", URL, "--past", text).err.splitlines()[-1].partition("'--past': ")[2])


def test_simulate_can_stop_at_once() -> None:
    """With a length of 0 s it sends nothing, and prints a summary."""
    outcome = invoke("simulate", URL, "--for", "0s", "--seed", "7", "--failures-per-day", "2000")
    assert (outcome.code, outcome.out.startswith("0 "), outcome.out.count("\n")) == (0, True, 1)
    assert (URL in outcome.err, "2,000" in outcome.err, "seed 7" in outcome.err) == (True, True, True)


def test_simulate_prints_its_seed() -> None:
    """Without ``--seed`` there is another seed each time, which is printed so that a run can be repeated."""
    seeds = {invoke("simulate", URL, "--for", "0s").err.partition("seed ")[2] for _ in range(5)}
    assert len(seeds) > 1


def test_each_option_is_described(texts: Texts) -> None:
    """Each option of ``simulate``, some of which ``send`` has, too, has a help text."""
    for option in simulate_command.params:
        if text := getattr(option, "help", None):
            texts.check(f"{option.opts[0]}: {text}")
