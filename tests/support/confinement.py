"""Run programs with mounts of their own, or as in a container: with one writable directory and no capabilities."""

import os
import shutil
import subprocess
from pathlib import Path
from typing import Final

CONFINE: Final = """\
mount --bind "$0" "$0" &&
while read -r _ place _; do mount -o remount,bind,ro "$place" 2>/dev/null; done </proc/self/mounts
mount -o remount,bind,rw "$0" && exec setpriv --no-new-privs --bounding-set=-all --inh-caps=-all "$@"
"""


def namespace() -> list[str]:
    """Return the words that give a command mounts of its own, which end with it, or none if that is impossible."""
    words = ["unshare", "--mount"] if os.geteuid() == 0 else ["unshare", "--user", "--map-root-user", "--mount"]
    if not shutil.which("unshare"):
        return []
    return [] if subprocess.run([*words, "true"], check=False, capture_output=True).returncode else words


def confined(directory: Path) -> list[str]:
    """Return the words to put in front of a command that confine it to the directory, or none if that is impossible.

    The user stays the same, because Python may be in that user's home directory. Without capabilities, root has no
    more rights than any other user.
    """
    words = [*namespace(), "sh", "-c", CONFINE, str(directory)]
    if words[0] == "sh" or not shutil.which("setpriv"):
        return []
    return [] if subprocess.run([*words, "true"], check=False, capture_output=True).returncode else words
