"""An engine behind ``docker run -i``: process 1, without network, variables or a parent; it ends with its input.

No container can be made here, so that a program stands in for Docker (``support/container_steps.py``).
"""

import os
import signal
import sys

import container_steps
import numpy as np
import pytest
from serve_client import Client
from ssh_host import ENGINE, engines, relay, until

GEOMETRY = {"origin": [0, 0, 0], "spacing": [3, 3, 5], "direction": [1, 0, 0, 0, 1, 0, 0, 0, 1]}


@pytest.fixture
def docker(tmp_path):
    """The program, with the variables of the image; and the home of the engine."""
    if not container_steps.has_namespaces():
        pytest.skip("needs namespaces, which only root can make here")
    (entry,) = [text for word, text in container_steps.steps() if word == "ENTRYPOINT"]
    assert entry == '["sam2adapt", "serve", "--stream"]'
    (settings,) = [text for word, text in container_steps.steps() if word == "ENV"]
    home = tmp_path / "data"
    variables = dict(one.split("=") for one in settings.split()) | {
        "SAM2ADAPT_HOME": str(home),
        "TMPDIR": str(tmp_path),
    }
    variables |= {"PATH": "/usr/bin:/bin", "PYTHONPATH": str(ENGINE), "OMP_NUM_THREADS": "1"}
    words = [sys.executable, "-m", "sam2adapt", "serve", "--stream"]
    return container_steps.stand_in(tmp_path / "docker", variables, words), home


def test_it_works_and_ends_with_its_input_and_when_its_client_is_killed(docker, tmp_path):
    program, home = docker
    np.save(tmp_path / "v.npy", np.random.default_rng(0).integers(-1000, 400, (4, 48, 48)).astype(np.int16))
    image = GEOMETRY | {"array": str(tmp_path / "v.npy")}
    for how in ("close", "kill"):
        with Client(relay("--command", str(program), "run", "-i", "--rm", "sam2adapt-engine")) as client:
            assert client.receive()["method"] == "ready"
            params = {"model": "torso-ct", "device": "cpu", "anyModality": True, "input": image}
            running = client.send("segment", **params, labels=str(tmp_path / "l.npy"))
            assert "result" in client.answer(running)
            (there,) = engines(home)
            os.kill(there, signal.SIGTERM)  # of ``docker stop``
            if how == "kill":
                client.process.kill()
            else:
                client.process.stdin.close()
            until(lambda: not engines(home), "the engine is left there")
    assert np.load(tmp_path / "l.npy").shape == (4, 48, 48)
    assert not list(tmp_path.glob("sam2adapt-*")), "a temporary folder is left"
