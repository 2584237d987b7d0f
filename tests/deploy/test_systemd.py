"""The unit for systemd passes systemd-analyze, and runs the exporter as a service of a real systemd."""

import json
import re
import signal
import socket
import ssl
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from http.client import HTTPSConnection
from pathlib import Path
from typing import Final
from urllib.parse import urlencode

import bcrypt
import pytest
import trustme

from tests.support.documentation import blocks
from tests.support.postgres import PASSWORD, postgres
from tests.support.running import FORM, TIMEOUT, Client, command, environment, failure, server, until
from tests.support.signing import KEY_ID, NameServer, headers_for, key, record
from tests.support.systemd import HOME, NAME, UNIT, Systemd, service

UNSIGNED: Final = 'signature.mode = "off"\nmetrics.birth-hold = "0s"\n'
LEDGER: Final = 'storage.url = "sqlite:////var/lib/smtpeter-exporter/ledger.db"\n'
"""The ledger in the configuration of the page."""
FAST_RESTART: Final = "[Service]\nRestartSec=100ms\n"
"""A drop-in that makes systemd restart the service at once."""
PAGE: Final = "docs/how-to/systemd.md"


@pytest.fixture(scope="module")
def systemd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Systemd]:
    """Run a real systemd."""
    running = Systemd(tmp_path_factory.mktemp("systemd"))
    yield running
    running.end()


def analyze(*words: str | Path) -> subprocess.CompletedProcess[str]:
    """Run systemd-analyze, either installed or only unpacked with its libraries and units."""
    program = Path(server("systemd-analyze"))
    root = program.parents[2]
    patterns = {
        "LD_LIBRARY_PATH": ("usr/lib/*/systemd", "usr/lib/*-linux-gnu", "lib/*-linux-gnu"),
        "SYSTEMD_UNIT_PATH": ("usr/lib/systemd/system", "lib/systemd/system"),
    }
    places = {
        variable: ":".join(str(place) for pattern in each for place in root.glob(pattern))
        for variable, each in patterns.items()
    }
    unpacked = {} if root == Path("/") else places
    return subprocess.run([program, *words], check=False, capture_output=True, text=True, env=environment() | unpacked)


def test_the_unit_is_valid(tmp_path: Path) -> None:
    """Systemd accepts each key and value of the unit."""
    unit = tmp_path / UNIT.name
    unit.write_text(re.sub("^ExecStart=[^ ]+", f"ExecStart={sys.executable}", UNIT.read_text(), flags=re.MULTILINE))
    done = analyze("verify", "--man=no", unit)
    assert (done.returncode, [line for line in done.stderr.splitlines() if NAME in line]) == (0, [])


def test_the_unit_is_hardened() -> None:
    """The unit's exposure is less than 2 on systemd's scale from 0 to 10."""
    done = analyze("security", "--offline=yes", "--json=short", "--threshold=20", UNIT)
    exposures = {row["name"]: row["exposure"] for row in json.loads(done.stdout) if row["exposure"]}
    assert done.returncode == 0, exposures


def test_systemd_is_notified(tmp_path: Path) -> None:
    """The exporter sends READY and STOPPING to NOTIFY_SOCKET, which may be a path or an abstract name."""
    for name in (str(tmp_path / "notify"), f"\0{tmp_path}"):
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
            manager.bind(name)
            manager.settimeout(TIMEOUT)
            variable = {"NOTIFY_SOCKET": name.replace("\0", "@")}
            with subprocess.Popen(
                command(tmp_path), env=environment() | variable, stderr=subprocess.PIPE, start_new_session=True
            ) as process:
                received = [manager.recv(100)]
                process.terminate()
                received.append(manager.recv(100))
                assert process.communicate()[1].splitlines()[-1].endswith(b"msg=stopped")
            assert (received, process.returncode) == ([b"READY=1", b"STOPPING=1"], 0)


def test_a_broken_notify_socket_does_not_block(tmp_path: Path) -> None:
    """If NOTIFY_SOCKET is full or missing, the exporter still starts, and still stops on SIGTERM."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "full"))
        manager.settimeout(0)
        with suppress(BlockingIOError):
            while True:
                manager.sendto(b"something", str(tmp_path / "full"))
        for name in ("full", "none"):
            variable = {"NOTIFY_SOCKET": str(tmp_path / name)}
            with subprocess.Popen(
                command(tmp_path), env=environment() | variable, stderr=subprocess.PIPE, start_new_session=True
            ) as process:
                assert process.stderr
                assert any(b"msg=ready" in line for line in process.stderr)
                process.terminate()
                try:
                    assert process.wait(TIMEOUT) == 0
                finally:
                    process.kill()


def test_it_counts_as_a_service(systemd: Systemd) -> None:
    """The service starts and counts, keeps its counts after a restart, and stops with exit code 0."""
    with service(systemd, UNSIGNED) as running:
        running.start()
        assert [running.post(failure(1)).status, running.post(failure(1)).status] == [200, 200]
        assert running.failures() == {"rcptto/5xx/5.1.1": 1}
        running.start()
        assert running.failures() == {"rcptto/5xx/5.1.1": 1}
        assert [running.post(failure(1)).status, running.post(failure(2)).status] == [200, 200]
        assert running.failures() == {"rcptto/5xx/5.1.1": 2}
        assert running.systemctl("reload", NAME) == 0
        until(lambda: "nothing to reload" in running.journal())
        assert running.systemctl("stop", NAME) == 0
        assert running.journal().splitlines()[-2] == f"{NAME}.service: Deactivated successfully."
        assert sorted(file.name for file in running.state.iterdir()) == [f"{NAME}.db", f"{NAME}.db.lock"]


def test_forbidden_system_calls_are_fatal_in_tests(systemd: Systemd) -> None:
    """A system call that the unit does not allow kills the process. The other tests rely on that."""
    forbidden = "[Service]\nExecStart=\nExecStart=/bin/chown 0 /tmp\nRestart=no\n"
    with service(systemd, UNSIGNED, forbidden) as running:
        assert running.systemctl("start", NAME) == 1
        assert running.show("ExecMainCode", "ExecMainStatus") == {
            "ExecMainCode": "2",  # killed
            "ExecMainStatus": str(signal.SIGSYS.value),
        }


def test_it_runs_without_privileges(systemd: Systemd) -> None:
    """It runs as its own user without capabilities, and in its namespace even root can write only to its state."""
    with service(systemd, UNSIGNED) as running:
        running.start()
        pid = running.show("MainPID")["MainPID"]
        status = dict(line.split(":\t", 1) for line in (systemd.root / f"proc/{pid}/status").read_text().splitlines())
        assert 61_184 <= int(status["Uid"].split("\t")[0]) <= 65_519  # the range of DynamicUser
        capabilities = {name: text for name, text in status.items() if name.startswith("Cap")}
        assert capabilities == dict.fromkeys(("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"), "0" * 16)
        assert (status["NoNewPrivs"], status["Seccomp"]) == ("1", "2")
        places = ("/", "/etc", f"/etc/{NAME}", HOME, "/usr", "/var/lib", "/var/log", "/home", "/root", "/sys")
        own = (f"/var/lib/{NAME}", "/tmp", "/var/tmp")  # noqa: S108 -- private ones
        script = 'for place; do true 2>/dev/null >"$place/x" && echo "$place"; done; true'
        done = systemd.run("nsenter", f"--target={pid}", "--mount", "sh", "-c", script, "sh", *places, *own)
        assert done.stdout.split() == list(own)


def test_tests_cannot_change_this_machine(systemd: Systemd) -> None:
    """Root can't write to the directories of this machine that are mounted for the service."""
    script = 'for place; do [ ! -w "$place" ] || echo "$place"; done'
    places = [f"{HOME}/{name}" for name in ("source", "python", "package", "site-packages")]
    assert systemd.run("sh", "-c", script, "sh", *places, HOME).stdout.split() == [HOME]


def test_it_is_restarted_after_a_crash(systemd: Systemd) -> None:
    """After kill -9, systemd restarts the service, which still has its counts."""
    with service(systemd, UNSIGNED, FAST_RESTART) as running:
        running.start()
        assert running.post(failure(1)).status == 200
        assert running.systemctl("kill", "--signal=KILL", NAME) == 0
        until(lambda: running.show("NRestarts", "SubState") == {"NRestarts": "1", "SubState": "running"})
        assert running.failures() == {"rcptto/5xx/5.1.1": 1}


def test_an_invalid_setting_is_not_retried(systemd: Systemd) -> None:
    """With an invalid setting, the service fails once without a restart, and the log names the setting."""
    with service(systemd, f'{UNSIGNED}log.level = "loud"\n', FAST_RESTART) as running:
        assert running.systemctl("start", NAME) == 1
        assert running.show("ActiveState", "ExecMainStatus", "NRestarts") == {
            "ActiveState": "failed",
            "ExecMainStatus": "2",
            "NRestarts": "0",
        }
        assert f"{NAME}: log.level: 'loud' (from /etc/{NAME}/config.toml)" in running.journal()


def test_an_unusable_ledger_is_retried_a_few_times(systemd: Systemd) -> None:
    """With a damaged ledger, systemd retries the start up to its limit; with the ledger restored, it starts."""
    few = FAST_RESTART + "[Unit]\nStartLimitBurst=3\n"
    with service(systemd, UNSIGNED, few) as running:
        running.start()
        assert running.systemctl("stop", NAME) == 0
        ledger = running.state / f"{NAME}.db"
        ledger.rename(ledger.with_suffix(".whole"))
        ledger.write_text("# settings\n" * 100)
        assert running.systemctl("start", NAME) == 1
        until(lambda: running.show("ActiveState")["ActiveState"] == "failed")
        assert running.show("ExecMainStatus", "NRestarts") == {"ExecMainStatus": "3", "NRestarts": "3"}
        assert running.journal().count("file is not a database") == 3
        ledger.with_suffix(".whole").rename(ledger)
        assert running.systemctl("reset-failed", NAME) == 0
        assert running.systemctl("start", NAME) == 0


# The commands of the page


def texts(page: str, language: str, heading: str | None = None) -> list[str]:
    """Return the code blocks of a page in a language, all or those below a heading."""
    return [block.text for block in blocks(page, language, below=heading)]


def drop_in(naming: str) -> str:
    """Return the drop-in on the page that contains a word."""
    [text] = [text for text in texts(PAGE, "ini", "Secrets") if naming in text and "[Service]" in text]
    return text


def test_the_commands_of_the_page_work(systemd: Systemd) -> None:
    """After the page's commands, the service counts signed failures; after those to uninstall, no file is left."""
    install, start = texts(PAGE, "sh", "Install")
    [remove] = texts(PAGE, "sh", "Uninstall")
    without_pip = "".join(line for line in install.splitlines(keepends=True) if not re.search("venv|pip", line))
    assert without_pip.count("\n") == 4
    with service(systemd, "", "") as running, NameServer() as name_server:
        name_server.records = {KEY_ID: [record(key())]}
        systemd.run("rm", "-r", f"/etc/{NAME}", f"/etc/systemd/system/{NAME}.service")
        systemd.run("sh", "-euc", f"cd {HOME}/source\n{without_pip}")
        systemd.run(
            "sh",
            "-euc",
            'printf "[Service]\\nEnvironment=%s %s\\n" "$1" "$2" >"$0/tests.conf"',
            f"/etc/systemd/system/{NAME}.service.d",
            "SMTPETER_EXPORTER_METRICS_BIRTH_HOLD=0s",
            f"SMTPETER_EXPORTER_SIGNATURE_NAMESERVER={name_server.address}",
        )
        said = systemd.run("sh", "-euc", start.replace("127.0.0.1:10126", running.private)).stdout
        assert said.endswith("ready\n")
        [check] = texts(PAGE, "sh", "If the service does not start, or ends unexpectedly")
        variables = {
            "SIGNATURE_NAMESERVER": name_server.address,
            "WEBHOOK_LISTEN_ADDRESS": running.public,
            "WEB_LISTEN_ADDRESS": running.private,
        }
        exports = "".join(f"export SMTPETER_EXPORTER_{name}={text}\n" for name, text in variables.items())
        said = systemd.run("sh", "-euc", exports + check).stdout
        assert "signature.account = 'environment-1234'  # /etc/smtpeter-exporter/config.toml" in said
        assert said.endswith("configuration is valid\n")
        body = urlencode(failure(1)).encode()
        with Client(running.public) as client:
            headers = headers_for("mail.example.com", "/smtpeter/failures", body, FORM)
            assert client.request("POST", "/smtpeter/failures", body, headers).status == 200
        assert running.samples()['smtpeter_failures_by_reason_total{reason="recipient_unknown"}'] == 1
        [logs] = texts(PAGE, "sh", "Logs")
        assert "msg=ready" in systemd.run("sh", "-euc", logs.replace("--follow", "--no-pager")).stdout
        assert remove.count(f" {HOME} ") == 1
        systemd.run("sh", "-euc", remove.replace(f" {HOME} ", " "))  # the mounts in it can't be removed
        assert list((systemd.root / "var/lib").glob(f"**/*{NAME}*")) == []
        systemd.run("cp", f"{HOME}/source/deploy/systemd/{NAME}.service", "/etc/systemd/system/")


def test_the_private_listener_gets_its_credentials(systemd: Systemd) -> None:
    """With the page's drop-in, /metrics requires TLS and the password in web.yml, which only root can read."""
    authority = trustme.CA()
    certificate = authority.issue_cert("127.0.0.1")
    users = {"prometheus": bcrypt.hashpw(b"secret", bcrypt.gensalt(4)).decode()}
    web = {"tls_server_config": {"cert_file": "tls.crt", "key_file": "tls.key"}, "basic_auth_users": users}
    files = {
        "web.yml": json.dumps(web),
        "tls.crt": certificate.cert_chain_pems[0].bytes().decode(),
        "tls.key": certificate.private_key_pem.bytes().decode(),
    }
    context = ssl.create_default_context()
    authority.configure_trust(context)
    with service(systemd, UNSIGNED, drop_in("web.yml"), files=files) as running:
        running.start()
        statuses = []
        for headers in ({}, {"Authorization": "Basic cHJvbWV0aGV1czpzZWNyZXQ="}):
            connection = HTTPSConnection(running.private, context=context, timeout=TIMEOUT)
            connection.request("GET", "/metrics", headers=headers)
            statuses.append(connection.getresponse().status)
            connection.close()
        assert statuses == [401, 200]


def test_postgresql_gets_its_credentials(systemd: Systemd) -> None:
    """With the page's drop-in, the exporter uses a PostgreSQL with a password that only root can read."""
    [template] = [text for text in texts(PAGE, "ini", "Secrets") if text.startswith("[smtpeter]")]
    [setting] = texts(PAGE, "toml", "Secrets")
    with postgres() as database:
        place = template.replace("db.example.com", f"127.0.0.1\nport={database.port}").replace("…", PASSWORD)
        place = place.replace("dbname=smtpeter", "dbname=postgres").replace("user=smtpeter", "user=exporter")
        with service(
            systemd, UNSIGNED + setting, drop_in("PGSERVICEFILE"), files={"pg_service.conf": place}
        ) as running:
            running.start()
            assert running.post(failure(1)).status == 200
            running.start()
            assert running.failures() == {"rcptto/5xx/5.1.1": 1}
            assert list(running.state.iterdir()) == []
            assert PASSWORD not in running.journal()


def test_the_commands_for_backup_and_upgrade_work(systemd: Systemd) -> None:
    """After the pages' commands for backup, upgrade and restore, the service counts in the restored ledger."""
    server("sqlite3")
    backup, restore = (
        texts("docs/how-to/backup.md", "sh", heading)[0]
        for heading in ("Back up a SQLite ledger", "Restore a SQLite ledger")
    )
    upgrade = "".join(texts("docs/how-to/upgrade.md", "sh"))
    without_pip = "".join(line for line in upgrade.splitlines(keepends=True) if "/pip " not in line)
    with service(systemd, UNSIGNED + LEDGER) as running:
        running.start()
        assert running.post(failure(1)).status == 200
        systemd.run("sh", "-euc", backup)
        said = systemd.run("sh", "-euc", f"cd {HOME}/source\n{without_pip}".replace("127.0.0.1:10126", running.private))
        assert said.stdout.splitlines()[-1].startswith("smtpeter_exporter_build_info{")
        assert [running.post(failure(number)).status for number in (1, 2)] == [200, 200]
        assert running.failures() == {"rcptto/5xx/5.1.1": 2}
        systemd.run("sh", "-euc", restore)
        assert [running.post(failure(number)).status for number in (1, 3)] == [200, 200]
        assert running.failures() == {"rcptto/5xx/5.1.1": 1}
        assert running.samples()["smtpeter_exporter_ledger_writable"] == 1
        systemd.run("rm", "/var/backups/smtpeter-exporter.db")
