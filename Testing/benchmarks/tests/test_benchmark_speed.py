"""``benchmark speed``: candidates take turns, verdicts follow from the numbers, and every row is there."""

import json
import math
from itertools import pairwise

import pytest
import torch
from sam2adapt.adapters import METHODS
from sam2adapt.cli.app import main
from sam2adapt.network.predicting.network import InferenceNetwork
from sam2adapt.shared.errors import InputFileError, SettingsError
from speed import candidates, machine, material, memory, networks, peers, rounds
from speed.candidates import Row, all_rows
from speed.context import Context
from speed.report import markdown
from speed.rounds import Candidate, interleaved, ratio
from speed.sections import network as network_section
from speed.sections import profile as profile_section
from speed.targets import targets


class Clock:
    """A clock that stands still but for what candidates take."""

    def __init__(self):
        self.now, self.calls = 0.0, []

    def candidate(self, row: str, group: str, seconds: float, units: int = 1) -> Candidate:
        def call() -> None:
            self.calls.append(row)
            self.now += seconds

        return Candidate(row, group, units, call)


@pytest.fixture
def clock() -> Clock:
    return Clock()


def test_every_candidate_runs_once_a_round_beside_its_group(clock):
    names = [f"{group}{number}" for group in "abc" for number in range(3)]
    times = interleaved(
        [clock.candidate(name, name[0], 1.0) for name in names], 6, warm=False, clock=lambda: clock.now
    )  # fmt: skip
    turns = [clock.calls[start : start + len(names)] for start in range(0, len(clock.calls), len(names))]
    assert len(turns) == 6
    for turn in turns:
        assert sorted(turn) == names
        groups = [name[0] for name in turn]
        assert sum(one != other for one, other in pairwise(groups)) == 2
    assert len({tuple(turn) for turn in turns}) > 1  # not always the same neighbours
    assert times == {name: [1.0] * 6 for name in names}


def test_time_is_that_of_a_unit_and_warming_up_is_not_counted(clock):
    slow, fast = clock.candidate("slow", "a", 3.0, units=2), clock.candidate("fast", "a", 0.03)
    times = interleaved([slow, fast], 1, clock=lambda: clock.now)
    assert times == {"slow": [1.5], "fast": [pytest.approx(0.03)]}
    assert clock.calls.count("slow") == 2
    assert clock.calls.count("fast") == 1 + math.ceil(rounds._SHORTEST / 0.03)


def test_progress_ends_where_it_should(clock):
    seen = []
    own = [clock.candidate(name, "a", 1.0) for name in "xy"]
    interleaved(own, 3, lambda *progress: seen.append(progress), clock=lambda: clock.now)
    assert seen == [(n, 6) for n in range(1, 7)]


def test_two_candidates_of_one_name_are_refused(clock):
    with pytest.raises(ValueError, match="same name"):
        interleaved([clock.candidate("x", "a", 1.0)] * 2, 1)


def test_ratio_of_medians_and_median_of_ratios():
    found = ratio([1.0, 10.0, 3.0], [1.0, 2.0, 6.0])
    assert (found.of_medians, found.of_rounds) == (1.5, 1.0)
    assert (found.smaller, found.larger) == (1.0, 1.5)


def row(network: str, seconds: float, variant: str = "", side: int = 256, arithmetic: str = "bf16", gmac: float = 8.0):
    """A row of a network section, the same in all rounds."""
    form, best = "exported" if variant else "", network != "SAM2ImagePredictor"
    return {
        "network": network, "variant": variant, "form": form, "side": side, "arithmetic": arithmetic, "best": best,
        "batch": 4, "seconds": seconds, "rounds": [seconds] * 3, "gmac": gmac, "parameters": 1_000_000,
    }  # fmt: skip


def network_result(lightweight: float, nano: float, hp: float) -> dict:
    """Bare tiny takes 1 s, nnU-Net 2.2 s, SAM2's predictor 44 and 115 s."""
    rows = [
        row("tiny", 1.0, "bare"), row("tiny", lightweight, "dual-lw"), row("tiny", hp, "dual-hp"),
        row("nano", nano, "dual-lw"), row("nnU-Net 2-D", 2.2), row("SAM2ImagePredictor", 44.0),
        row("SAM2ImagePredictor", 115.0, arithmetic="fp32"),
    ]  # fmt: skip
    products = {
        name: {"rounds": [1.0] * 3, "gmac": gmac, "gflops": gmac} for name, gmac in (("bf16", 16.5), ("fp32", 3))
    }
    return {"rows": rows, "products": products, "slices": "", "classes": 4, "peers": {}}


def test_targets_of_networks_follow_from_the_numbers():
    good = targets({"network": network_result(1.04, 0.43, 1.14)})
    assert [(t.subject, t.claim.partition(" faster")[0], t.holds) for t in good] == [
        ("tiny dual-lw at 256", "at least 40 times", True),
        ("tiny dual-lw at 256", "at least 100 times", True),
        ("tiny dual-lw at 256", "at least 2 times", True),
        ("nano dual-lw at 256", "at least 5 times", True),
        ("tiny dual-lw at 256", "costs at most 5% over the bare base", True),
        ("tiny dual-hp at 256", "costs at most 15% over the bare base", True),
        ("tiny bare at 256", "computes at half of the rate of a bf16 matrix product at least", False),
        ("tiny dual-lw at 256", "computes at half of the rate of a bf16 matrix product at least", False),
    ]
    bad = targets({"network": network_result(1.16, 0.45, 1.16)})
    assert not any(target.holds for target in bad)
    assert bad[0].measured == pytest.approx(44 / 1.16)
    assert bad[4].measured == pytest.approx(0.16)
    assert bad[6].measured == pytest.approx(8.0 / 16.5)


def test_the_less_favourable_comparison_counts():
    result = network_result(1.0, 0.4, 1.0)
    rows = {(r["network"], r["variant"], r["arithmetic"]): r for r in result["rows"]}
    rows["tiny", "dual-lw", "bf16"]["rounds"] = [1.0, 1.0, 1.2]
    rows["tiny", "bare", "bf16"]["rounds"] = [0.9, 0.9, 1.3]
    cost = next(t for t in targets({"network": result}) if t.claim.startswith("costs") and "lw" in t.subject)
    assert cost.measured == pytest.approx(1 / 0.9 - 1)
    assert not cost.holds
    rows["SAM2ImagePredictor", "", "bf16"]["rounds"] = [10.0, 50.0, 60.0]
    speed = targets({"network": result})[0]
    assert (speed.measured, speed.other) == (50.0, 50.0)
    rows["SAM2ImagePredictor", "", "bf16"]["rounds"] = [10.0, 60.0, 50.0]
    speed = targets({"network": result})[0]
    assert speed.measured == pytest.approx(50 / 1.2)
    assert speed.other == 50.0


def test_targets_around_networks():
    engine = {"input": 500e6, "labels": 250e6, "idle": 1.0, "wall": 1.0}
    result = {
        "segment": {"rows": [
            {"volume": "CT", "size": [4, 4, 2], "model": "one", "shares": [0.1, 0.19, 0.9]},
            {"volume": "cardiac MR", "size": [4, 4, 2], "model": "one", "shares": [0.5]},
        ]},
        "engine": {"clicks": {"voxels": [4, 4, 2], "total": 2.0, "engine": 1.69}},
        "memory": {"plane": [512, 512], "model": "m", "engine": [
            {**engine, "slices": 78, "above": 1749e6}, {**engine, "slices": 1000, "above": 1751e6},
            {**engine, "slices": 1000, "above": None},
        ]},
    }  # fmt: skip
    found = targets(result)
    assert [(t.subject, round(t.measured, 3), t.holds) for t in found] == [
        ("4 x 4 x 2 CT, one", 0.19, True),
        ("4 x 4 x 2 CT", 0.31, False),
        ("512 x 512 x 78, m", 999.0, True),
        ("512 x 512 x 1000, m", 1001.0, False),
    ]
    assert targets({"engine": {"clicks": None}}) == []


@pytest.mark.parametrize("side", [224, 256, 512])
def test_nnunet_is_the_one_that_nnunet_plans(side):
    """Down to maps of 4 to 7 pixels, features doubled up to 512; counted by hand."""
    plan = peers.nnunet_plan(side)
    stages = {224: 6, 256: 7, 512: 8}[side]
    features = [32, 64, 128, 256, 512, 512, 512, 512][:stages]
    assert (plan["n_stages"], plan["features_per_stage"]) == (stages, features)
    assert 4 <= side // 2 ** (stages - 1) < 8

    def block(inputs: int, outputs: int) -> int:  # two convolutions of 3 x 3 with biases and norms
        return (inputs * 9 + 3) * outputs + (outputs * 9 + 3) * outputs

    down = sum(block(inputs, outputs) for inputs, outputs in zip([1, *features], features, strict=False))
    up = sum((below * 4 + 1) * above + block(2 * above, above) for above, below in pairwise(features))
    heads = sum(4 * (width + 1) for width in features[:-1])  # one a level, of which only the last one runs
    network = peers.seeded(next(peer for peer in peers.PEERS if peer.name == "nnU-Net 2-D"), side, 4)
    assert sum(parameter.numel() for parameter in network.parameters()) == down + up + heads
    with torch.inference_mode():
        assert network(torch.zeros(1, 1, side, side)).shape == (1, 4, side, side)


@pytest.mark.parametrize(("name", "picture", "side"), [("SAM2ImagePredictor", 256, 1024), ("MedSAM2", 512, 512)])
def test_predictors_see_the_size_that_is_stated(name, picture, side):
    peer = next(peer for peer in peers.PEERS if peer.name == name)
    predictor = peers.seeded(peer, picture, 4)
    seen = []
    predictor.model.image_encoder.register_forward_pre_hook(lambda _, given: seen.append(given[0].shape))
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
        masks = predictor(peers.as_input(peer, torch.rand(2, 3, picture, picture)))
    assert seen == [(1, 3, side, side)]
    assert masks.shape == (3, picture, picture)
    assert sum(parameter.numel() for parameter in predictor.parameters()) == 38_962_498


def test_inputs_are_what_each_network_wants():
    grey = torch.rand(2, 3, 8, 8)
    assert peers.as_input(None, grey).shape == (2, 3, 8, 8)
    basic = next(peer for peer in peers.PEERS if peer.name == "BasicUNet")
    own = peers.as_input(basic, grey)
    assert own.shape == (2, 1, 8, 8)
    assert (own.mean(), own.std()) == (pytest.approx(0, abs=1e-5), pytest.approx(1, abs=1e-5))


def test_rows_are_those_of_the_issue():
    rows = list(all_rows(torch.device("cpu")))
    names = [one.name for one in rows]
    assert len(set(names)) == len(names)
    ours = {(r.network, r.side, r.variant, r.form, r.best) for r in rows if not r.peer}
    for network, sides in (("nano", (256, 512)), ("tiny", (224, 256, 512))):
        for side in sides:
            for best in (False, True):
                assert (network, side, "bare", "exported", best) in ours
                for method in METHODS:
                    assert {(network, side, method, form, best) for form in ("training", "exported")} <= ours
    assert len(ours) == 2 * 5 * (1 + 2 * len(METHODS))
    others = {(r.network, r.side, r.best) for r in rows if r.peer}
    assert {(name, side) for name, side, _ in others} == {
        ("SAM2ImagePredictor", 256), ("MedSAM2", 512),
        *((name, side) for name in ("nnU-Net 2-D", "BasicUNet") for side in (224, 256, 512)),
    }  # fmt: skip
    assert {r.arithmetic for r in rows if r.network == "SAM2ImagePredictor"} >= {"fp32"}


@pytest.mark.parametrize("variant", [networks.BARE, *METHODS])
def test_exported_rows_are_what_predicts(variant, small_base):
    """The form that a loaded model has, of the network that the row of the training form has."""
    predicting = networks.build("small-test", variant, "exported")
    assert isinstance(predicting, InferenceNetwork)
    if variant != networks.BARE:
        images = torch.rand(1, 3, 64, 64)
        with torch.inference_mode():
            trained = networks.build("small-test", variant, "training")(images)
            assert torch.allclose(predicting(images), trained, atol=1e-4)
        assert trained.std() > 1e-3


@pytest.fixture
def small_benchmark(small_base, monkeypatch):
    """The benchmark of networks on a small base and one small peer."""
    basic = next(peer for peer in peers.PEERS if peer.name == "BasicUNet")
    small = peers.Peer(basic.name, "small", (32,), ("bf16",), basic.package, basic.project, basic.build)
    monkeypatch.setattr(candidates, "BASES", ("small-test",))
    monkeypatch.setattr(candidates, "SIDES", (32, 64))
    monkeypatch.setattr(candidates, "BATCHES", (1, 2))
    monkeypatch.setattr(peers, "PEERS", (small,))
    monkeypatch.setattr(network_section, "PRODUCT", 64)
    monkeypatch.setattr(material, "CT_SIZE", (64, 48, 6))


def test_quick_run_has_every_row(small_benchmark, tmp_path, capsys):
    files = {"--json": tmp_path / "speed.json", "--markdown": tmp_path / "speed.md"}
    arguments = [str(part) for pair in files.items() for part in pair]
    assert main(["benchmark", "speed", "--sections", "network", "--quick", *arguments]) == 0
    found, text = json.loads(files["--json"].read_text("utf-8")), files["--markdown"].read_text("utf-8")
    assert capsys.readouterr().out.strip() == text.strip()
    section = found["network"]
    assert [one["name"] for one in section["rows"]] == [one.name for one in all_rows(torch.device("cpu"))]
    for one in section["rows"]:
        assert len(one["rounds"]) == found["rounds"] == 1
        assert one["seconds"] > 0 < one["gmac"]
        assert one["batch"] in ((1, 2) if one["best"] else (1,))
        words = " ".join(filter(None, (one["network"], one["variant"], one["form"], one["arithmetic"])))
        assert f"| {words} | {one['side']} |" in text
    assert section["products"].keys() == {"bf16", "fp32"}
    assert "BasicUNet: small." in text
    assert found["machine"]["threads"] == torch.get_num_threads()


def test_profile_says_what_the_time_goes_into(small_benchmark):
    found = profile_section.measure(Context(quick=True, rounds=1))
    assert [(one["name"].split()[:3], one["side"], one["batch"]) for one in found["rows"]] == [
        (["small-test", "dual-lw", "exported"], side, 2) for side in (32, 64)
    ]
    for one in found["rows"]:
        assert sum(one["operators"].values()) == pytest.approx(1)
        *shares, others = one["operators"].values()
        assert shares == sorted(shares, reverse=True)
        assert 0 < others < 1
        assert any("conv" in name for name in one["operators"])


def test_only_leaves_the_rows_that_fit(small_benchmark):
    found = network_section.measure(Context(only="small-test (bare|lora) exported .* 32 batch 1", rounds=1, quick=True))
    assert [one["variant"] for one in found["rows"]] == ["bare", "lora"]
    assert found["batches"] == {} == found["peers"]


def test_best_batch_is_the_fastest_one(small_benchmark, monkeypatch):
    def measured(own, *_) -> dict:
        return {one.row: [1.0 if one.units == 2 else 2.0] for one in own}

    monkeypatch.setattr(network_section, "interleaved", measured)
    monkeypatch.setattr(network_section, "_product", lambda name, device: Candidate(f"product {name}", "", 1, print))
    found = network_section.measure(Context(only="BasicUNet"))
    assert {(one["best"], one["batch"], one["seconds"]) for one in found["rows"]} == {(False, 1, 2.0), (True, 2, 1.0)}
    assert found["batches"] == {
        f"BasicUNet 32 {found['rows'][0]['arithmetic']}": {"best": 2, "seconds": {1: 2.0, 2: 1.0}}
    }


def test_a_missing_network_of_others_is_named_before_the_work(monkeypatch, capsys):
    there = peers.importlib.util.find_spec
    missing = "dynamic_network_architectures"
    monkeypatch.setattr(peers.importlib.util, "find_spec", lambda name: None if name == missing else there(name))
    assert main(["benchmark", "speed", "--sections", "network", "--only", "nnU-Net"]) == 2
    words = capsys.readouterr().err
    assert "nnU-Net 2-D, which the benchmark compares with, is not installed." in words
    assert 'pip install "sam2adapt[benchmarks]"' in words
    assert "pip install dynamic-network-architectures" in words


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--sections", "network,speed"], "no section 'speed'"),
        (["--sections", ","], "No section"),
        (["--only", "("], "no regular expression"),
        (["--only", "no such row", "--sections", "network"], "No row"),
        (["--rounds", "0"], "Less than one"),
        (["--threads", "0"], "Less than one"),
        (["--json", "/no/such/folder/speed.json"], "does not exist"),
        (["--markdown", "/no/such/folder/speed.md"], "does not exist"),
    ],
)
def test_what_cannot_be_measured_is_refused_at_once(arguments, sentence, capsys):
    assert main(["benchmark", "speed", *arguments]) == 2
    assert sentence in capsys.readouterr().err


def test_made_up_ct_is_always_the_same_and_looks_like_one():
    one, other = (material.made_up((48, 40, 8), (1.0, 1.0, 3.0)) for _ in range(2))
    assert (one.array == other.array).all()
    assert one.size == (48, 40, 8)
    assert one.array.min() < -900 < 300 < one.array.max()


def test_long_volumes_are_the_same_slices_again():
    volume = material.made_up((16, 12, 3), (1.0, 1.0, 3.0))
    long = material.repeated(volume, 7)
    assert long.size == (16, 12, 7)
    assert (long.array[:, 5] == volume.array[:, 2]).all()


def test_slices_are_square_and_have_their_neighbours():
    grey = material.grey_slices(material.made_up((40, 30, 9), (1.0, 1.0, 3.0)), 32, 4)
    assert grey.shape == (4, 3, 32, 32)
    assert 0 <= grey.min() < grey.max() <= 1
    assert torch.equal(grey[0, 2], grey[1, 1])


def test_a_data_folder_that_lacks_a_volume_is_named(tmp_path):
    with pytest.raises(InputFileError, match=r"lacks .*chaos_ct"):
        material.ct_volume(tmp_path)


@pytest.mark.skipif(not memory.KNOWN, reason="only Linux tells what a process holds")
def test_peak_is_what_a_call_needs():
    def call(size: int) -> None:
        bytearray(size)

    call(300_000_000)  # an earlier peak does not count
    assert 49e6 < memory.peak_of(lambda: call(50_000_000)) < 90e6


def test_machine_is_described():
    found = machine.describe(torch.device("cpu"))
    assert found["software"]["torch"] == torch.__version__.partition("+")[0]
    assert found["processor"] and found["threads"] >= 1


def test_a_network_that_is_not_measured_is_an_error():
    with pytest.raises(SettingsError, match="No row"):
        network_section.chosen_rows(Context(only="^large"))


def test_report_marks_what_falls_short():
    result = {"network": network_result(1.16, 0.4, 1.0), "rounds": 3, "minutes": 1.0}
    result["machine"] = machine.describe(torch.device("cpu")) | {"load_after": 0.5}
    result["targets"] = [target.to_json() for target in targets(result)]
    lines = markdown(result).splitlines()
    assert "| tiny dual-lw at 256 | costs at most 5% over the bare base | 16.0% | **falls short** |" in lines
    assert "| tiny dual-hp at 256 | costs at most 15% over the bare base | 0.0% | holds |" in lines
    assert "| tiny dual-lw at 256 | at least 40 times faster a slice than SAM2ImagePredictor in bf16 | 37.9x | **falls short** |" in lines  # fmt: skip  # noqa: E501


def test_row_names_are_plain_words():
    assert Row("tiny", 256, "bf16", "dual-lw", "exported", True).name == "tiny dual-lw exported bf16 256 best batch"
    assert Row("MedSAM2", 512, "fp32").name == "MedSAM2 fp32 512 batch 1"
