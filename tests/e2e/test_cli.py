"""The commands as a user runs them."""

import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from exporter import __version__


def run(*words: str, stdin: str = "") -> tuple[int, str, str]:
    """Run the command; exit code, standard output, standard error."""
    done = subprocess.run(
        [sys.executable, "-m", "exporter", *words], input=stdin, check=False, capture_output=True, text=True
    )
    return done.returncode, done.stdout, done.stderr


class Callback(BaseHTTPRequestHandler):
    """A server that keeps what it got, and answers with the status that the path says."""

    got: list[tuple[str, bytes]]

    def do_POST(self) -> None:
        """Answer."""
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.got.append((self.headers["Content-Type"], body))
        self.send_response(int(self.path[1:]))
        self.end_headers()
        self.wfile.write(b"words\nmore")

    def log_message(self, *_args: object) -> None:
        """Say nothing."""


@pytest.fixture
def callback() -> Iterator[tuple[str, list[tuple[str, bytes]]]]:
    """Give a base URL, and the list that requests to it are kept in."""
    got: list[tuple[str, bytes]] = []
    server = HTTPServer(("127.0.0.1", 0), type("Keeping", (Callback,), {"got": got}))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}", got
    server.shutdown()
    thread.join()
    server.server_close()


def test_version_is_told() -> None:
    """--version names program and version."""
    assert run("--version") == (0, f"smtpeter-exporter, version {__version__}\n", "")


def test_classify_answers_line_for_line() -> None:
    """Each line in gives one line out, a bad one too, and bad ones make the exit code 1."""
    lines = ['{"state": "rcpt to", "code": 550, "extended": "5.1.1", "recipient": "a@b.nl"}', "x", "[1]", "{}"]
    code, out, err = run("classify", stdin="\n".join(lines))
    assert (code, [json.loads(line) for line in out.splitlines()], err) == (
        1,
        [
            {
                "state": "rcptto",
                "code_class": "5xx",
                "extended": "5.1.1",
                "reason": "recipient_unknown",
                "decided_by": "extended",
                "provider": "other",
            },
            {"error": "line 2: not JSON: Expecting value: line 1 column 1 (char 0)"},
            {"error": "line 3: the JSON is a list, expected an object"},
            {
                "state": "none",
                "code_class": "none",
                "extended": "none",
                "reason": "unclassified",
                "decided_by": "unclassified",
                "provider": "other",
            },
        ],
        "smtpeter-exporter: 2 lines could not be read; line 2: not JSON: Expecting value: line 1 column 1 (char 0)\n",
    )


LOG = """\
{"id":"a","time":"2026-11-23 10:00:00","recipient":"jane@gmail.com","type":"failure","code":"550","status":"5.1.1",\
"description":"5.1.1 The email account <jane@gmail.com> does not exist","state":"rcptto","tags":"news;may"}
{"id":"b","recipient":"joe@gmail.com","code":"550","status":"5.1.1","description":"no such user","state":"rcptto"}
{"id":"c","recipient":"joe@school.example","code":"","status":"4.4.7","description":"","state":"bounce"}
"""


def test_classify_summarises_log_files(tmp_path: Path) -> None:
    """A log file of SMTPeter's becomes a table of reasons, most frequent first, in which addresses are masked."""
    log = tmp_path / "failures.log"
    log.write_text(LOG)
    code, out, err = run("classify", "--summary", str(log))
    assert (code, err) == (0, "")
    assert out.splitlines() == [
        "reason                failures  share  example",
        "recipient_unknown            2  66.7%  5.1.1 The email account <***@gmail.com> does not exist",
        "expired                      1  33.3%  4.4.7",
        "all                          3",
    ]


def test_classify_knows_the_users_own_providers(tmp_path: Path) -> None:
    """Of the configuration file, the table of providers is used."""
    file = tmp_path / "exporter.toml"
    file.write_text('[providers]\nschool = "school.example"\n')
    code, out, _ = run("classify", "--config.file", str(file), stdin=LOG)
    assert (code, [json.loads(line)["provider"] for line in out.splitlines()]) == (0, ["gmail", "gmail", "school"])


def test_classify_needs_text() -> None:
    """A line that is not UTF-8 is told by its number."""
    done = subprocess.run(
        [sys.executable, "-m", "exporter", "classify"], input=b"\xff\n", check=False, capture_output=True
    )
    assert (done.returncode, json.loads(done.stdout)) == (1, {"error": "line 1: not UTF-8"})


FORMS = {
    "form": (
        "application/x-www-form-urlencoded",
        b"id=1&recipient=a%40b.nl&state=data&code=451&extended=4.3.2&description=d",
    ),
    "json": (
        "application/json",
        b'{"id": "1", "recipient": "a@b.nl", "state": "data", "code": "451", "extended": "4.3.2", "description": "d"}',
    ),
}


@pytest.mark.parametrize("form", FORMS)
def test_send_posts_what_it_is_told(callback: tuple[str, list[tuple[str, bytes]]], form: str) -> None:
    """The variables go out in the form that was asked for, and the answer is told."""
    url, got = callback
    fields = ("--id", "1", "--recipient", "a@b.nl", "--state", "data", "--code", "451", "--extended", "4.3.2")
    assert run("send", f"{url}/200", *fields, "--description", "d", "--format", form) == (0, "200 OK: words\n", "")
    assert got == [FORMS[form]]


def test_send_fails_unless_the_answer_is_200(callback: tuple[str, list[tuple[str, bytes]]]) -> None:
    """Another answer is told, and is exit code 1."""
    assert run("send", f"{callback[0]}/403") == (1, "403 Forbidden: words\n", "")


def test_send_tells_when_nobody_answers() -> None:
    """No answer is a line that names the URL."""
    assert run("send", "http://127.0.0.1:9/x") == (
        1,
        "",
        "smtpeter-exporter: no answer from http://127.0.0.1:9/x: [Errno 111] Connection refused\n",
    )
    assert run("send", "nonsense") == (
        1,
        "",
        "smtpeter-exporter: no answer from nonsense: unknown url type: 'nonsense'\n",
    )


def test_check_config_shows_what_is_in_force() -> None:
    """Each setting stands with its value and origin, and nothing is started."""
    code, out, err = run("check-config", "--signature.mode", "off", "--log.format", "json")
    assert (code, err) == (0, "")
    assert out.splitlines()[0] == "webhook.listen-address = '127.0.0.1:10125'  # default"
    assert out.splitlines()[-1] == "log.format = 'json'  # --log.format"


def test_a_wrong_setting_is_exit_code_2() -> None:
    """A mistake is one line on standard error, for check-config and serve alike."""
    line = "smtpeter-exporter: log.level: 'loud' (from --log.level): expected debug, info, warning or error\n"
    assert run("check-config", "--log.level", "loud") == run("serve", "--log.level", "loud") == (2, "", line)


def test_check_config_reads_the_file_of_the_private_listener(tmp_path: Path) -> None:
    """What serve would refuse in it, or its absence, is told before; a good one is only named."""
    file = tmp_path / "web.yml"
    words = ("--signature.mode", "off", "--web.config.file", str(file))
    told = f"smtpeter-exporter: web.config.file: '{file}': No such file or directory: expected a readable YAML file\n"
    assert run("check-config", *words) == run("serve", *words) == (2, "", told)
    file.write_text("colour: red")
    assert run("check-config", *words)[:2] == (2, "")
    file.write_text("{}")
    code, out, err = run("check-config", *words)
    assert (code, err) == (0, "")
    assert f"web.config.file = '{file}'  # --web.config.file" in out.splitlines()


def test_a_wrong_flag_is_exit_code_2() -> None:
    """An unknown flag is told, with the nearest one."""
    code, out, err = run("serve", "--log.levle", "info")
    assert (code, out) == (2, "")
    assert err.splitlines()[-1].startswith("Error: No such option '--log.levle'")
    assert "Traceback" not in err
