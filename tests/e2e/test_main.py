"""The process of the command line: signals at any time, standard streams of any kind, and the modules that it loads."""

import fcntl
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, Final

import pytest

from exporter import __version__
from exporter.ledger.sqlite import SqliteLedger
from tests.support.running import TIMEOUT, Client, command, environment, failure

PROGRAM: Final = (sys.executable, "-m", "exporter")
URL: Final = "http://127.0.0.1:9/failures"  # where nothing listens
OFF: Final = "--signature.mode off --webhook.listen-address 127.0.0.1:0 --web.listen-address 127.0.0.1:0".split()

BUFFERED: Final = {"PYTHONUNBUFFERED": ""}
"""Python's default, whatever the environment of the tests has."""

Ended = tuple[int, str, str]
"""How a process ended: exit code, standard output and standard error."""


def run(*words: str, **options: Any) -> Ended:
    """Run a command to its end."""
    defaults: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    done = subprocess.run(
        words,
        **{"stdin": subprocess.DEVNULL, "env": environment() | BUFFERED, "text": True, **defaults, **options},
        check=False,
        timeout=TIMEOUT,
    )
    return done.returncode, done.stdout or "", done.stderr or ""


def test_prints_its_version() -> None:
    """``python -m exporter`` runs the command line, under the name of the installed command."""
    assert run(*PROGRAM, "--version") == (0, f"smtpeter-exporter, version {__version__}\n", "")


# As the installed command, but the process sends itself a signal at the N-th of the events that Python reports and that
# have the given name and first argument, or at the N-th call of a function. If N is 0, it prints how many there were.
SIGNALLING: Final = """
import os, signal, sys
number, event, first, left = int(sys.argv[1]), sys.argv[2], sys.argv[3], int(sys.argv[4])
sys.argv[1:] = sys.argv[5:]
signal.signal(signal.SIGINT, signal.default_int_handler)  # in a background job of a shell, it would be ignored

def count():
    global left
    left -= 1
    if left == 0:
        os.kill(os.getpid(), number)

def audit(name, arguments):
    if name == event and first in str(arguments[:1]):
        count()

from exporter.cli.main import main
if event == "exit":
    import atexit
    atexit.register(count)
elif event == "call":
    sys.setprofile(lambda *_: count())
else:
    sys.addaudithook(audit)
try:
    main()
finally:
    sys.setprofile(None)
    if left < 0:
        print(-left, file=sys.stderr)
"""


def signalled(
    number: signal.Signals, event: str, *words: str, first: str = "", at: int = 1, prefix: tuple[str, ...] = ()
) -> Ended:
    """Run a command that gets a signal at an event."""
    program = (*prefix, sys.executable, "-c", SIGNALLING)
    return run(*program, str(int(number)), event, first, str(at), *words, env=environment(measured=False))


@pytest.mark.parametrize(
    ("event", "first", "line"),
    [
        ("import", "'exporter.cli.group'", "--version"),
        ("import", "'click'", "--version"),
        ("import", "'exporter.settings.table'", "serve"),
        ("import", "'exporter.serve'", "serve --signature.mode off"),
        ("import", "'cryptography'", "serve --signature.mode off"),
        ("import", "'waitress'", "serve --signature.mode off"),
        ("sqlite3.connect", "", "serve --signature.mode off --storage.url sqlite:///FOLDER/new.db"),
        ("open", "config.toml", "check-config --config.file FOLDER/config.toml"),
        ("open", "log.jsonl", "classify FOLDER/log.jsonl"),
        ("import", "'exporter.simulator.client'", f"send {URL}"),
        ("socket.connect", "", f"send {URL}"),
        ("import", "'exporter.simulator.traffic'", f"simulate {URL}"),
        ("sqlite3.connect", "old.db", "ledger copy sqlite:///FOLDER/old.db sqlite:///FOLDER/copy.db"),
        ("sqlite3.connect", "copy.db", "ledger copy sqlite:///FOLDER/old.db sqlite:///FOLDER/copy.db"),
        ("open", "api.yaml", "assets FOLDER/out"),
    ],
)
def test_ctrl_c_ends_each_command_with_one_line(event: str, first: str, line: str, tmp_path: Path) -> None:
    """The exit code is 130 and there is no traceback: while modules load, files are read, or connections open."""
    (tmp_path / "config.toml").write_text("signature.mode = 'off'\n")
    (tmp_path / "log.jsonl").write_text("{}\n")
    SqliteLedger(tmp_path / "old.db", now=0).close()
    words = line.replace("FOLDER", str(tmp_path)).split()
    code, _, err = signalled(signal.SIGINT, event, *words, first=first)
    assert (code, err) == (130, "smtpeter-exporter: interrupted\n")


def test_ctrl_c_ends_the_command_at_any_step() -> None:
    """From the start to the end of the process, the result is one line and exit code 130."""
    words = ("check-config", *OFF)
    code, _, err = signalled(signal.SIGINT, "call", *words, at=0)
    calls = int(err)
    assert (code, calls > 10_000) == (0, True)
    ends = {at: signalled(signal.SIGINT, "call", *words, at=at)[::2] for at in range(50, calls, calls // 12)}
    assert ends == dict.fromkeys(ends, (130, "smtpeter-exporter: interrupted\n"))


def test_ctrl_c_at_exit() -> None:
    """After the command has ended, while Python shuts down, there is no traceback either."""
    assert signalled(signal.SIGINT, "exit", "--version")[::2] == (130, "smtpeter-exporter: interrupted\n")


def test_ctrl_c_while_standard_input_is_read() -> None:
    """What was read before is classified, and the end is as at any other time."""
    with subprocess.Popen(
        [*PROGRAM, "classify"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment()
    ) as process:
        assert process.stdin
        assert process.stdout
        process.stdin.write(b'{"state": "data"}\n' * 1_000)
        process.stdin.flush()
        assert json.loads(process.stdout.readline())["reason"] == "unclassified"
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=TIMEOUT)
        assert (process.returncode, err) == (130, b"smtpeter-exporter: interrupted\n")


def test_assets_are_written_completely(tmp_path: Path) -> None:
    """Ctrl-C while ``assets`` writes takes effect after the last file, and leaves no temporary files."""
    code, _, err = signalled(signal.SIGINT, "shutil.copyfile", "assets", str(tmp_path / "out"))
    assert (code, err) == (130, "smtpeter-exporter: interrupted\n")
    assert run(*PROGRAM, "assets", str(tmp_path / "whole"))[0] == 0
    assert contents(tmp_path / "out") == contents(tmp_path / "whole")


def contents(directory: Path) -> dict[str, bytes]:
    """Return the contents of the files in a directory."""
    return {str(path.relative_to(directory)): path.read_bytes() for path in directory.rglob("*") if path.is_file()}


def test_sigterm_while_modules_load() -> None:
    """The process prints one line and dies of the signal, which systemd takes for a clean stop."""
    ended = signalled(signal.SIGTERM, "import", "serve", *OFF, first="'cryptography'")
    assert ended == (-signal.SIGTERM, "", "smtpeter-exporter: terminated\n")


def test_sigterm_stops_process_1() -> None:
    """In a container, where SIGTERM does not end process 1 by default, it ends the exporter while modules load."""
    prefix = ("unshare", *(() if os.geteuid() == 0 else ("--user", "--map-root-user")), "--pid", "--fork")
    if not shutil.which("unshare") or run(*prefix, "true")[0]:
        pytest.skip("needs unshare, and the right to create a PID namespace")
    ended = signalled(signal.SIGTERM, "import", "serve", *OFF, first="'cryptography'", prefix=prefix)
    assert ended == (143, "", "smtpeter-exporter: terminated\n")


@contextmanager
def unwritable(kind: str) -> Iterator[IO[bytes]]:
    """Open a stream that accepts no data: on a full disk, without a reader, or with a reader that does not read."""
    if kind == "full":
        with Path("/dev/full").open("wb") as full:
            yield full
        return
    read, write = os.pipe()
    with os.fdopen(read, "rb", closefd=False), os.fdopen(write, "wb", buffering=0) as stream:
        if kind == "busy":
            os.set_blocking(write, False)
            fcntl.fcntl(write, fcntl.F_SETPIPE_SZ, 4096)
            stream.write(b"x" * 4096)
        else:
            os.close(read)
        yield stream
        if kind == "busy":
            os.close(read)


CLOSED: Final = ("sh", "-c", 'exec "$@" 2>&-', "sh")


@pytest.mark.parametrize("kind", ["closed", "full", "broken", "busy"])
@pytest.mark.parametrize(
    ("line", "code"),
    [
        ("nonsense", 2),
        ("serve --log.level loud", 2),
        ("serve --signature.mode off --storage.url sqlite:////proc/none", 3),
        ("serve --signature.mode off --storage.url sqlite:///FOLDER/new.db --web.listen-address 192.0.2.1:1", 4),
        ("classify FOLDER/log.jsonl", 1),
        (f"send {URL}", 1),
        (f"simulate {URL} --for 0s", 0),
        ("ledger copy sqlite:////nowhere sqlite:///FOLDER/new.db", 3),
        ("assets FOLDER/out", 0),
    ],
)
def test_standard_error_does_not_change_the_exit_code(line: str, code: int, kind: str, tmp_path: Path) -> None:
    """A message that cannot be written is dropped; standard output is the same."""
    (tmp_path / "log.jsonl").write_text("{}\n[]\n")
    words = (*PROGRAM, *line.replace("FOLDER", str(tmp_path)).split())
    expected = run(*words)
    assert (expected[0], bool(expected[2])) == (code, True)
    shutil.rmtree(tmp_path / "out", ignore_errors=True)
    if kind == "closed":
        assert run(*CLOSED, *words) == (*expected[:2], "")
    else:
        with unwritable(kind) as stderr:
            assert run(*words, stderr=stderr) == (*expected[:2], "")


def test_serve_outlives_the_reader_of_its_log(tmp_path: Path) -> None:
    """Failures are counted and the process stops with 0, although its log lines can no longer be written."""
    with subprocess.Popen(
        command(tmp_path, "--log.level", "debug"), stderr=subprocess.PIPE, text=True, env=environment()
    ) as process:
        assert process.stderr
        ready = next(line for line in process.stderr if "msg=ready" in line)
        process.stderr.close()
        public, private, _ = re.findall(r"http://([^/]+)", ready)
        with Client(public) as client:
            assert [client.post(failure(number)).status for number in (1, 2)] == [200, 200]  # each is logged
        with Client(private) as client:
            assert 'reason="recipient_unknown"} 2.0' in client.request("GET", "/metrics").text
        process.send_signal(signal.SIGTERM)
        assert process.wait(TIMEOUT) == 0


PRINTING: Final = (
    "--version",
    "--help",
    "serve --help",
    f"check-config {' '.join(OFF)} --storage.url sqlite:///FOLDER/ledger.db",
    "classify FOLDER/log.jsonl",
    "classify --summary FOLDER/log.jsonl",
    "completion bash",
    "assets FOLDER/out",
    f"simulate {URL} --for 0s",
)


@pytest.fixture
def printing(tmp_path: Path, line: str) -> tuple[str, ...]:
    """Return a command that prints something, and has what it needs."""
    (tmp_path / "log.jsonl").write_text('{"state": "data"}\n' * 1_000)
    return (*PROGRAM, *line.replace("FOLDER", str(tmp_path)).split())


@pytest.mark.parametrize("line", PRINTING)
def test_output_that_cannot_be_written_is_an_error(printing: tuple[str, ...]) -> None:
    """If standard output is on a full disk, the exit code is 1, and the last line says why."""
    with unwritable("full") as stdout:
        code, _, err = run(*printing, stdout=stdout)
    assert (code, err.splitlines()[-1]) == (1, "smtpeter-exporter: [Errno 28] No space left on device")
    assert "Traceback" not in err


@pytest.mark.parametrize("line", PRINTING)
def test_output_without_a_reader_ends_the_command(printing: tuple[str, ...]) -> None:
    """If the reader has gone, as ``head`` does after some lines, the exit code is 0, and there is no error."""
    with unwritable("broken") as stdout:
        code, _, err = run(*printing, stdout=stdout)
    assert (code, "Broken pipe" in err or "Traceback" in err) == (0, False)


def test_an_endless_input_ends_with_the_reader_of_the_output() -> None:
    """``classify`` stops reading when nobody reads its output."""
    pipe = f"yes '{{}}' | {{ {' '.join(PROGRAM)} classify; echo $? >&2; }} | head -n 1"
    code, out, err = run("sh", "-c", pipe)
    assert (code, out.count("\n"), err) == (0, 1, "0\n")


@pytest.mark.parametrize("line", PRINTING)
def test_closed_streams_do_not_matter(printing: tuple[str, ...]) -> None:
    """With all standard streams closed, as daemons close them, the exit code is the usual one."""
    assert run("sh", "-c", 'exec "$@" <&- >&- 2>&-', "sh", *printing) == (0, "", "")


def test_closed_streams_are_the_null_device(tmp_path: Path) -> None:
    """No file or socket gets the number of a closed stream, to which a message could be written; nothing is read."""
    code = (
        "import os, sys\nfrom exporter.cli.streams import open_streams\nopen_streams()\nprint(sys.stdin.read())\n"
        "open(sys.argv[1], 'w').write(' '.join(os.readlink(f'/proc/self/fd/{number}') for number in range(3)))"
    )
    done = run("sh", "-c", 'exec "$@" <&- >&- 2>&-', "sh", sys.executable, "-c", code, str(tmp_path / "fds"))
    assert (done, (tmp_path / "fds").read_text()) == ((0, "", ""), "/dev/null /dev/null /dev/null")


def test_any_text_can_be_printed() -> None:
    """If the output is not UTF-8, characters that it cannot contain are escaped."""
    words = ("check-config", *OFF, "--tags.count", "用户é")
    code, out, err = run(*PROGRAM, *words, env=environment() | {"PYTHONIOENCODING": "latin-1"}, encoding="latin-1")
    assert (code, err) == (0, "")
    assert "tags.count = '\\u7528\\u6237é'  # --tags.count" in out.splitlines()


@pytest.mark.parametrize(("columns", "width"), [(60, 58), (80, 78), (120, 118), (200, 118)])
@pytest.mark.parametrize("command", ["serve", "simulate"])
def test_help_fits_the_terminal(command: str, columns: int, width: int) -> None:
    """The text uses the width of the terminal, up to 120 columns."""
    code, out, err = run(*PROGRAM, command, "--help", env=environment() | {"COLUMNS": str(columns)})
    assert (code, err) == (0, "")
    assert width - 15 < max(map(len, out.splitlines())) <= width


HEAVY: Final = frozenset(
    "bcrypt cryptography dns falcon google_re2 prometheus_client psycopg re2 waitress yaml".split()
)
LIGHT: Final = {"exporter", *(f"exporter.{name}" for name in "cli cli.main cli.streams cli.group errors".split())}


def imported(*words: str, completing: str = "") -> set[str]:
    """Return the modules that are imported by a command, or by the completion of the last word of its line."""
    line = f"smtpeter-exporter {completing}"
    variables = {"_SMTPETER_EXPORTER_COMPLETE": "bash_complete", "COMP_WORDS": line, "COMP_CWORD": str(line.count(" "))}
    code, _, err = run(
        *(sys.executable, "-X", "importtime", "-m", "exporter", *words),
        env=environment(measured=False) | (variables if completing else {}),
    )
    assert code == 0
    return {line.rpartition("|")[2].strip() for line in err.splitlines() if line.startswith("import time:")}


@pytest.mark.parametrize("words", [["--version"], ["--help"], ["completion", "zsh"]])
def test_commands_are_imported_when_they_are_used(words: list[str]) -> None:
    """Without a command, only the list of commands is imported."""
    modules = imported(*words)
    assert {module for module in modules if module.startswith("exporter")} == LIGHT
    assert modules & HEAVY == set()


def test_a_completion_of_commands_imports_none() -> None:
    """The names of the commands are known without their modules."""
    modules = imported(completing="s")
    assert {module for module in modules if module.startswith("exporter")} == LIGHT
    assert modules & HEAVY == set()


@pytest.mark.parametrize(
    "line", ["serve --log.level ", "serve --lo", "check-config --", "classify --", "ledger ", "assets --"]
)
def test_a_completion_does_not_import_the_server(line: str) -> None:
    """The options and their values are known without the server, the simulator, and the packages that they use."""
    modules = imported(completing=line)
    assert modules & {*HEAVY, "exporter.serve", "exporter.simulator"} == set()


@pytest.mark.parametrize("words", [["serve", "--help"], ["check-config", "--help"], ["classify"]])
def test_a_command_imports_only_what_it_needs(words: list[str]) -> None:
    """Help and classification need no server."""
    modules = imported(*words)
    assert modules & {*HEAVY, "exporter.serve", "exporter.simulator"} == set()
