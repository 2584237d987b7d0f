"""Programs that can write to one folder only, and are capable of nothing, as those in a container are."""

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


def confined(folder: Path) -> list[str]:
    """What to put before a command so that it can write only below the folder; nothing where that can't be done.

    Its user stays, whose home folder Python may lie in; without capabilities root is a user as others are.
    """
    own = ["unshare", "--mount"] if os.geteuid() == 0 else ["unshare", "--user", "--map-root-user", "--mount"]
    words = [*own, "sh", "-c", CONFINE, str(folder)]
    if not all(map(shutil.which, ("unshare", "setpriv"))):
        return []
    return [] if subprocess.run([*words, "true"], check=False, capture_output=True).returncode else words
