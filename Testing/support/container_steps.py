"""Carries out the steps of the container's recipe without a container: in an environment of a Python of one's own.

    python Testing/support/container_steps.py FOLDER [--python PYTHON]

It makes FOLDER, with a virtual environment in the place of the image, ``source`` in that of /source, and ``data`` in
that of /data. COPY and RUN are done there word for word, but for ``useradd``, ``chown`` and ``rm -rf /source``, which
would change this computer. At the end the entry command runs with nothing but the recipe's ENV, in namespaces of its
own as in a container where this computer allows that, and segments a small volume for a relay.
"""

import argparse
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
RECIPE = REPOSITORY / "Resources" / "cluster" / "Containerfile"
_NOT_HERE = ("useradd", "mkdir /data", "chown", "chmod 700 /data", "rm -rf /source")
NAMESPACES = ("unshare", "--net", "--pid", "--fork", "--mount-proc")


def steps() -> list[tuple[str, str]]:
    """(word, rest) of each step of the recipe."""
    lines = RECIPE.read_text("utf-8").replace("\\\n", " ").splitlines()
    return [tuple(line.split(maxsplit=1)) for line in lines if line and not line.startswith("#")]


def stand_in(path: Path, variables: dict[str, str], entry: list[str]) -> Path:
    """A program that is called as ``docker run -i`` is, and does as it does.

    The engine is process 1 of a namespace, has no network and no variables but those of the image, and is not a child
    of what is called: only its standard input tells it that nobody is there any more.

    :param variables: of the image.
    """
    words = " ".join(f"'{name}={value}'" for name, value in variables.items())
    container = " ".join(NAMESPACES if has_namespaces() else ("setsid", "-w"))
    path.write_text(f"#!/bin/sh\ncat | {container} env -i {words} {' '.join(entry)} | cat\n", "utf-8")
    path.chmod(0o755)
    return path


def has_namespaces() -> bool:
    """Whether this computer lets this user make namespaces."""
    found = shutil.which("unshare") and subprocess.run([*NAMESPACES, "true"], capture_output=True, check=False)
    return bool(found) and found.returncode == 0


def main() -> None:
    """Carry out all steps and say what came of each."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--python", default=sys.executable)
    given = parser.parse_args()
    folder = given.folder.resolve()
    folder.mkdir()
    for name in ("source", "data", "home"):
        (folder / name).mkdir(mode=0o700)
    environment = folder / "environment"
    subprocess.run([given.python, "-m", "venv", environment], check=True)
    variables = {"PATH": f"{environment}/bin:/usr/bin:/bin", "HOME": str(folder / "home")}
    entry = []
    for word, text in steps():
        rest = text.replace("/source", str(folder / "source")).replace("/data", str(folder / "data"))
        if word == "ARG":
            name, _, value = rest.partition("=")
            variables[name] = value
        elif word == "ENV":
            variables |= dict(one.split("=", 1) for one in rest.split())
        elif word == "COPY":
            *sources, target = rest.split()
            for source in sources:
                subprocess.run(["cp", "-r", REPOSITORY / source, target], check=True)
        elif word == "RUN":
            done = [one.strip() for one in text.split("&&") if not one.strip().startswith(_NOT_HERE)]
            line = " && ".join(done).replace("/source", str(folder / "source"))
            if line:
                subprocess.run(["sh", "-c", line], env=variables, cwd=folder, check=True, stdout=subprocess.DEVNULL)
        elif word == "ENTRYPOINT":
            entry = json.loads(text)
        print(f"{word} {text[:100]}: done" if word in ("COPY", "RUN") else f"{word} {text[:100]}", flush=True)
    print(_segmented(folder, stand_in(folder / "docker", variables, entry)))


def _segmented(folder: Path, docker: Path) -> str:
    """Use the entry command as an engine, by a relay of this repository."""
    import numpy as np
    from serve_client import Client
    from ssh_host import relay

    image = {
        "array": str(folder / "v.npy"),
        "origin": [0] * 3,
        "spacing": [3, 3, 5],
        "direction": [1, 0, 0, 0] * 2 + [1],
    }
    np.save(folder / "v.npy", np.random.default_rng(0).integers(-1000, 400, (6, 64, 64)).astype(np.int16))
    said = [f"namespaces: {has_namespaces()}"]
    with Client(relay("--command", str(docker), "run", "-i", "--rm", "sam2adapt-engine")) as client:
        ready = client.receive()
        said.append(f"{ready['method']}: version {ready['params']['version']} on '{ready['params']['host']}'")
        labels = {}
        with Client() as local:
            local.receive()
            for name, one in (("there", client), ("here", local)):
                params = {"model": "torso-ct", "device": "cpu", "anyModality": True, "input": image}
                one.result("segment", **params, labels=str(folder / f"{name}.npy"))
                labels[name] = np.load(folder / f"{name}.npy")
        said.append(f"labels as of a local engine: {np.array_equal(labels['there'], labels['here'])}")
        client.process.stdin.close()
        said.append(f"the relay ended with {client.ended()}")
    kept = {re.sub("[0-9a-f]{20,}", "…", path.name) for path in (folder / "data").rglob("*") if path.is_file()}
    return "\n".join([*said, f"in /data: {sorted(kept)}"])


if __name__ == "__main__":
    main()
