"""A SQLite ledger whose directory is hidden by another file system while it is open. The mounts are real."""

import json
from pathlib import Path
from typing import Final

import pytest

from tests.support.confinement import namespace
from tests.support.sqlite import start

MOUNTED_OVER: Final = """
import json, subprocess

def mount(*words):
    subprocess.run(["mount", *words], check=True)

def fill(directory, number):
    child = os.fork()
    if not child:
        count(SqliteLedger(directory / "ledger.db", now=NOW), failures(range(number)))
        os._exit(0)  # the WAL stays
    assert os.waitpid(child, 0)[1] == 0

def inodes(directory):
    return [os.stat(f"{directory}/ledger.db{suffix}").st_ino for suffix in ("", "-wal", "-shm")]

directory, other = (Path(sys.argv[1]) / name for name in ("directory", "other"))
for place in (directory, other):
    place.mkdir()
    mount("-t", "tmpfs", "none", place)
fill(other, 70)
ledger = SqliteLedger(directory / "ledger.db", now=NOW)
count(ledger, failures(range(50)))
if inodes(directory) != inodes(other):
    sys.exit(77)
mount("--bind", other, directory)
during = count(ledger, failures(range(60, 75)))
if sys.argv[2] == "unmounted":
    subprocess.run(["umount", "--lazy", directory], check=True)
    during += count(ledger, failures(range(45, 55)))
ledger.close()
if sys.argv[2] == "mounted":
    subprocess.run(["umount", directory], check=True)
totals = []
for place in (directory, other):
    ledger = SqliteLedger(place / "ledger.db", now=NOW)
    totals += [total.value for total in ledger.totals()]
    ledger.close()
say(json.dumps([during, totals]))
"""


@pytest.mark.parametrize(
    ("kind", "during", "totals"),
    [
        ("mounted", [False] * 10 + [True] * 5, [50, 75]),
        ("unmounted", [False] * 10 + [True] * 5 + [False] * 5 + [True] * 5, [55, 75]),
    ],
)
def test_a_file_system_that_is_mounted_over_it_is_used(
    tmp_path: Path, kind: str, during: list[bool], totals: list[int]
) -> None:
    """The exporter counts in the ledger that its path leads to, although the files in both have the same inodes.

    Nothing in the WAL of either ledger is lost. Unmounting it leads back to the first ledger.
    """
    if not (words := namespace()):
        pytest.skip("needs the privilege to mount")
    process = start(MOUNTED_OVER, tmp_path, kind, prefix=words)
    output = process.communicate()[0]
    if process.returncode == 77:
        pytest.skip("inodes of this kernel's tmpfs differ, so they are no problem")
    assert json.loads(output) == [during, totals]
