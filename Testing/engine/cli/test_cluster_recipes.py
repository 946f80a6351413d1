"""The recipes of Resources/cluster: valid shell and YAML, with options that torchrun and the command line know."""

import json
import os
import subprocess
from pathlib import Path

import container_steps
import pytest
from sam2adapt.cli.app import _parser
from torch.distributed.run import get_args_parser

RECIPES = Path(__file__).resolve().parents[3] / "Resources" / "cluster"
SCRIPTS = sorted(path.name for path in RECIPES.iterdir() if path.suffix in (".sh", ".sbatch"))
# In the place of a program: notes what it was given.
RECORDER = '#!/bin/sh\nfor word in "$(basename "$0")" "$@"; do printf "%s\\0" "$word"; done > "$NOTE"\n'
SLURM = {"SLURM_JOB_NODELIST": "node[1-2]", "SLURM_JOB_ID": "7", "SLURM_NNODES": "2", "SLURM_GPUS_ON_NODE": "4"}


def given(script: str, tmp_path: Path, *arguments: str, **variables: str) -> list[str]:
    """Words of the command that a script comes to; without srun before it."""
    tools = {
        "srun": RECORDER,
        "torchrun": RECORDER,
        "python": RECORDER,
        "scontrol": "#!/bin/sh\nseq -f node%.0f 20000\n",  # more than a pipe holds, should nobody read them
    }
    for name, text in tools.items():
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(0o755)
    note = tmp_path / "note"
    environment = {"PATH": f"{tmp_path}:{os.environ['PATH']}", "NOTE": str(note)} | SLURM | variables
    subprocess.run(["bash", RECIPES / script, *arguments], env=environment, check=True)
    words = note.read_text("utf-8").split("\0")[:-1]
    return words[1:] if words[0] == "srun" else words


def parsed(words: list[str]):
    """What torchrun and our command line make of a command; None for torchrun if it is not there."""
    if words[0] != "torchrun":
        assert words[:3] == ["python", "-m", "sam2adapt"]
        return None, _parser().parse_args(words[3:])
    team = get_args_parser().parse_args(words[1:])
    assert team.module and team.training_script == "sam2adapt"
    return team, _parser().parse_args(team.training_script_args)


DATA = {"INPUT": "/the studies", "IMAGES": "/the images", "LABELS": "/l", "CLASSES": "1=right lung,2=b"}


@pytest.mark.parametrize("script", SCRIPTS)
def test_shell_is_valid(script):
    subprocess.run(["bash", "-n", RECIPES / script], check=True)


@pytest.mark.parametrize(
    ("script", "arguments"),
    [("laptop.sh", []), ("workstation.sh", ["segment"]), ("segment.sbatch", [])],
)
def test_recipes_for_batches(script, arguments, tmp_path):
    team, request = parsed(given(script, tmp_path, *arguments, OUTPUT="/out", **DATA))
    assert (request.command, list(map(str, request.inputs))) == ("segment", ["/the studies"])
    assert (team is None) == (script == "laptop.sh")


@pytest.mark.parametrize(("script", "arguments"), [("workstation.sh", ["train"]), ("train.sbatch", [])])
def test_recipes_for_trainings(script, arguments, tmp_path):
    output = tmp_path / "a model.safetensors"
    team, request = parsed(given(script, tmp_path, *arguments, OUTPUT=str(output), **DATA))
    assert (request.command, str(request.images), request.classes) == ("train", "/the images", "1=right lung,2=b")
    assert (request.output, request.resume, team.max_restarts) == (output, False, 3)


def test_a_requeued_training_goes_on(tmp_path):
    output = tmp_path / "model.safetensors"
    output.with_suffix(".run").mkdir()
    (output.with_suffix(".run") / "checkpoint.pt").touch()
    _, request = parsed(given("train.sbatch", tmp_path, OUTPUT=str(output), **DATA))
    assert request.resume


@pytest.mark.parametrize("script", ["segment.sbatch", "train.sbatch"])
def test_nodes_meet_on_the_first(script, tmp_path):
    team, _ = parsed(given(script, tmp_path, OUTPUT="/out.safetensors", **DATA))
    assert (team.nnodes, team.nproc_per_node, team.rdzv_endpoint) == ("2", "4", "node1:29500")


def test_engine_of_a_node_is_one_for_a_stream(tmp_path):
    words = given("engine-on.sh", tmp_path)
    assert words[-3:] == ["sam2adapt", "serve", "--stream"]
    assert _parser().parse_args(words[-2:]).stream


def test_container_starts_an_engine_for_a_stream_as_a_user_without_rights():
    """``support/container_steps.py`` carries its steps out without a container."""
    steps = container_steps.steps()
    known = dict(steps)
    assert json.loads(known["ENTRYPOINT"]) == ["sam2adapt", "serve", "--stream"]
    assert _parser().parse_args(json.loads(known["ENTRYPOINT"])[1:]).stream
    assert known["USER"] not in ("root", "0") and "SAM2ADAPT_HOME=/data" in known["ENV"]
    requirements = (RECIPES.parents[1] / "SAM2Adapt" / "Resources" / "requirements.txt").read_text("utf-8")
    (pinned,) = {word for word in requirements.split() if word.startswith("sam2==")}
    assert any(pinned in text for name, text in steps if name == "RUN")
    assert steps[0][0] == "FROM"
    copied = [word for name, text in steps if name == "COPY" for word in text.split()[:-1]]
    assert copied and all((RECIPES.parents[1] / word).exists() for word in copied)


def test_kubernetes_job():
    yaml = pytest.importorskip("yaml")
    service, job = yaml.safe_load_all((RECIPES / "job.yaml").read_text("utf-8"))
    pod = job["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    team, request = parsed(container["command"] + container["args"])
    assert request.command == "segment"
    assert int(team.nnodes) == job["spec"]["parallelism"] == job["spec"]["completions"]
    assert int(team.nproc_per_node) == container["resources"]["limits"]["nvidia.com/gpu"]
    names = {service["metadata"]["name"], pod["subdomain"], service["spec"]["selector"]["job-name"]}
    assert names == {job["metadata"]["name"]}
    first = f"{job['metadata']['name']}-0.{pod['subdomain']}"  # name of the pod with index 0
    assert team.rdzv_endpoint == f"{first}:29500"
    assert {mount["name"] for mount in container["volumeMounts"]} == {volume["name"] for volume in pod["volumes"]}
