"""The engine as a package for pip, made of the files of this computer and sent to a host that has none.

So the engine there is that of this extension, wherever the extension came from, and the host needs no other source.
"""

import base64
import hashlib
import io
import os
import subprocess
import zipfile
from pathlib import Path

from sam2adapt.shared import paths, protocol
from sam2adapt.shared.files import bundled_folder
from sam2adapt.shared.known_bases import NANO

from SAM2AdaptLib.Engine.Remote import Ssh
from SAM2AdaptLib.Engine.Requirements import requirements

PYTHON = ">=3.11"
PROGRAM = "sam2adapt.cli.app:main"
_NAME = f"sam2adapt-{protocol.VERSION}"
_SOURCES = Path(__file__).resolve().parents[3]
_LONGEST = 600.0  # seconds to send it


def build():
    """The package as bytes: the engine, and the base weights that come with it; models are sent when they are used."""
    content = {path.relative_to(_SOURCES).as_posix(): path for path in _filesOfEngine()}
    content |= {f"{_NAME}.data/data/share/sam2adapt/models/{path.name}": path for path in _bases()}
    data = {name: paths.read_bytes(path) for name, path in content.items()}
    data |= {f"{_NAME}.dist-info/{name}": text.encode() for name, text in _descriptions().items()}
    record = f"{_NAME}.dist-info/RECORD"
    lines = [*(f"{name},sha256={_digest(one)},{len(one)}" for name, one in data.items()), f"{record},,"]
    data[record] = "\n".join(lines).encode() + b"\n"
    package = io.BytesIO()
    with zipfile.ZipFile(package, "w") as archive:
        for name, one in data.items():
            archive.writestr(zipfile.ZipInfo(name), one, zipfile.ZIP_DEFLATED)  # without times: always the same bytes
    return package.getvalue()


def send(host, environment):
    """Put the package into the user's folder on a host, where ``Ssh.INSTALL_LINE`` expects it.

    :param environment: dict, or None for the one of this process.
    :return: "" if it is there, else why not.
    """
    package = build()
    try:
        done = subprocess.run(
            Ssh.command(host, Ssh.keepWheel(len(package))), input=package, env=environment,
            capture_output=True, timeout=_LONGEST, check=False,
        )  # fmt: skip
    except (OSError, subprocess.SubprocessError) as error:
        return str(error)
    words = done.stderr.decode(errors="replace").strip().splitlines()
    return "" if done.returncode == 0 else (words or [f"exit status {done.returncode}"])[-1]


def _filesOfEngine():
    found = []
    for folder, folders, names in os.walk(_SOURCES / "sam2adapt"):
        folders[:] = sorted(name for name in folders if name != "__pycache__")
        found += [Path(folder, name) for name in sorted(names) if not name.endswith((".pyc", ".pyo"))]
    return found


def _bases():
    return sorted(bundled_folder().glob(f"{NANO}.*"))


def _descriptions():
    about = ["Metadata-Version: 2.1", "Name: sam2adapt", f"Version: {protocol.VERSION}", f"Requires-Python: {PYTHON}"]
    about += [f"Requires-Dist: {line}" for line in requirements()]
    return {
        "METADATA": "\n".join(about) + "\n",
        "WHEEL": "Wheel-Version: 1.0\nGenerator: sam2adapt\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        "entry_points.txt": f"[console_scripts]\nsam2adapt = {PROGRAM}\n",
    }


def _digest(data):
    return base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
