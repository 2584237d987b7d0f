"""Run programs as in a container: they can write to one directory only, and have no capabilities."""

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


def confined(directory: Path) -> list[str]:
    """Return the words to put in front of a command that confine it to the directory, or none if that is impossible.

    The user stays the same, because Python may be in that user's home directory. Without capabilities, root has no
    more rights than any other user.
    """
    namespace = ["unshare", "--mount"] if os.geteuid() == 0 else ["unshare", "--user", "--map-root-user", "--mount"]
    words = [*namespace, "sh", "-c", CONFINE, str(directory)]
    if not all(map(shutil.which, ("unshare", "setpriv"))):
        return []
    return [] if subprocess.run([*words, "true"], check=False, capture_output=True).returncode else words
