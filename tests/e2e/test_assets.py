"""``assets`` on a full disk, and the generator of rules that it writes."""

import subprocess
import sys
from pathlib import Path
from typing import Final

from exporter.cli.assets import assets
from tests.support.running import environment, server


def written(directory: Path) -> dict[Path, bytes]:
    """Return path and content of each file in the directory."""
    return {file.relative_to(directory): file.read_bytes() for file in directory.rglob("*") if file.is_file()}


def test_on_a_full_disk_no_file_is_half_written(tmp_path: Path) -> None:
    """The error names the file that could not be written; those before it are complete, and a second run resumes."""
    expected = {Path(path): source.read_bytes() for path, source in assets().items()}
    command = [sys.executable, "-m", "exporter", "assets", str(tmp_path)]
    limited = [server("prlimit"), "--fsize=10240", *command]
    unmeasured = environment(measured=False)  # the measurement of coverage writes files, too
    done = subprocess.run(limited, check=False, capture_output=True, text=True, env=unmeasured)
    first = next(tmp_path / path for path, content in expected.items() if len(content) > 10_240)
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert done.stderr.startswith(f"smtpeter-exporter: {first}: ")
    begun = written(tmp_path)
    assert 0 < len(begun) < len(expected)
    assert begun.items() < expected.items()
    subprocess.run(command, check=True, capture_output=True)
    assert written(tmp_path) == expected


GENERATED: Final = ("alerts.yaml", "prometheusrule.yaml", "rules.yaml")


def test_rules_can_be_generated_from_the_assets(tmp_path: Path) -> None:
    """The shipped thresholds give the shipped rules, and changed thresholds change them."""
    subprocess.run([sys.executable, "-m", "exporter", "assets", str(tmp_path)], check=True, capture_output=True)
    generator = tmp_path / "deploy/prometheus/make_rules.py"
    thresholds = tmp_path / "mine.toml"
    shipped = generator.with_name("thresholds.toml").read_text()
    thresholds.write_text(shipped)
    made = tmp_path / "made"
    made.mkdir()
    command = [sys.executable, str(generator), "--thresholds", str(thresholds), "--out", str(made)]
    subprocess.run(command, check=True, cwd=tmp_path)
    assert written(made) == {Path(name): generator.with_name(name).read_bytes() for name in GENERATED}
    thresholds.write_text(shipped.replace('docs = ""', 'docs = "https://git.example.org"'))
    subprocess.run(command, check=True, cwd=tmp_path)
    assert b"https://git.example.org/" in (made / "alerts.yaml").read_bytes()


def test_the_generator_says_which_python_can_run_it(tmp_path: Path) -> None:
    """A Python without the exporter gets one line that names another."""
    subprocess.run([sys.executable, "-m", "exporter", "assets", str(tmp_path)], check=True, capture_output=True)
    command = [sys.executable, "-ES", str(tmp_path / "deploy/prometheus/make_rules.py")]
    done = subprocess.run(command, check=False, cwd=tmp_path, capture_output=True, text=True)
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert "/opt/smtpeter-exporter/bin/python" in done.stderr
