"""How many engines a host runs for other computers: as many as there are files in a folder that its administrator made.

Each engine holds a lock of the operating system on one of the files until it ends, in whatever way. Users need only
read the files, so none can add or take away a place.
"""

import os
from pathlib import Path

from ...shared import paths
from ...shared.errors import RemoteError, UserError

VARIABLE, USUAL = "SAM2ADAPT_ENGINES", Path("/etc/sam2adapt/engines")

_held: list = []  # open files, until the process ends


def take_slot() -> None:
    """Take a place for this process's engine, unless it has one; does nothing where no folder limits their number.

    :raises RemoteError: all places are taken, or the folder cannot be used.
    """
    folder = Path(os.environ.get(VARIABLE) or USUAL)
    if _held or os.name == "nt" or not (os.environ.get(VARIABLE) or paths.is_dir(folder)):
        return
    try:
        places = [path for path in paths.listing(folder) if paths.is_file(path)]
    except UserError as error:
        raise RemoteError(f"The places for engines on that computer cannot be read: {error.message}",
                          "Tell its administrator.") from error  # fmt: skip
    if not any(map(_taken, places)):
        raise RemoteError(
            f"That computer already runs as many engines as it may: {len(places)}."
            if places else "No engine may run on that computer: there is no place for one.",
            "Try again when another user has finished, or ask its administrator for more places.",
        )  # fmt: skip


def _taken(place: Path) -> bool:
    """Take a place; False if another engine has it."""
    import fcntl

    file = place.open("rb")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        file.close()
        return False
    _held.append(file)
    return True
