"""The health check against a running exporter, with HTTP and HTTPS, and against other servers."""

import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

import pytest
import trustme

from exporter import healthcheck
from exporter.healthcheck import find_problem
from tests.support.running import Exporter, environment, exporter, free_port

ADDRESS: Final = "SMTPETER_EXPORTER_WEB_LISTEN_ADDRESS"
WEB_CONFIG: Final = "SMTPETER_EXPORTER_WEB_CONFIG_FILE"
USERS: Final = "basic_auth_users: {prometheus: $2b$04$6SkeFoXgLBvNdz3kUxvWHOF9yq.HhoRnVYQnIWAqqUFkRcDFzbd9W}\n"
TLS: Final = "tls_server_config: {cert_file: pem, key_file: pem}\n"


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Exporter]:
    """Run an exporter without a web configuration, which no test changes."""
    with exporter(tmp_path_factory.mktemp("healthcheck")) as shared:
        yield shared


def check(settings: Mapping[str, str]) -> tuple[int, str, str]:
    """Run the health check as a container does; returns exit code, standard output and standard error."""
    command = [sys.executable, "-m", "exporter.healthcheck"]
    done = subprocess.run(command, check=False, capture_output=True, text=True, env=environment() | dict(settings))
    return done.returncode, done.stdout, done.stderr


def test_a_running_exporter_is_healthy(running: Exporter) -> None:
    """The exit code is 0, and nothing is printed."""
    assert check({ADDRESS: running.private}) == (0, "", "")


def test_the_configuration_file_names_the_listener(running: Exporter, tmp_path: Path) -> None:
    """The health check reads the same file as the exporter."""
    file = tmp_path / "config.toml"
    file.write_text(f'web.listen-address = "{running.private}"\n')
    assert find_problem({"SMTPETER_EXPORTER_CONFIG_FILE": str(file)}) == ""


def test_an_exporter_on_all_interfaces_is_asked_on_loopback(running: Exporter) -> None:
    """Both ways to write "all interfaces" lead to 127.0.0.1."""
    port = running.private.rpartition(":")[2]
    assert [find_problem({ADDRESS: f"{host}:{port}"}) for host in ("0.0.0.0", "")] == ["", ""]  # noqa: S104 -- as in a container


def test_nothing_on_the_port_is_a_problem() -> None:
    """The exit code is 1, and the line on standard error names the port."""
    port = free_port()
    code, out, err = check({ADDRESS: f"127.0.0.1:{port}"})
    assert (code, out, err.count("\n")) == (1, "", 1)
    assert err.startswith(f"127.0.0.1 port {port}: ")


def test_another_answer_than_200_is_a_problem(running: Exporter) -> None:
    """The public listener, which has no health check, answers 404."""
    port = running.public.rpartition(":")[2]
    assert find_problem({ADDRESS: running.public}) == f"127.0.0.1 port {port}: status 404"


def test_no_answer_in_time_is_a_problem(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A listener that accepts a connection and does not answer is asked once, not again with HTTPS."""
    monkeypatch.setattr(healthcheck, "TIMEOUT", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"127.0.0.1:{silent.getsockname()[1]}"
        assert "timed out" in find_problem({ADDRESS: address, WEB_CONFIG: str(tmp_path / "web.yml")})
        silent.settimeout(0)
        silent.accept()[0].close()
        with pytest.raises(BlockingIOError):
            silent.accept()


def test_an_unknown_host_is_a_problem() -> None:
    """The text names the host."""
    assert find_problem({ADDRESS: "a b:1"}).startswith("a b port 1: ")


def test_https_is_used_if_the_listener_has_it(tmp_path: Path) -> None:
    """Any certificate is accepted, whatever its name, and no password is needed."""
    trustme.CA().issue_cert("other.example.com").private_key_and_cert_chain_pem.write_to_path(str(tmp_path / "pem"))
    web = tmp_path / "web.yml"
    web.write_text(TLS + USERS)
    with exporter(tmp_path, "--web.config.file", str(web)) as running:
        settings = {ADDRESS: running.private, WEB_CONFIG: str(web)}
        assert find_problem(settings) == ""
        assert find_problem({ADDRESS: running.private}) != ""
        # The exporter keeps the previous web configuration while the file is invalid or missing.
        web.write_text("tls_server_config: !!int ''\n")
        assert find_problem(settings) == ""
        web.unlink()
        assert find_problem(settings) == ""


def test_http_is_used_if_the_listener_has_only_passwords(tmp_path: Path) -> None:
    """With a web configuration without TLS, no password is needed for the health check."""
    web = tmp_path / "web.yml"
    web.write_text(USERS)
    with exporter(tmp_path, "--web.config.file", str(web)) as running:
        assert find_problem({ADDRESS: running.private, WEB_CONFIG: str(web)}) == ""
