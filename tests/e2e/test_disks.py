"""The exporter and the file that holds its ledger: a disk that dies, and a file with two names."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

import pytest

from tests.support.confinement import namespace
from tests.support.running import TIMEOUT, command, environment, exporter, failure, until
from tests.support.tree import ROOT

ADVICE: Final = "remount the disk or restart the exporter first, and restore a backup only if the error remains\n"

MOUNTED: Final = """
import fcntl, json, os, struct, subprocess, sys
from pathlib import Path
from tests.support.running import exporter, failure, until

folder, mkfs, *words = sys.argv[1:]
backing, disk = Path(folder) / "backing", Path(folder) / "disk"
image = backing / "image"

def mount(*words):
    if subprocess.run(["mount", *words], capture_output=True).returncode:
        sys.exit(77)

def umount():
    subprocess.run(["umount", disk], check=True)

for place in (backing, disk):
    place.mkdir()
mount("-t", "tmpfs", "-o", "size=12M", "none", backing)
with image.open("wb") as file:
    file.truncate(64 << 20)
subprocess.run([mkfs, "-q", image], check=True)
mount("-o", "loop", image, disk)
"""
"""Part of a program: mount a new ext4 at ``disk``."""

DYING: Final = """
SHUTDOWN = 0x8004587D  # EXT4_IOC_SHUTDOWN, see ext4.h of the kernel
how, recovery = words

def die():
    if how == "shut down":
        descriptor = os.open(disk, os.O_RDONLY)
        try:
            fcntl.ioctl(descriptor, SHUTDOWN, struct.pack("I", 2))  # without writing the journal
        except OSError:
            sys.exit(77)
        os.close(descriptor)
    else:  # the device can't write any more, so the file system becomes read-only
        with (backing / "rest").open("wb", buffering=0) as rest:
            try:
                while rest.write(bytes(65536)):
                    pass
            except OSError:
                pass

said = []

with exporter(disk) as running:
    def ready():
        answer = running.get("/-/ready")
        if answer.text not in said:
            said.append(answer.text)
        return answer.status == 200

    outcomes = [[running.post(failure(number)).status for number in range(30)]]
    running.samples()
    die()
    outcomes.append(running.post(failure(30)).status)
    until(lambda: not ready() and "[Errno" in said[-1])
    outcomes.append(running.post(failure(30)).status)
    outcomes.append(running.samples()["smtpeter_exporter_ledger_writable"])
    outcomes.append(running.failures())
    if recovery == "remount":
        umount()
        (backing / "rest").unlink(missing_ok=True)
        mount("-o", "loop", image, disk)
        until(lambda: running.get("/-/ready").status == 200)
        outcomes.append([running.post(failure(number)).status for number in range(31)])
        outcomes.append(running.failures())
if recovery == "restart":
    umount()
    (backing / "rest").unlink(missing_ok=True)
    mount("-o", "loop", image, disk)
    with exporter(disk) as running:
        outcomes.append([running.post(failure(number)).status for number in range(31)])
        outcomes.append(running.failures())
print(json.dumps([outcomes, said]))
"""

FROZEN: Final = """
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import urlencode
from tests.support.crowd import all_at_once
from tests.support.raw_http import http
from tests.support.running import HASTY

FREEZE, THAW = 0xC0045877, 0xC0045878  # FIFREEZE and FITHAW, see fs.h of the kernel
bodies = [urlencode(failure(number)).encode() for number in range(2, 42)]
requests = [http(body=body, headers=("Connection: close",)) for body in bodies]

def statuses():
    return sorted({answer.status for answer in all_at_once(running.public, requests)})

with exporter(disk, program=HASTY) as running, running.client() as client:
    client.post(failure(0))
    running.samples()
    client.post(failure(1))  # after a commit, reading needs to write to SQLite's shared memory
    descriptor = os.open(disk, os.O_RDONLY)
    # Thaws the disk even if this program is killed: processes that write to a frozen one can't be killed.
    thaw = f"import fcntl, sys; sys.stdin.read(); fcntl.ioctl({descriptor}, {THAW}, 0)"
    guard = subprocess.Popen([sys.executable, "-c", thaw], stdin=subprocess.PIPE, pass_fds=[descriptor])
    with guard, ThreadPoolExecutor(1) as pool:
        try:
            fcntl.ioctl(descriptor, FREEZE, 0)
        except OSError:
            sys.exit(77)
        finally:
            os.close(descriptor)
        scrape = pool.submit(running.samples)
        first = client.post(failure(2))
        outcomes = [[first.status, first.headers["Retry-After"], first.text], statuses()]
        ready = running.get("/-/ready")
        outcomes += [[ready.status, ready.text], running.get("/-/healthy").status]
        outcomes.append(running.samples()["smtpeter_exporter_ledger_writable"])
        scrape.result()
    until(lambda: running.get("/-/ready").status == 200)
    outcomes.append(client.request("GET", "/other").status)  # not a late answer to the first request
    outcomes += [statuses(), running.failures()]
    outcomes.append(sorted(line["level"] for line in running.log() if line["msg"].startswith("ledger ")))
umount()
print(json.dumps(outcomes))
"""


def run_on_a_disk(directory: Path, program: str, *words: str) -> Any:
    """Return what a program prints as JSON. It has a namespace of its own, and MOUNTED in front of it."""
    mkfs = shutil.which("mkfs.ext4", path=f"{os.environ['PATH']}:/usr/sbin:/sbin")
    unshared = namespace()
    if not (unshared and mkfs):
        pytest.skip("needs unshare and mkfs.ext4")
    ended = subprocess.run(
        [*unshared, sys.executable, "-c", MOUNTED + program, directory, mkfs, *words],
        stdout=subprocess.PIPE,
        text=True,
        check=False,
        timeout=2 * TIMEOUT,
        cwd=ROOT,
    )
    if ended.returncode == 77:
        pytest.skip("needs loop devices and an ext4 that can be shut down and frozen")
    return json.loads(ended.stdout)


as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount a disk image")


@as_root
@pytest.mark.parametrize("recovery", ["remount", "restart"])
@pytest.mark.parametrize("how", ["shut down", "not writable"])
def test_a_disk_that_dies(tmp_path: Path, how: str, recovery: str) -> None:
    """While the disk is dead, requests are answered 503, and the error does not advise to restore a backup first.

    The exporter lets go of the disk, so it can be unmounted. When it is mounted again, counting resumes without a
    restart, or after one, and no failure that was answered 200 is lost or counted twice.
    """
    outcomes, said = run_on_a_disk(tmp_path, DYING, how, recovery)
    before, *outcomes = outcomes
    assert before == [200] * 30
    counted = {"rcptto/5xx/5.1.1": 30.0}
    assert outcomes == [503, 503, 0.0, counted, [200] * 31, {"rcptto/5xx/5.1.1": 31.0}]
    assert [text for text in said if not text.startswith("not ready: ledger ") or not text.endswith(ADVICE)] == []


@as_root
def test_a_disk_that_hangs(tmp_path: Path) -> None:
    """While the file system is frozen: 503 after COMMIT_TIMEOUT, not ready, and scrapes are answered.

    What was queued is dropped. The commit that was late answers nobody. Afterwards each failure is counted once.
    """
    assert run_on_a_disk(tmp_path, FROZEN) == [
        [503, "5", "unavailable\n"],
        [503],
        [503, "not ready: the ledger did not finish a commit in 2 seconds\n"],
        200,
        0,
        404,
        [200],
        {"rcptto/5xx/5.1.1": 42},
        ["error", "info", "warning"],
    ]


def test_a_second_exporter_does_not_start_on_a_hard_link(tmp_path: Path) -> None:
    """Another name of the ledger of a running exporter is an error, exit code 3. The first exporter keeps counting.

    When the link is removed, it can be restarted.
    """
    first, second = tmp_path / "first", tmp_path / "second"
    first.mkdir()
    second.mkdir()
    with exporter(first) as running:
        assert running.post(failure(1)).status == 200
        os.link(first / "ledger.db", second / "ledger.db")
        assert refused_start(second) == 3
        assert running.post(failure(2)).status == 200
    assert refused_start(first) == 3
    (second / "ledger.db").unlink()
    with exporter(first) as running:
        until(lambda: running.get("/-/ready").status == 200)
        assert running.failures() == {"rcptto/5xx/5.1.1": 2}


def refused_start(directory: Path) -> int:
    """Return the exit code of an exporter that must not start because of a hard link."""
    ended = subprocess.run(
        command(directory), capture_output=True, text=True, timeout=TIMEOUT, check=False, env=environment()
    )
    assert " the file has another hard link, which this command finds: find " in ended.stderr
    assert (ended.stdout, ended.stderr.count("\n")) == ("", 1)
    return ended.returncode
