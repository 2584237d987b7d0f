"""The unit for systemd: what systemd-analyze says of it, and the exporter under it, in a real systemd."""

import json
import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from tests.running import PATIENCE, command, environment, failure, server
from tests.systemd import HOME, NAME, UNIT, Systemd, service

UNSIGNED: Final = 'signature.mode = "off"\nmetrics.birth-hold = "0s"\n'
STRICT: Final = "[Service]\nSystemCallErrorNumber=kill\n"
"""What ends the exporter at the first system call that the unit does not allow, so that none goes unnoticed."""


@pytest.fixture(scope="module")
def systemd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Systemd]:
    """A real systemd."""
    running = Systemd(tmp_path_factory.mktemp("systemd"))
    yield running
    running.end()


def analyze(*words: str | Path) -> subprocess.CompletedProcess[str]:
    """Run systemd-analyze, the system's or one that is only unpacked."""
    program = Path(server("systemd-analyze"))
    libraries = [str(place) for place in program.parents[2].glob("usr/lib/*/systemd")]
    libraries += [str(place) for place in program.parents[2].glob("*lib/*-linux-gnu")]
    libraries += [str(place) for place in program.parents[2].glob("usr/lib/*-linux-gnu")]
    return subprocess.run([program, *words], check=False, capture_output=True, text=True)


def test_systemd_understands_the_unit(tmp_path: Path) -> None:
    """Systemd knows every key and value of it."""
    unit = tmp_path / UNIT.name
    unit.write_text(re.sub("^ExecStart=[^ ]+", f"ExecStart={sys.executable}", UNIT.read_text(), flags=re.MULTILINE))
    done = analyze("verify", "--man=no", unit)
    assert (done.returncode, [line for line in done.stderr.splitlines() if NAME in line]) == (0, [])


def test_the_unit_is_shut_in() -> None:
    """Of systemd's scale of exposure, from 0 to 10, it takes less than 2."""
    done = analyze("security", "--offline=yes", "--json=short", "--threshold=20", UNIT)
    exposures = {row["name"]: row["exposure"] for row in json.loads(done.stdout) if row["exposure"]}
    assert done.returncode == 0, exposures


def test_systemd_is_told(tmp_path: Path) -> None:
    """Who waits on NOTIFY_SOCKET, a path or a name of Linux's own, is told when the exporter serves and stops."""
    for name in (str(tmp_path / "notify"), f"\0{tmp_path}"):
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
            manager.bind(name)
            manager.settimeout(PATIENCE)
            variable = {"NOTIFY_SOCKET": name.replace("\0", "@")}
            with subprocess.Popen(
                command(tmp_path), env=environment() | variable, stderr=subprocess.PIPE, start_new_session=True
            ) as process:
                told = [manager.recv(100)]
                process.terminate()
                told.append(manager.recv(100))
                assert process.communicate()[1].splitlines()[-1].endswith(b"msg=stopped")
            assert (told, process.returncode) == ([b"READY=1", b"STOPPING=1"], 0)


@pytest.mark.parametrize("public", ["waitress", "granian"])
def test_it_counts_under_the_unit(systemd: Systemd, public: str) -> None:
    """Started, it serves; what is answered 200 is counted before and after a restart; told to stop, it ends with 0."""
    settings = f'{UNSIGNED}webhook.server = "{public}"\n'
    with service(systemd, settings, strict=STRICT) as running:
        running.start()
        assert [running.post(failure(1)).status, running.post(failure(1)).status] == [200, 200]
        assert running.failures() == {"rcptto/5xx/5.1.1": 1}
        running.start()
        assert running.failures() == {"rcptto/5xx/5.1.1": 1}
        assert [running.post(failure(1)).status, running.post(failure(2)).status] == [200, 200]
        assert running.failures() == {"rcptto/5xx/5.1.1": 2}
        assert running.systemctl("stop", NAME) == 0
        assert running.journal().splitlines()[-2] == f"{NAME}.service: Deactivated successfully."
        assert sorted(file.name for file in running.state.iterdir()) == [f"{NAME}.db", f"{NAME}.db.lock"]


def test_what_it_may_do(systemd: Systemd) -> None:
    """It runs as a user of its own without capabilities, and can write nowhere but in its state and to what is private."""
    with service(systemd, UNSIGNED) as running:
        running.start()
        pid = running.show("MainPID")["MainPID"]
        status = dict(line.split(":\t", 1) for line in (systemd.root / f"proc/{pid}/status").read_text().splitlines())
        user = status["Uid"].split("\t")[0]
        assert 61_184 <= int(user) <= 65_519  # of the users that systemd makes for a while
        none = "0" * 16
        capabilities = {name: text for name, text in status.items() if name.startswith("Cap")}
        assert capabilities == dict.fromkeys(("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"), none)
        assert (status["NoNewPrivs"], status["Seccomp"]) == ("1", "2")
        places = ("/", "/etc", HOME, "/usr", "/var/lib", "/var/log", "/home", "/root", "/run", "/dev", "/sys", "/proc")
        script = 'for place; do true 2>/dev/null >"$place/x" && echo "$place"; done; true'
        own = (f"/var/lib/{NAME}", "/tmp", "/var/tmp", "/dev/shm")  # noqa: S108 -- private ones
        as_it = ("nsenter", f"--target={pid}", "--mount", "setpriv", f"--reuid={user}", "--clear-groups", "sh", "-c")
        assert systemd.run(*as_it, script, "sh", *places, *own).stdout.split() == list(own)
