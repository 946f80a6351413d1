"""The bill of materials: every package that the engine's installer brings, with version, licence and hashes.

``python Testing/requirements/bill_of_materials.py`` writes ``bill-of-materials.json`` (CycloneDX 1.6) beside itself,
from the packages of this environment and the hashes of the locks, and prints a table of licences.
"""

import importlib.metadata
import json
import re
import sys
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

FOLDER = Path(__file__).resolve().parent
REQUIREMENTS = FOLDER.parents[1] / "SAM2Adapt" / "Resources" / "requirements.txt"
TARGET = FOLDER / "bill-of-materials.json"
_TORCH = ("torch", "torchvision")  # in Slicer by its PyTorch extension
_ALONE = ("sam2",)  # without what it asks for: requirements.txt has what it needs


def packages() -> dict[str, importlib.metadata.Distribution]:
    """What requirements.txt and PyTorch bring here, with all that they need, by name."""
    lines = (line.strip() for line in REQUIREMENTS.read_text("utf-8").splitlines())
    waiting = [Requirement(line) for line in lines if line and not line.startswith("#")]
    waiting += map(Requirement, (*_TORCH, *_ALONE))
    found: dict[str, importlib.metadata.Distribution] = {}
    seen = set()
    while waiting:
        asked = waiting.pop()
        name, extras = canonicalize_name(asked.name), ("", *sorted(asked.extras))
        if (name, extras) in seen:
            continue
        seen.add((name, extras))
        try:
            found[name] = importlib.metadata.distribution(name)
        except importlib.metadata.PackageNotFoundError:
            continue  # of another system
        if name not in _ALONE:
            for one in map(Requirement, found[name].requires or ()):
                if one.marker is None or any(one.marker.evaluate({"extra": extra}) for extra in extras):
                    waiting.append(one)
    return dict(sorted(found.items()))


def hashes() -> dict[str, list[str]]:
    """SHA-256 of the files of each package in the lock."""
    found: dict[str, list[str]] = {}
    name = ""
    for line in "".join((FOLDER / f"{lock}.txt").read_text("utf-8") for lock in ("build", "environment")).splitlines():
        if start := re.match(r"([A-Za-z0-9._-]+)==", line):
            name = canonicalize_name(start[1])
        found.setdefault(name, []).extend(re.findall(r"sha256:([0-9a-f]{64})", line))
    return found


def licence(package: importlib.metadata.Distribution) -> str:
    """What a package says of its licence, shortly."""
    metadata = package.metadata
    classifiers = [c.rpartition(" :: ")[2] for c in metadata.get_all("Classifier") or () if c.startswith("License ::")]
    stated = metadata.get("License-Expression") or " ".join((metadata.get("License") or "").split())
    return (stated if 0 < len(stated) <= 120 else "") or ", ".join(classifiers) or stated[:120] or "not stated"


def bill() -> dict:
    """The bill of materials, as CycloneDX has it."""
    known = hashes()
    components = []
    for name, package in packages().items():
        # Of another build of the same version, the licence says the same, but none of these hashes fits.
        version = package.version.partition("+")[0]
        components.append({
            "type": "library", "name": name, "version": version, "purl": f"pkg:pypi/{name}@{version}",
            "licenses": [{"license": {"name": licence(package)}}],
            "hashes": [{"alg": "SHA-256", "content": digest} for digest in sorted(set(known.get(name, ())))],
        })  # fmt: skip
    about = {"component": {"type": "application", "name": "sam2adapt", "licenses": [{"license": {"id": "Apache-2.0"}}]}}
    return {"bomFormat": "CycloneDX", "specVersion": "1.6", "version": 1, "metadata": about, "components": components}


def main() -> int:
    """Write the bill and print its licences."""
    content = bill()
    TARGET.write_text(json.dumps(content, indent=1) + "\n", "utf-8")
    print("| package | version | licence | hashes in the lock |\n| --- | --- | --- | --- |")
    for one in content["components"]:
        print(f"| {one['name']} | {one['version']} | {one['licenses'][0]['license']['name']} | {len(one['hashes'])} |")
    return 0


if __name__ == "__main__":
    sys.exit(main())
