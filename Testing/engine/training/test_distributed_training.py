"""Training under torchrun: several processes do what one does, one writes and speaks, and a dead one is replaced."""

import csv
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import distributed_runs
import pytest
import sam2adapt
import torch
from distributed_runs import RUNS, STEPS, precision, result_of
from sam2adapt.machine import exchange
from sam2adapt.machine.exchange import SharedBatchNorm, training_device
from sam2adapt.machine.team import Team
from sam2adapt.modelfiles.bundle import read_bundle
from sam2adapt.network.dropout import ImageDropout, only, seeded
from sam2adapt.shared.errors import DeviceError, SettingsError
from sam2adapt.training.record import load_checkpoint
from test_training import base, folder, own_home, request_for, train
from trained import small_trainer

__all__ = ["base", "folder", "own_home"]

PATIENCE = 600  # seconds; a busy machine is slow, and a test that waits in vain fails anyway
SUPPORT = Path(distributed_runs.__file__).parent
TEXT = {"encoding": "utf-8", "errors": "replace"}  # gloo's messages end in bytes that are no text
OTHERWISE = {"no memory", "in time"}  # what depends on the number of processes


def torchrun(*arguments, restarts: int = 0) -> list[str]:
    options = ["--standalone", "--nproc-per-node", "2", "--max-restarts", str(restarts)]
    return [sys.executable, "-m", "torch.distributed.run", *options, *map(str, arguments)]


def watched(notes: Path, *arguments, **options) -> list[str]:
    return torchrun(SUPPORT / "distributed_runs.py", "watched", notes, *arguments, **options)


@pytest.fixture(scope="module", autouse=True)
def same_modules():
    """The processes that the tests start find the modules of engine and tests where this one does."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", os.pathsep.join(filter(None, sys.path)))
        yield


def arguments(folder: Path, base: Path, output: Path) -> list:
    split = output.parent / "split.json"
    split.write_text('{"train": ["case0", "case1", "case2"], "val": ["case3"]}')
    return [
        "train", "--images", folder / "images", "--labels", folder / "labels", "--split", split,
        "--classes", "1=right ventricle,2=left ventricle", "--base", base, "--epochs", "3", "--size", "64",
        "--crop", "64", "--seed", "5", "--device", "cpu", "-o", output,
    ]  # fmt: skip


@pytest.fixture(scope="module")
def both(folder, base, tmp_path_factory) -> tuple[dict, tuple]:
    """What two processes, which torchrun starts once because that costs most, do one after the other.

    First each of ``RUNS``, as ``result_of`` describes it; then the command: its bundle, what it wrote to both streams,
    and the folder of notes on what each process opened to write.
    """
    notes, output = tmp_path_factory.mktemp("two"), tmp_path_factory.mktemp("unbroken") / "model.safetensors"
    command = torchrun(SUPPORT / "distributed_runs.py", notes, *arguments(folder, base, output))
    result = subprocess.run(command, capture_output=True, **TEXT, check=False, timeout=PATIENCE)
    assert result.returncode == 0, result.stderr
    return torch.load(notes / "results.pt", weights_only=True), (output, result.stdout, result.stderr, notes)


@pytest.fixture(scope="module")
def results(both, tmp_path_factory) -> tuple[dict, dict]:
    """What one process and two reach in each of ``RUNS``."""
    place = tmp_path_factory.mktemp("one")
    return {name: result_of(name, place) for name in RUNS.keys() - OTHERWISE}, both[0]


@pytest.fixture(scope="module")
def unbroken(both) -> tuple[Path, str, str, Path]:
    return both[1]


def difference(own: dict, expected: dict, before: dict) -> float:
    """Largest difference of the weights, relative to the most that the training has changed in the same tensor.

    A tensor that has changed far less than others, for instance a 1x1 kernel whose scale a batch norm takes away
    again, has no gradient but rounding.
    """
    names = [name for name in before if before[name].is_floating_point()]
    changes = {name: (expected[name] - before[name]).abs().max().item() for name in names}
    least = max(changes.values()) / 20 or 1.0
    return max((own[name] - expected[name]).abs().max().item() / max(changes[name], least) for name in names)


@pytest.mark.parametrize("name", sorted(RUNS.keys() - OTHERWISE))
def test_two_processes_reach_what_one_does(results, name):
    alone, two = (part[name] for part in results)
    # Eight and eleven bits of each number in mixed precision, and sums of many such: up to 0.12 where a processor has
    # matrix units for bfloat16. With the gradients of one process left out it is 35, in float16 1 to 2.
    weights, losses = {"bfloat16": (0.25, 1e-3), "float16": (0.005, 1e-4)}.get(name.split()[0], (1e-8, 1e-12))
    assert two["losses"] == pytest.approx(alone["losses"], rel=losses)
    assert difference(two["weights"], alone["weights"], alone["before"]) < weights
    assert difference(two["best"], alone["best"], alone["before"]) < weights
    assert two["said"] == alone["said"] or name in ("cancelled", "full disk")
    for key in ("epoch", "step", "setbacks", "stale", "best_epoch"):
        assert two["history"][key] == alone["history"][key], key


def test_only_what_is_trained_is_exchanged(results):
    alone, two = results
    assert {result["bytes"] for result in alone.values()} == {0}
    for name in ("head", "lora", "dual-hp", "quick", "float16"):
        gradients = two[name]["trained"] * (4 if name == "float16" else 8)
        # With them goes which of them there are, and before them the sums of the loss.
        assert gradients < two[name]["bytes"] < gradients * 1.01 + 400


def test_memory_that_runs_out_in_one_process_makes_smaller_parts_in_all(results):
    _, two = results
    assert two["no memory"]["said"] == [
        "Memory ran out with 2 slices at once; going on with 1, and steps of 4 as before."
    ]
    assert two["no memory"]["history"]["step"] == 3


def test_the_first_processs_clock_ends_the_run(results):
    _, two = results
    assert 0 < two["in time"]["history"]["step"] < 500 * STEPS


def test_errors_and_cancelling_are_those_of_the_first_process(results):
    _, two = results
    assert two["cancelled"]["said"] == ["CancelledError in 2: The training was cancelled."]
    assert two["full disk"]["said"] == ["OutputError in 2: The disk is full."]
    assert 0 < two["cancelled"]["history"]["step"] < STEPS


def test_only_the_first_process_writes_and_speaks(unbroken):
    output, out, error, notes = unbroken
    first, second = ((notes / f"{rank}.txt").read_text("utf-8").splitlines() for rank in (0, 1))
    assert any("checkpoint.pt" in path for path in first) and any("model.safetensors" in path for path in first)
    assert [path for path in second if path.startswith((str(output.parent), os.environ["SAM2ADAPT_HOME"]))] == []
    assert out.count("validation Dice, mean") == 1
    assert error.count("Reading 3 training cases") == 1
    assert sorted(path.name for path in output.parent.iterdir()) == ["model.run", "model.safetensors", "split.json"]


def test_bytes_of_a_step_are_in_the_card_and_in_the_result(unbroken):
    output, out, error, _ = unbroken
    training = read_bundle(output).card["training"]
    sent = training["processes"]["bytes_per_step"]
    assert training["processes"]["count"] == 2
    assert training["parameters"]["trained"] * 8 < sent < training["parameters"]["total"] * 8  # in float64
    assert f"2 processes, {sent:,} bytes exchanged per step" in out
    assert "2 processes; each exchanged" in error


def test_the_command_reaches_what_one_process_does(unbroken, folder, base, tmp_path):
    with precision(torch.float64):
        alone = train(request_for(folder, base, tmp_path / "model.safetensors"))
    logs = [list(csv.DictReader((path.with_suffix(".run") / "log.csv").open())) for path in (unbroken[0], alone)]
    (untrained, *rows), (untrained_alone, *expected_rows) = logs
    # Before the first step all classes have the same logits, so that rounding decides on the Dice.
    assert untrained.keys() == untrained_alone.keys() and untrained["loss"] == untrained_alone["loss"] == ""
    assert len(rows) == 3
    for row, expected in zip(rows, expected_rows, strict=True):
        assert float(row["loss"]) == pytest.approx(float(expected["loss"]), rel=1e-8)
        assert float(row["dice mean"]) == pytest.approx(float(expected["dice mean"]), abs=1e-3)


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="finds the processes in Linux's /proc")
def test_a_killed_process_is_started_again_and_the_run_goes_on(unbroken, folder, base, tmp_path):
    output = tmp_path / "model.safetensors"
    command = watched(tmp_path, *arguments(folder, base, output), restarts=2)
    agent = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **TEXT)
    state = output.with_suffix(".run") / "checkpoint.pt"
    while agent.poll() is None and not (state.exists() and load_checkpoint(state)["history"]["epoch"]):
        time.sleep(0.05)
    children = Path(f"/proc/{agent.pid}/task/{agent.pid}/children").read_text("utf-8").split()
    assert not output.exists()
    os.kill(int(children[-1]), signal.SIGKILL)
    _, error = agent.communicate(timeout=PATIENCE)
    assert agent.returncode == 0, error
    assert error.count("started again; continuing after the last complete epoch") == 1, error
    own, expected = read_bundle(output).tensors, read_bundle(unbroken[0]).tensors
    assert [name for name in expected if not torch.equal(own[name], expected[name])] == []
    rows = list(csv.DictReader((output.with_suffix(".run") / "log.csv").open()))
    assert [row["epoch"] for row in rows] == ["0", "1", "2", "3"]


# The command line, and then what is left of the group that it made. Threads of a group that something keeps can abort a
# process that exits.
LEAVING = """
import gc, os, sys, weakref
from pathlib import Path
import torch.distributed as dist
from sam2adapt.cli.app import main
connect, groups = dist.init_process_group, []
def noting(*arguments, **options):
    connect(*arguments, **options)
    groups.append(weakref.ref(dist.group.WORLD))
dist.init_process_group = noting
try:
    code = main(sys.argv[1:])
except SystemExit as ended:  # of all but the first
    code = ended.code
gc.collect()
left = sum(group() is not None for group in groups)
Path(__file__).with_name(f"{os.environ['RANK']}: {len(groups)} made, {left} left").touch()
sys.exit(code)
"""
# torchrun ends the other processes as soon as one has failed, so what it starts waits for both command lines to end.
BOTH = """
import os, subprocess, sys, time
from pathlib import Path
folder = Path(__file__).parent
code = subprocess.call([sys.executable, folder / "leaving.py", *sys.argv[1:]])
(folder / f"{os.environ['RANK']}: exit {code}").touch()
while len(list(folder.glob("*: exit *"))) < 2:
    time.sleep(0.01)
sys.exit(code)
"""


def test_a_users_error_is_said_once_and_ends_all_and_no_group_is_left(folder, base, tmp_path):
    (tmp_path / "leaving.py").write_text(LEAVING)
    (tmp_path / "both.py").write_text(BOTH)
    command = torchrun(tmp_path / "both.py", *arguments(folder, base, tmp_path / "model.safetensors"))
    command[command.index("1=right ventricle,2=left ventricle")] = "1=right ventricle"
    result = subprocess.run(command, capture_output=True, **TEXT, check=False, timeout=PATIENCE)
    assert result.returncode == 1, result.stderr  # torchrun's own
    assert result.stderr.count("holds label value 2, which is not among the classes (") == 1
    seen = sorted(path.name for path in tmp_path.glob("*: *"))
    assert seen == ["0: 1 made, 0 left", "0: exit 2", "1: 1 made, 0 left", "1: exit 2"], result.stderr
    assert str(Path(sam2adapt.__file__).parent) not in result.stderr  # no traceback but torchrun's


MEETING = """
import os, sys, time
import torch
import torch.distributed as dist
from sam2adapt.machine.team import Team
from sam2adapt.machine.exchange import process_group
team = Team.from_environment()
time.sleep(float(sys.argv[1]) * team.rank)
print(team.share(lambda: [sys.argv[2]]))
with process_group(team):
    total = torch.ones(1)
    dist.all_reduce(total)
    print(total.item(), flush=True)
    os._exit(0)  # dies, and leaves its address in the store
"""


def two(store, code: str, *arguments: str) -> list[str]:
    """What two processes with torchrun's environment and this store print."""
    agent = {"MASTER_ADDR": "localhost", "MASTER_PORT": str(store.port), "TORCHELASTIC_USE_AGENT_STORE": "True"}
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", code, *arguments],
            env=os.environ | agent | {"RANK": str(rank), "WORLD_SIZE": "2"},
            stdout=subprocess.PIPE,
            **TEXT,
        )
        for rank in range(2)
    ]
    try:
        return [process.communicate(timeout=PATIENCE)[0] for process in processes]
    finally:
        for process in processes:
            process.kill()


@pytest.fixture
def store():
    return torch.distributed.TCPStore("localhost", 0, is_master=True, wait_for_workers=False)


def test_processes_started_again_do_not_wait_for_the_dead(store):
    """torchrun gives them the store of those before, whose addresses are in it."""
    for name, late in (("first", "0"), ("second", "1")):
        assert two(store, MEETING, late, name) == [f"['{name}']\n2.0\n"] * 2


def test_a_batch_that_is_too_small_to_be_shared(tmp_path, monkeypatch):
    monkeypatch.setattr(exchange, "world_size", lambda: 5)
    with pytest.raises(SettingsError, match="4 slices cannot be shared by 5 processes"):
        small_trainer(tmp_path / "a")


@pytest.mark.parametrize(
    ("team", "gpus", "name", "message", "remedy"),
    [
        (Team(1, 2, 1, 2), 1, "auto", "2 processes cannot share 1 GPU:", "Start only 1 process on this computer"),
        (Team(0, 8, 0, 8), 4, "cuda", "8 processes cannot share 4 GPUs:", "or train on the CPU"),
        (Team(1, 2, 1, 2), 2, "cuda:0", "cannot share 'cuda:0'", "Choose no particular GPU"),
    ],
)
def test_processes_do_not_share_a_gpu(monkeypatch, team, gpus, name, message, remedy):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)
    with pytest.raises(DeviceError, match=re.escape(message)) as caught:
        training_device(team, name)
    assert remedy in caught.value.remedy and caught.value.setting == ("device",)


def test_gpus_that_cannot_be_connected(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "a GPU")
    monkeypatch.setattr(torch.distributed, "is_nccl_available", lambda: False)
    with pytest.raises(DeviceError, match="cannot connect several processes on 'cuda:1'"):
        training_device(Team(1, 2, 1, 2), "auto")


def test_dropout_of_an_image_depends_on_its_seed_only():
    dropout, cpu = ImageDropout(0.5), torch.device("cpu")
    batch = torch.ones(6, 3, 40)  # two rows an image
    with seeded([1, 2, 3], cpu):
        whole = dropout(batch)
        again = dropout(batch)
    with seeded([3, 1], cpu):
        part = dropout(batch[:4])
    with seeded([1, 2, 3], cpu), only([2]):
        one = dropout(batch[:2])
    assert torch.equal(part, torch.cat([whole[4:], whole[:2]])) and torch.equal(one, whole[4:])
    assert not torch.equal(whole, again) and set(whole.unique().tolist()) == {0.0, 2.0}
    assert torch.equal(dropout.eval()(batch), batch)


def test_batch_norm_of_one_process_is_torchs(monkeypatch):
    """The same arithmetic as with several, where the sums are those of one; torch's in float64 is the reference."""
    monkeypatch.setattr(exchange, "world_size", lambda: 2)
    monkeypatch.setattr(exchange, "_all_reduce", lambda tensor: tensor)
    images = 100 + torch.randn(4, 5, 6, 7, generator=torch.Generator().manual_seed(1))
    results = []
    for norm in (SharedBatchNorm(5), torch.nn.BatchNorm2d(5, dtype=torch.float64)):
        torch.nn.init.constant_(norm.weight, 1.5)
        x = images.to(norm.weight.dtype, copy=True).requires_grad_()
        out = norm(x)
        (out * torch.arange(7)).square().sum().backward()
        results.append((out, x.grad, norm.weight.grad, norm.bias.grad, norm.running_mean, norm.running_var))
    for own, expected in zip(*results, strict=True):
        # A grey level of 100 in float32 is known to 4e-6 of what is left of it.
        torch.testing.assert_close(own.double(), expected, rtol=1e-4, atol=2e-5 * expected.abs().max().item())


def test_batch_norms_of_one_pixel_have_gradients_of_their_own(monkeypatch):
    """What the second piece of a batch adds to one is not added to the others whose outputs were summed."""
    monkeypatch.setattr(exchange, "world_size", lambda: 2)
    monkeypatch.setattr(exchange, "_all_reduce", lambda tensor: 2 * tensor)  # the other process has the same
    norms = [SharedBatchNorm(3) for _ in range(3)]
    for _ in range(2):
        out = sum(norm(torch.ones(1, 3, 1, 1)) for norm in norms)
        (out * torch.ones_like(out)).sum().backward()
    for norm in norms:
        assert norm.bias.grad.tolist() == [2, 2, 2]
