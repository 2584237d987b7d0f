"""``check-config`` on a real machine: every mistake, next to a running exporter, and that nothing is changed."""

import itertools
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from exporter.errors import ExporterError, ListenError, SettingError
from exporter.settings.table import SETTINGS
from tests.support.command_line import Outcome, invoke
from tests.support.confinement import confined
from tests.support.engines import ALL_ENGINES, ENGINES, url_of
from tests.support.records import NOW
from tests.support.running import TIMEOUT, changes, environment, exporter, failure, free_port, until
from tests.support.scripted_server import scripted_server
from tests.support.signing import NameServer
from tests.support.web_config import authority, tls, users, write_pair

ACCOUNT: Final = ("--signature.account", "environment-1")
OFF: Final = ("--signature.mode", "off")
FREE: Final = ("--webhook.listen-address", "127.0.0.1:0", "--web.listen-address", "127.0.0.1:0")


@pytest.fixture
def name_server() -> Iterator[NameServer]:
    """Yield a name server on loopback."""
    with NameServer() as running:
        yield running


def check(directory: Path, *flags: str) -> Outcome:
    """Run ``check-config`` with a ledger in the directory, unless the flags have another."""
    return invoke("check-config", *FREE, "--storage.url", f"sqlite:///{directory}/ledger.db", *flags)


def notes_of(outcome: Outcome) -> list[str]:
    """Return the notes of a valid configuration, except for the one that it prints for root."""
    lines = outcome.out.splitlines()
    assert (outcome.code, outcome.err, outcome.error, lines[-1]) == (0, "", None, "configuration is valid")
    notes = [line.removeprefix("note: ") for line in lines[len(SETTINGS) : -1]]
    return [note for note in notes if "ran as root" not in note]


def changed(directory: Path) -> dict[str, tuple[int, int, int, bytes]]:
    """Return type, owner, modification time and content of all that is in the directory, and of itself."""
    found = {}
    for path in (directory, *directory.rglob("*")):
        status = path.lstat()
        content = path.read_bytes() if stat.S_ISREG(status.st_mode) else b""
        found[str(path)] = (status.st_mode, status.st_uid, status.st_mtime_ns, content)
    return found


def test_a_good_configuration_has_no_notes(tmp_path: Path, name_server: NameServer) -> None:
    """Files, web configuration, DNS, ledger and addresses are checked, and nothing is written anywhere."""
    ENGINES["sqlite"](tmp_path, NOW).close()
    (tmp_path / "files").mkdir()
    (tmp_path / "files" / "smtpeter-1.txt").write_text("1")
    write_pair(tmp_path)
    (tmp_path / "web.yml").write_text(tls())
    before = changed(tmp_path)
    outcome = check(
        tmp_path,
        *(*ACCOUNT, "--signature.nameserver", name_server.address, "--webhook.public-url", "https://x.example/y"),
        *("--web.config.file", f"{tmp_path}/web.yml", "--webhook.verification-dir", f"{tmp_path}/files"),
    )
    assert notes_of(outcome) == []
    assert changed(tmp_path) == before
    assert name_server.asked == {"copernica.com": 1}  # NXDOMAIN is an answer, too


def test_what_will_happen_is_a_note(tmp_path: Path) -> None:
    """A new ledger, a missing verification file and insecure settings are no errors."""
    (tmp_path / "files").mkdir()
    before = changed(tmp_path)
    outcome = check(
        *(tmp_path, *OFF, "--webhook.verification-dir", f"{tmp_path}/files", "--web.listen-address", "0.0.0.0:0"),
    )
    assert notes_of(outcome) == [
        "signature verification is off: anyone who can reach the public listener can submit fake failures",
        "private listener is open to other machines without a password; see web.config.file",
        f"webhook.verification-dir: there is no smtpeter-….txt in {tmp_path}/files yet",
        f"ledger {tmp_path}/ledger.db: the file does not exist yet; serve will create it",
    ]
    assert changed(tmp_path) == before


def test_nothing_is_written_even_elsewhere(tmp_path: Path) -> None:
    """It works where the whole file system is read-only, except for the ledger's directory, which stays empty."""
    words = confined(tmp_path)
    if not words:
        pytest.skip("needs unshare and setpriv, and the right to use them")
    flags = ("check-config", *OFF, *FREE, "--storage.url", f"sqlite:///{tmp_path}/ledger.db")
    before = changed(tmp_path)
    done = subprocess.run(
        [*words, sys.executable, "-m", "exporter", *flags],
        capture_output=True,
        text=True,
        timeout=TIMEOUT,
        check=False,
        env=environment(measured=False) | {"PYTHONDONTWRITEBYTECODE": "1"},
    )
    assert (done.returncode, done.stderr, done.stdout.splitlines()[-1]) == (0, "", "configuration is valid")
    assert changed(tmp_path) == before


def mistake(tmp_path: Path, *flags: str, kind: type[ExporterError], signed: bool = False) -> list[str]:
    """Return the lines of the error that ``check-config`` ends with, which is of this kind."""
    outcome = check(tmp_path, *(ACCOUNT if signed else OFF), *flags)
    assert (type(outcome.error), outcome.code, outcome.err) == (kind, kind.exit_code, "")
    assert "configuration is valid" not in outcome.out
    return str(outcome.error).splitlines()


def test_a_verification_file_that_cannot_be_served_is_an_error(tmp_path: Path) -> None:
    """SMTPeter would get 404 for it."""
    (tmp_path / "smtpeter-1.txt").write_text("1")
    (tmp_path / "smtpeter-2.txt").mkdir()
    (line,) = mistake(tmp_path, "--webhook.verification-dir", str(tmp_path), kind=SettingError)
    assert line == (
        f"webhook.verification-dir: '{tmp_path}' (from --webhook.verification-dir): "
        "smtpeter-2.txt is not a regular file of at most 4096 bytes"
    )


def test_a_web_configuration_that_cannot_be_used_is_an_error(tmp_path: Path) -> None:
    """All its keys and the TLS files that it names are checked; hash and certificate are both reported."""
    file = tmp_path / "web.yml"
    file.write_text(tls() + users(alice="sesame"))
    lines = mistake(tmp_path, "--web.config.file", str(file), kind=SettingError)
    assert [line.split(": ")[:3] for line in lines] == [
        ["web.config.file", f"'{file}'", "basic_auth_users.alice"],
        ["web.config.file", f"'{file}'", "tls_server_config.cert_file"],
    ]


@pytest.mark.parametrize("how", ["silent", "failing"])
def test_a_name_server_that_does_not_answer_is_an_error(tmp_path: Path, name_server: NameServer, how: str) -> None:
    """No key could be looked up. It is no error of a setting, so the exit code is 1."""
    setattr(name_server, how, True)
    flags = ("--signature.nameserver", name_server.address)
    (line,) = mistake(tmp_path, *flags, kind=ExporterError, signed=True)
    assert line.startswith("signature.key-domain: 'copernica.com' (from default): DNS lookup failed: ")


def test_without_signatures_dns_is_not_needed(tmp_path: Path, name_server: NameServer) -> None:
    """No key is looked up."""
    assert check(tmp_path, *OFF, "--signature.nameserver", name_server.address).code == 0
    assert not name_server.asked


@pytest.mark.parametrize("name", ["webhook.listen-address", "web.listen-address"])
def test_an_address_that_another_program_uses_is_an_error(tmp_path: Path, name: str) -> None:
    """The program may even speak HTTP, and answer 200."""
    with scripted_server(iter([200])) as other:
        (line,) = mistake(tmp_path, f"--{name}", f"127.0.0.1:{other.port}", kind=ListenError)
    assert line.startswith(f"{name}: cannot listen on 127.0.0.1:{other.port}: Address already in use; ")
    assert [method for method, _ in other.requests] == ["GET"]


def run(command: str, *flags: str) -> tuple[int, str, str]:
    """Run a command in a process, and return exit code, standard output and standard error."""
    done = subprocess.run(
        [sys.executable, "-m", "exporter", command, *OFF, *FREE, *flags],
        capture_output=True,
        text=True,
        timeout=TIMEOUT,
        check=False,
        env=environment(),
    )
    return done.returncode, done.stdout, done.stderr


MISTAKES: Final = {
    "unknown key": (2, ("--config.file", "FOLDER/unknown.toml"), "config.file: 'FOLDER/unknown.toml': colour: "),
    "bad value": (2, ("--log.level", "loud"), "log.level: 'loud' "),
    "contradiction": (2, ACCOUNT, "signature.mode: 'off' "),
    "no directory": (2, ("--webhook.verification-dir", "FOLDER/no"), "webhook.verification-dir: 'FOLDER/no' "),
    "no web configuration": (2, ("--web.config.file", "FOLDER/no"), "web.config.file: 'FOLDER/no': "),
    "no TLS file": (2, ("--web.config.file", "FOLDER/web.yml"), "web.config.file: 'FOLDER/web.yml': tls_server_"),
    "no ledger's directory": (3, ("--storage.url", "sqlite:///FOLDER/no/x.db"), "ledger FOLDER/no/x.db: the direct"),
    "foreign ledger": (3, ("--storage.url", "sqlite:///FOLDER/web.yml"), "ledger FOLDER/web.yml: it is damaged or"),
    "no database": (3, ("--storage.url", "postgresql://127.0.0.1:1/x"), "ledger postgresql://127.0.0.1:1/x: "),
    "no address": (4, ("--webhook.listen-address", "192.0.2.1:1"), "webhook.listen-address: cannot listen on 192.0.2"),
    "address in use": (4, ("--web.listen-address", "127.0.0.1:PORT"), "web.listen-address: cannot listen on 127.0.0."),
}
"""Exit code, flags, and how the error begins."""


@pytest.mark.parametrize(("code", "flags", "beginning"), MISTAKES.values(), ids=MISTAKES)
def test_the_error_is_that_of_serve(tmp_path: Path, code: int, flags: tuple[str, ...], beginning: str) -> None:
    """With one mistake, both commands end with the same line and exit code."""
    tmp_path = tmp_path.resolve()
    (tmp_path / "unknown.toml").write_text('colour = "red"')
    (tmp_path / "web.yml").write_text(tls())
    with scripted_server(itertools.repeat(404)) as other:
        given = [flag.replace("FOLDER", str(tmp_path)).replace("PORT", str(other.port)) for flag in flags]
        ledger = ("--storage.url", f"sqlite:///{tmp_path}/ledger.db")
        checked, served = (run(command, *ledger, *given) for command in ("check-config", "serve"))
    assert (checked[0], checked[2]) == (served[0], served[2].splitlines(keepends=True)[-1])
    assert checked[0] == code
    assert checked[2].startswith(f"smtpeter-exporter: {beginning.replace('FOLDER', str(tmp_path))}")
    assert checked[2].count("\n") == 1


def test_all_errors_are_lines_on_standard_error(tmp_path: Path) -> None:
    """Six mistakes are six lines; the exit code is that of the first."""
    (tmp_path / "config.toml").write_text('colour = "red"\n[log]\nlevel = "loud"\n')
    code, out, err = run(
        "check-config",
        *("--config.file", f"{tmp_path}/config.toml", "--tags.count", "other"),
        *("--web.config.file", f"{tmp_path}/web.yml", "--web.listen-address", "192.0.2.1:1"),
        *("--storage.url", f"sqlite:///{tmp_path}/none/ledger.db"),
    )
    assert (code, "configuration is valid" in out) == (2, False)
    assert [line.split(": ")[:2] for line in err.splitlines()] == [
        ["smtpeter-exporter", "config.file"],
        ["smtpeter-exporter", "tags.count"],
        ["smtpeter-exporter", "log.level"],
        ["smtpeter-exporter", "web.config.file"],
        ["smtpeter-exporter", f"ledger {tmp_path.resolve()}/none/ledger.db"],
        ["smtpeter-exporter", "web.listen-address"],
    ]


@pytest.mark.parametrize("engine", ALL_ENGINES)
def test_what_a_running_exporter_holds_is_a_note(tmp_path: Path, engine: str) -> None:
    """Next to one with the same settings, the check succeeds. The exporter counts on, and its ledger is the same."""
    ENGINES[engine](tmp_path, NOW).close()
    url = ("--storage.url", url_of(engine, tmp_path))
    with exporter(tmp_path, *url) as running:
        assert running.post(failure(1)).status == 200
        before, files = running.samples(), changed(tmp_path)
        flags = ("--webhook.listen-address", running.public, "--web.listen-address", running.private)
        code, out, err = run("check-config", *url, *flags)
        assert (code, err, out.splitlines()[-1]) == (0, "", "configuration is valid")
        notes = [line for line in out.splitlines() if line.startswith("note: ")]
        assert {
            f"note: webhook.listen-address: a running exporter is using {running.public}",
            f"note: web.listen-address: a running exporter is using {running.private}",
        } <= set(notes)
        assert any("an exporter is using it, or was killed" in note for note in notes) == (engine == "sqlite")
        assert changed(tmp_path).keys() == files.keys()
        assert changes(before, running.samples()) == {'smtpeter_exporter_refused_total{reason="not_found"}': 1.0}
        assert [running.post(failure(number)).status for number in (1, 2)] == [200, 200]
        assert running.failures() == {"rcptto/5xx/5.1.1": 2.0}
        assert running.get("/-/ready").status == 200


@pytest.mark.parametrize("clients", ["NoClientCert", "RequireAndVerifyClientCert"])
def test_an_exporter_with_tls_is_recognized(tmp_path: Path, clients: str) -> None:
    """One that requires a client certificate cannot be asked, and that is what the note says."""
    write_pair(tmp_path)
    authority().cert_pem.write_to_path(tmp_path / "ca.pem")
    more = {} if clients == "NoClientCert" else {"client_auth_type": clients, "client_ca_file": "ca.pem"}
    (tmp_path / "web.yml").write_text(tls(**more))
    flags = ("--web.config.file", f"{tmp_path}/web.yml")
    with exporter(tmp_path, *flags) as running:
        outcome = check(
            *(tmp_path, *OFF, *flags),
            *("--webhook.listen-address", running.public, "--web.listen-address", running.private),
        )
    private = {
        "NoClientCert": f"a running exporter is using {running.private}",
        "RequireAndVerifyClientCert": f"{running.private} is in use; "
        "this check has no client certificate to ask whether it is a running exporter",
    }[clients]
    assert notes_of(outcome)[-2:] == [
        f"webhook.listen-address: a running exporter is using {running.public}",
        f"web.listen-address: {private}",
    ]


def test_an_exporter_on_another_interface_is_recognized(tmp_path: Path) -> None:
    """The new settings listen on all interfaces, the running exporter on one."""
    with exporter(tmp_path) as running:
        port = running.private.rpartition(":")[2]
        assert f"web.listen-address: a running exporter is using 0.0.0.0:{port}" in notes_of(
            check(tmp_path, *OFF, "--web.listen-address", f":{port}")
        )


def test_an_exporter_can_start_during_the_check(tmp_path: Path) -> None:
    """The check holds neither the ledger nor an address while it waits for DNS."""
    with NameServer() as name_server:
        name_server.silent = True
        address = f"127.0.0.1:{free_port()}"
        flags = (
            *("--web.listen-address", address, "--storage.url", f"sqlite:///{tmp_path}/ledger.db"),
            *("--signature.nameserver", name_server.address),
        )
        process = subprocess.Popen(
            [sys.executable, "-m", "exporter", "check-config", *flags, *ACCOUNT],
            stderr=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            env=environment(),
        )
        until(lambda: name_server.asked)
        with exporter(tmp_path, "--web.listen-address", address) as running:
            assert running.post(failure(1)).status == 200
            assert process.wait(TIMEOUT) == 1
