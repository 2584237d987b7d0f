"""The command line as a process: its streams, its exit codes, and requests to a real server."""

import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Final, NamedTuple

import pytest

from tests.support.running import environment, free_port


def run(*words: str, stdin: bytes = b"") -> tuple[int, str, str]:
    """Run the command; returns exit code, standard output and standard error."""
    command = [sys.executable, "-m", "exporter", *words]
    done = subprocess.run(command, input=stdin, check=False, capture_output=True, env=environment())
    return done.returncode, done.stdout.decode(), done.stderr.decode()


def test_a_wrong_setting_is_one_line_and_exit_code_2() -> None:
    """Nothing is on standard output, and no traceback on standard error."""
    code, out, err = run("serve", "--signature.mode", "off", "--log.level", "loud")
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert err.startswith("smtpeter-exporter: log.level: 'loud' ")


def test_classifies_a_stream_of_bytes() -> None:
    """Standard input may contain anything; the exit code is 1 if a line could not be read."""
    code, out, err = run("classify", stdin=b'\xff\n{"extended": "5.1.1"}\n')
    lines = [json.loads(line) for line in out.splitlines()]
    assert (code, list(lines[0]), lines[1]["reason"]) == (1, ["error"], "recipient_unknown")
    assert (err.count("\n"), err.startswith("smtpeter-exporter: ")) == (1, True)


class Posted(NamedTuple):
    """A request to the server below."""

    content_type: str
    body: bytes


class Handler(BaseHTTPRequestHandler):
    """Keeps each request, and answers it with the status that is its path."""

    posted: list[Posted]

    def do_POST(self) -> None:
        """Answer."""
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.posted.append(Posted(self.headers["Content-Type"], body))
        self.send_response(int(self.path[1:]))
        self.end_headers()
        self.wfile.write(b"words\nmore")

    def log_message(self, *_args: object) -> None:
        """Do not log."""


class Server(NamedTuple):
    """A running server: its URL, and the requests that it got."""

    url: str
    posted: list[Posted]


@pytest.fixture
def server() -> Iterator[Server]:
    """Run a server for a test."""
    posted: list[Posted] = []
    running = HTTPServer(("127.0.0.1", 0), type("Keeping", (Handler,), {"posted": posted}))
    thread = threading.Thread(target=running.serve_forever)
    thread.start()
    yield Server(f"http://127.0.0.1:{running.server_port}", posted)
    running.shutdown()
    thread.join()
    running.server_close()


FORMS: Final = {
    "form": Posted(
        "application/x-www-form-urlencoded",
        b"id=1&recipient=a%40b.nl&state=data&code=451&extended=4.3.2&description=d",
    ),
    "json": Posted(
        "application/json",
        b'{"id": "1", "recipient": "a@b.nl", "state": "data", "code": "451", "extended": "4.3.2", "description": "d"}',
    ),
}


@pytest.mark.parametrize("form", FORMS)
def test_send_posts_the_variables_in_the_given_format(server: Server, form: str) -> None:
    """The first line of the answer is printed, with its status."""
    fields = ("--id", "1", "--recipient", "a@b.nl", "--state", "data", "--code", "451", "--extended", "4.3.2")
    flags = (*fields, "--description", "d", "--format", form)
    assert run("send", f"{server.url}/200", *flags) == (0, "200 OK: words\n", "")
    assert server.posted == [FORMS[form]]


def test_send_fails_unless_the_answer_is_200(server: Server) -> None:
    """Another answer is printed, and the exit code is 1."""
    assert run("send", f"{server.url}/403") == (1, "403 Forbidden: words\n", "")


def test_send_fails_without_an_answer() -> None:
    """The error is one line that names the URL."""
    url = f"http://127.0.0.1:{free_port()}/x"
    code, out, err = run("send", url)
    assert (code, out, err.count("\n")) == (1, "", 1)
    assert err.startswith("smtpeter-exporter: ")
    assert (url in err, "Connection refused" in err) == (True, True)
