"""``status`` prints the page of a running exporter, over HTTP and HTTPS, with a password, and says why it cannot."""

import re
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import pytest

from exporter.cli import status as module
from exporter.errors import NoStatusPage, SettingError
from exporter.web.lines import STATE_HEADER
from tests.support.command_line import Outcome, invoke
from tests.support.running import Exporter, exporter, failure, free_port
from tests.support.texts import Texts
from tests.support.web_config import authority, hashed, tls, users, write_pair

PASSWORD: Final = "correct horse \u00a3"  # noqa: S105 -- of a throw-away exporter


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Exporter]:
    """Run an exporter without a web configuration, which no test changes."""
    with exporter(tmp_path_factory.mktemp("status")) as shared:
        yield shared


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Exporter, Path]]:
    """Run an exporter that requires TLS and a password; ``ca.pem`` and ``password`` are in the directory."""
    directory = tmp_path_factory.mktemp("guarded")
    write_pair(directory)
    authority().cert_pem.write_to_path(directory / "ca.pem")
    (directory / "web.yml").write_text(tls() + users(alice=hashed(PASSWORD)))
    (directory / "password").write_text(f"{PASSWORD}\nsecond line\n")
    with exporter(directory, "--web.config.file", str(directory / "web.yml")) as shared:
        yield shared, directory


@contextmanager
def answering(*answers: bytes) -> Iterator[str]:
    """Run a server that answers each connection with the next bytes, and closes it; yields its URL."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            for answer in answers:
                connection, _ = server.accept()
                with connection:
                    connection.recv(65_536)
                    connection.sendall(answer)

        thread = threading.Thread(target=serve)
        thread.start()
        yield f"http://127.0.0.1:{server.getsockname()[1]}"
        thread.join()


def why_not(outcome: Outcome, url: str, code: int = 5) -> str:
    """Return why there is no page, from the one line of the error."""
    assert outcome.error is not None
    assert (outcome.code, outcome.out, type(outcome.error)) == (code, "", NoStatusPage)
    text = str(outcome.error)
    assert text.startswith(f"no status page at {url}: ")
    assert text.isprintable()
    return text.removeprefix(f"no status page at {url}: ")


def headings(shown: str) -> list[str]:
    """Return the lines that are not indented, without the first two."""
    return [line for line in shown.splitlines()[2:] if line and not line.startswith(" ")]


def test_prints_the_page(running: Exporter) -> None:
    """It is the page as text; steps that are open are no error."""
    code, out, err, _ = invoke("status", f"http://{running.private}")
    assert (code, err) == (0, "")
    assert out.startswith("smtpeter-exporter ")
    assert headings(out) == [
        "Does it work?",
        "Failures in the last 24 hours",
        "Rejected in the last hour",
        "Ledger",
    ]
    assert invoke("status", f"http://{running.private}/").code == 0


def test_the_private_listener_of_this_host_is_the_default(running: Exporter, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a URL, it is the default of web.listen-address."""
    (url,) = [parameter for parameter in module.status_command.params if parameter.name == "url"]
    assert url.default == "http://127.0.0.1:10126"
    monkeypatch.setattr(url, "default", f"http://{running.private}")
    assert invoke("status").code == 0


def test_a_problem_is_exit_code_1(tmp_path: Path) -> None:
    """The page is printed, too."""
    with exporter(tmp_path, "--webhook.verification-dir", str(tmp_path)) as running:
        (tmp_path / "smtpeter-large.txt").write_text("x" * 5_000)
        code, out, err, _ = invoke("status", f"http://{running.private}")
        assert (code, err) == (1, "")
        assert "\n  Verification file: problem\n" in out


def test_counted_events_are_in_the_table(tmp_path: Path) -> None:
    """Failures and deliveries of this process are in it, and nothing personal."""
    with exporter(tmp_path, "--webhook.loops", "failures,deliveries") as running:
        assert running.post(failure(1)).status == 200
        for number in range(3):
            delivery = {"id": f"d{number}", "recipient": "jane.doe@gmail.com", "type": "delivery"}
            assert running.post(delivery, "/deliveries").status == 200
        code, out, _, _ = invoke("status", f"http://{running.private}")
    assert code == 0
    rows = {heading: cells for heading, *cells in (re.split(" {2,}", line.strip()) for line in out.splitlines())}
    assert rows["Reason"] == ["All", "other", "gmail"]
    assert rows["recipient_unknown"] == ["1", "1", "0"]
    assert rows["Deliveries"] == ["3", "0", "3"]
    assert rows["Failure ratio"] == ["25.0%", "100.0%", "0%"]
    assert [word for word in ("@", "jane", "m1", "user unknown") if word in out] == []


def test_tls_and_a_password(guarded: tuple[Exporter, Path], texts: Texts) -> None:
    """With the authority and the password, the page is printed; without one of them, the error says what to give."""
    running, directory = guarded
    port = running.private.rpartition(":")[2]
    url = f"https://localhost:{port}"
    ca = ("--ca-file", str(directory / "ca.pem"))
    password = ("--user", "alice", "--password-file", str(directory / "password"))
    assert invoke("status", url, *ca, *password).code == 0
    (directory / "wrong").write_text("sesame")
    wrong = ("--user", "alice", "--password-file", str(directory / "wrong"))
    texts.check(why_not(invoke("status", url, *ca), url))
    texts.check(why_not(invoke("status", url, *ca, *wrong), url))
    texts.check(why_not(invoke("status", url, *password), url))
    plain = f"http://localhost:{port}"
    texts.check(why_not(invoke("status", plain, *password), plain))


def test_the_certificate_itself_may_be_its_authority(guarded: tuple[Exporter, Path], tmp_path: Path) -> None:
    """A certificate of another authority is not trusted, and the name in it must be that of the URL."""
    running, directory = guarded
    authority("other").cert_pem.write_to_path(tmp_path / "other.pem")
    port = running.private.rpartition(":")[2]
    url = f"https://localhost:{port}"
    assert "not trusted" in why_not(invoke("status", url, "--ca-file", str(tmp_path / "other.pem")), url)
    by_name = f"https://ip6-localhost.invalid:{port}"
    assert why_not(invoke("status", by_name, "--ca-file", str(directory / "ca.pem")), by_name)


def test_another_listener_is_no_status_page(running: Exporter, texts: Texts) -> None:
    """The public listener answers 404, and nothing listens on a free port."""
    public, nothing = f"http://{running.public}", f"http://127.0.0.1:{free_port()}"
    texts.check(why_not(invoke("status", public), public))
    texts.check(why_not(invoke("status", nothing), nothing))


def test_other_answers_are_no_status_page(texts: Texts) -> None:
    """Another program, a redirect, an answer that is not HTTP, and none at all."""
    for answer in (
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
        b"HTTP/1.1 302 Found\r\nLocation: http://example.com/\r\nContent-Length: 0\r\n\r\n",
        b"SSH-2.0-OpenSSH_9.2\r\n",
        b"",
    ):
        with answering(answer) as url:
            texts.check(why_not(invoke("status", url), url))


def test_tls_needs_a_listener_with_tls() -> None:
    """A listener that answers TLS with something else is named as one without TLS."""
    with answering(b"HTTP/1.1 400 Bad Request\r\n\r\n") as url:
        secure = url.replace("http", "https")
        assert why_not(invoke("status", secure), secure).startswith("no TLS: ")


def test_no_answer_in_time_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that accepts the connection and is silent does not keep the command."""
    monkeypatch.setattr(module, "TIMEOUT", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        assert (
            why_not(invoke("status", url), url)
            == "no answer within 0.2 seconds; is it a listener with TLS (https) or without (http)?"
        )


def test_nothing_controls_the_terminal() -> None:
    """Control characters of the answer are replaced, except for the ends of lines."""
    body = "smtpeter-exporter \x1b[2J\r\n\u009b1m \u2013\xff\n".encode("latin-1", "replace")
    head = f"HTTP/1.1 200 OK\r\n{STATE_HEADER}: problem\r\nContent-Length: {len(body)}\r\n\r\n".encode()
    with answering(head + body) as url:
        code, out, _, _ = invoke("status", url)
    assert (code, out) == (1, "smtpeter-exporter \ufffd[2J\ufffd\n\ufffd1m ?\ufffd\n")


@pytest.mark.parametrize(
    "words",
    [
        ["ftp://127.0.0.1"],
        ["127.0.0.1:10126"],
        ["http://"],
        ["http://127.0.0.1:port"],
        ["http://127.0.0.1:99999"],
        ["http://127.0.0.1/?x"],
        ["http://[::1"],
        ["http://alice:secret@127.0.0.1"],
        ["http://127.0.0.1", "--user", "alice"],
        ["http://127.0.0.1", "--password-file", "x"],
        ["http://127.0.0.1", "--ca-file", "x"],
        ["http://127.0.0.1", "--user", "a:b", "--password-file", "x"],
    ],
    ids=" ".join,
)
def test_wrong_arguments_are_exit_code_2(words: list[str]) -> None:
    """No request is sent, and a password in the URL is not repeated."""
    outcome = invoke("status", *words)
    assert (outcome.code, outcome.out) == (2, "")
    assert "secret" not in outcome.err


def test_files_that_cannot_be_read_are_exit_code_2(tmp_path: Path, texts: Texts) -> None:
    """The error names the option, the file and what is expected."""
    (tmp_path / "empty").write_text("\nx")
    for words in (
        ["http://127.0.0.1", "--user", "alice", "--password-file", str(tmp_path / "missing")],
        ["http://127.0.0.1", "--user", "alice", "--password-file", str(tmp_path / "empty")],
        ["https://127.0.0.1", "--ca-file", str(tmp_path / "missing")],
        ["https://127.0.0.1", "--ca-file", str(tmp_path / "empty")],
    ):
        error = invoke("status", *words).error
        assert isinstance(error, SettingError)
        texts.check(error)


def test_the_name_of_the_host_may_be_impossible() -> None:
    """A host that no resolver can look up is an error like any other."""
    url = f"http://{'a' * 70}.example"
    assert why_not(invoke("status", url), url)
