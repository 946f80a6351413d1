"""``gpu.py``: on a processor it measures every section; without a GPU, with an error or without time it says so."""

import gc
import json
import os
import time
from types import ModuleType, SimpleNamespace

import gpu
import pytest
import torch
from on_gpu import SECTIONS, filling, ladder, networks, run, training, typed
from on_gpu.budget import Budget
from on_gpu.page import page
from sam2adapt.cli.app import exit_status
from speed import material, models, peers
from speed.context import Context
from torch.overrides import TorchFunctionMode


class NoFiller:
    """Takes drawings of its volume and does nothing."""

    def __init__(self, volume):
        self.shape = volume.array.shape[1:]

    def fill(self, drawings) -> None:
        assert drawings.masks.shape == (2, *self.shape)


@pytest.fixture
def small(small_base, monkeypatch):
    """Small networks in the place of all, a CT of a few voxels, and no filling, which takes its time."""
    basic = next(peer for peer in peers.PEERS if peer.name == "BasicUNet")
    other = peers.Peer("nnU-Net 2-D", "small", (64,), ("bf16",), basic.package, basic.project, basic.build)
    made = models.build
    monkeypatch.setattr(models, "build", lambda base, *others: made("small-test", *others))
    monkeypatch.setattr(peers, "PEERS", (other,))
    monkeypatch.setattr(typed, "BASES", ("small-test",))
    monkeypatch.setattr(typed, "_QUICK_SIDES", (64,))
    monkeypatch.setattr(training, "WAYS", ("nano",))
    monkeypatch.setattr(filling, "Filler", NoFiller)
    monkeypatch.setattr(gc, "collect", lambda: 0)  # half a second each time
    monkeypatch.setattr(material, "CT_SIZE", (64, 48, 6))


@pytest.fixture
def no_gpu(monkeypatch):
    """A machine without any GPU, also where the tests run on one that has one."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)


def fake_section(monkeypatch, measure) -> None:
    """One section in the place of all, with this ``measure``."""
    section = SimpleNamespace(TITLE="Faked", measure=measure, lines=lambda entry: [f"rows: {entry['rows']}"])
    monkeypatch.setattr(run, "section", lambda name: section)
    monkeypatch.setattr("on_gpu.page.section", lambda name: section)


def test_quick_run_on_a_processor_measures_every_section(small, no_gpu, tmp_path, capsys):
    output = tmp_path / "gpu.md"
    gpu.main(["--device", "cpu", "--quick", "--output", str(output)])
    text, found = output.read_text("utf-8"), json.loads(output.with_suffix(".json").read_text("utf-8"))
    assert capsys.readouterr().out.strip() == text.strip()
    assert list(found["sections"]) == list(SECTIONS)
    for state in ("skipped", "unfinished", "cut", "error", "failed"):
        assert not any(entry.get(state) for entry in found["sections"].values())
    assert "**No GPU was at hand" in text
    assert f"commit {found['machine']['commit']}" in text
    assert f"{torch.get_num_threads()} threads" in text
    for row in (
        "| small-test dual-lw exported | 64 | fp32 |", "| nnU-Net 2-D | 64 | bf16 |", "| as users get it |",
        "| torso-ct |", "| tiny, random weights |", "| small-test | 64 | bf16 |", "| `nano` |", "| 10 |",
    ):  # fmt: skip
        assert f"\n{row}" in text
    usual, exact, *_ = found["sections"]["labels"]["rows"]
    assert (usual["different"], exact["different"]) == (0, 0)
    assert set(usual["dice"].values()) == set(exact["dice"].values()) == {1.0}
    assert all(row["rounds"][0] > 0 for row in found["sections"]["networks"]["rows"])
    assert found["sections"]["networks"]["about"] == {"nnU-Net 2-D": "small"}


def test_without_a_gpu_it_says_so_and_what_to_do(no_gpu, capsys):
    assert exit_status(lambda: gpu.main([]), gpu.parser()) == 2
    words = capsys.readouterr()
    assert "Nothing was measured, because PyTorch can use no NVIDIA GPU on this machine: " in words.err
    assert "--device cpu --quick" in words.err
    assert not words.out


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--sections", "networks,speed"], "no section 'speed'"),
        (["--sections", ","], "No section"),
        (["--minutes", "0"], "nothing can be measured"),
        (["--output", "/no/such/folder/gpu.md"], "does not exist"),
        (["--data", "/no/such/folder"], "lacks"),
        (["--device", "meta"], "cannot be used"),
    ],
)
def test_what_cannot_be_measured_is_refused_at_once(arguments, sentence, capsys):
    assert exit_status(lambda: gpu.main(["--device", "cpu", *arguments]), gpu.parser()) == 2
    assert sentence in capsys.readouterr().err


def test_a_section_that_fails_does_not_stop_the_others(monkeypatch, tmp_path, capsys):
    def measure(context, left, entry) -> None:
        entry["rows"] = [len(calls)]
        calls.append(1)
        if len(calls) == 2:
            raise RuntimeError("a cable | was loose\nat its end")

    calls = []
    fake_section(monkeypatch, measure)
    output = tmp_path / "gpu.md"
    with pytest.raises(SystemExit, match="1"):
        gpu.main(["--device", "cpu", "--quick", "--output", str(output)])
    assert len(calls) == len(SECTIONS)
    text = output.read_text("utf-8")
    assert text.count("**Failed.** RuntimeError: a cable / was loose at its end.") == 1
    assert [f"rows: [{number}]" in text for number in range(len(SECTIONS))] == [True] * len(SECTIONS)
    assert f"Failed: {SECTIONS[1]};" in capsys.readouterr().err


def test_without_time_every_section_says_that_it_was_skipped(tmp_path):
    output = tmp_path / "gpu.md"
    gpu.main(["--device", "cpu", "--minutes", "0.0001", "--output", str(output)])
    text = output.read_text("utf-8")
    assert text.count("**Not measured.** Skipped: 0 s were left") == len(SECTIONS)
    assert "--sections ladder --add" in text


@pytest.mark.skipif(os.name == "nt", reason="Windows has no alarms")
def test_a_section_that_hangs_is_cut_short_and_keeps_what_it_has(monkeypatch):
    def measure(context, left, entry) -> None:
        entry["rows"] = ["one"]
        try:
            time.sleep(60)
        except Exception:  # what handles errors on the way does not stop the end
            time.sleep(60)

    fake_section(monkeypatch, measure)
    result = {"machine": run.describe(torch.device("cpu")), "quick": True, "minutes": 0, "sections": {}}
    states = []
    rest = run.run(
        Context(quick=True), ["networks", "labels"], Budget(1.2), result,
        lambda: states.append([sorted(entry) for entry in result["sections"].values()]),
    )  # fmt: skip
    assert not rest
    assert states[0] == [["unfinished"]]  # what stands there if the process is killed
    assert "rows: ['one']" in page(result)
    assert "**Cut short.**" in page(result)
    assert "Skipped" in result["sections"]["labels"]["skipped"]


def test_what_breaks_the_gpu_leaves_the_rest_to_a_new_process(monkeypatch, tmp_path):
    def measure(context, left, entry) -> None:
        raise RuntimeError("CUDA error: an illegal memory access was encountered")

    fake_section(monkeypatch, measure)
    monkeypatch.setattr(run, "usable", lambda device: False)
    result, context = {"sections": {}}, Context(quick=True)
    assert run.run(context, SECTIONS, Budget(60), result, lambda: None) == list(SECTIONS[1:])
    started = []
    monkeypatch.setattr(gpu.os, "execv", lambda program, words: started.append(words))
    gpu._go_on(["--sections", "networks", "--rounds", "3"], ["ladder", "training"], 2.5)
    args = gpu.parser().parse_args(started[0][2:])
    assert (args.sections, args.minutes, args.rounds, args.add) == ("ladder,training", 2.5, 3, True)


def test_a_former_run_is_kept_only_beside_its_like(monkeypatch, tmp_path, capsys):
    fake_section(monkeypatch, lambda context, left, entry: entry.update(rows=[context.rounds]))
    options = ["--device", "cpu", "--quick", "--output", str(tmp_path / "gpu.md")]
    gpu.main([*options, "--sections", "labels"])
    gpu.main([*options, "--sections", "training", "--add"])
    assert list(json.loads((tmp_path / "gpu.json").read_text("utf-8"))["sections"]) == ["labels", "training"]
    other = [word for word in options if word != "--quick"]
    assert exit_status(lambda: gpu.main([*other, "--add"]), gpu.parser()) == 2
    assert "Leave out --add" in capsys.readouterr().err


def test_memory_is_climbed_until_it_runs_out(small, monkeypatch):
    def network(self, row):
        def call(images) -> None:
            if len(images) > 1:
                raise torch.OutOfMemoryError("CUDA out of memory")

        return call

    monkeypatch.setattr(typed.TypedCandidates, "network", network)
    entry, context = {}, Context(quick=True)
    ladder.measure(context, lambda: 1.0, entry)
    for row in entry["rows"]:
        assert row["peaks"]["2"] == "out of memory"
    assert all(line.endswith("| out of memory |") for line in list(ladder.lines(entry))[4:])
    assert chosen_batches(context) == ([1, 1], {})


def chosen_batches(context: Context) -> tuple[list[int], dict[str, str]]:
    """Batches of the first network's two rows, and what failed."""
    failed = {}
    rows = networks._chosen(next(typed.rows(context)), typed.TypedCandidates(context), context, failed)
    return [row.batch for row in rows], failed


def test_a_batch_that_fails_leaves_the_smaller_ones(small, monkeypatch):
    def network(self, row):
        def call(images) -> None:
            if len(images) > 1:
                raise RuntimeError("CUDA error: invalid configuration argument")

        return call

    monkeypatch.setattr(typed.TypedCandidates, "network", network)
    sentence = "RuntimeError: CUDA error: invalid configuration argument."
    name = "small-test dual-lw exported fp32 64 batch 1, with batch 2,"
    assert chosen_batches(Context(quick=True)) == ([1, 1], {name: sentence})


def test_a_network_that_fails_has_a_sentence_in_its_place(small, monkeypatch):
    made = typed.TypedCandidates.network

    def network(self, row):
        if row.peer:
            raise RuntimeError("no such kernel")
        return made(self, row)

    monkeypatch.setattr(typed.TypedCandidates, "network", network)
    entry = {}
    networks.measure(Context(quick=True, rounds=2), lambda: 60.0, entry)
    assert {row["network"] for row in entry["rows"]} == {"small-test"}
    assert {len(row["rounds"]) for row in entry["rows"]} == {2}
    assert "- **nnU-Net 2-D fp32 64 batch 1 has no number.** RuntimeError: no such kernel." in networks.lines(entry)


class OnProcessor(TorchFunctionMode):
    """What is sent to a GPU stays on the processor, so that this side of the script runs where there is none."""

    def __torch_function__(self, func, types, args=(), kwargs=None):
        if func is torch.device:
            return func(*args, **(kwargs or {}))
        moved = {name: self._moved(value) for name, value in (kwargs or {}).items()}
        return func(*map(self._moved, args), **moved)

    @staticmethod
    def _moved(value):
        return torch.device("cpu") if isinstance(value, torch.device) and value.type == "cuda" else value


def pretend(monkeypatch, cuda: ModuleType) -> None:
    """Let PyTorch tell of a GPU."""
    properties = SimpleNamespace(name="Pretended", total_memory=8 << 30, major=9, minor=0)
    answers = {
        "is_available": True, "device_count": 1, "get_device_name": "Pretended", "get_device_properties": properties,
        "is_bf16_supported": True, "memory_allocated": 5_000_000, "max_memory_allocated": 9_000_000,
        "is_initialized": False, "set_device": None, "synchronize": None, "reset_peak_memory_stats": None,
    }  # fmt: skip
    for name, answer in answers.items():
        monkeypatch.setattr(cuda, name, lambda *_, answer=answer, **__: answer)
    monkeypatch.setattr(torch.Tensor, "pin_memory", lambda tensor: tensor)


def test_with_a_pretended_gpu_the_page_names_it(small, monkeypatch, tmp_path):
    pretend(monkeypatch, torch.cuda)
    monkeypatch.setattr(gpu, "RESULTS", tmp_path / "gpu.md")
    with OnProcessor():
        gpu.main(["--quick", "--sections", "networks,ladder"])
    text = (tmp_path / "gpu.md").read_text("utf-8")
    assert "Pretended (bfloat16 is the engine's choice); 9 GB, compute capability 9.0, driver " in text
    assert "No GPU was at hand" not in text
    assert "| small-test dual-lw exported | 64 | fp16 |" in text
    assert "| small-test | 64 | fp16 | 9 | 9 |" in text
    assert "5 MB were held before" in text
    assert "**Failed.**" not in text
