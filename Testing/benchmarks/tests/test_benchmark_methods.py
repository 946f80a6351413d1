"""``benchmark methods``: what it counts is right, and its verdicts follow from what was counted."""

import json

import pytest
import torch
from adapted import images, tiny_network
from methods import claims as benchmark
from methods import multiplications
from methods.decoder_memory import DecoderMemory, Kept, decoder_memory
from methods.multiplications import Cost, MeasuredMethod, measure
from sam2adapt.adapters import METHODS, create
from sam2adapt.adapters.sizes import Form, shapes_only
from sam2adapt.cli.app import main
from sam2adapt.modelfiles.card import read_card, read_header
from sam2adapt.modelfiles.summary import describe_card
from sam2adapt.shared.files import bundled_folder
from torch.utils.flop_counter import FlopCounterMode
from torchvision.ops import DeformConv2d


# models.md 1.4, whose counter leaves out the products inside attentions as the published figures do.
@pytest.mark.parametrize(
    ("base", "counts"),
    [("tiny", {224: 4.93, 256: 8.22, 512: 28.16}), ("base_plus", {224: 12.28}), ("large", {256: 50.74})],
)
def test_computation_is_that_of_models_md(base, counts):
    costs = measure(base, create("head"), classes=1, image_sizes=counts, peg="none").costs
    for side, gmac in counts.items():
        assert costs[side].gmac_without_attention == pytest.approx(gmac, rel=2e-3)
        assert costs[side].gmac > gmac


@pytest.mark.parametrize("method", ["dual-hp", "dual-lw"])
@pytest.mark.parametrize("base", ["tiny", "small", "base_plus"])
def test_dual_adapters_at_224_take_at_most_13_percent_of_every_comparator(base, method):
    """models.md 3, even with the products inside attentions, which the published figures leave out."""
    cost = measure(base, create(method), image_sizes=[224]).costs[224]
    assert all(cost.gmac <= 0.13 * published for published in benchmark.PUBLISHED_GMAC.values())


def test_products_inside_attentions_are_counted():
    """On the meta device attention falls apart into products that torch's counter knows."""
    network = shapes_only("tiny", create("head")).eval()
    with torch.no_grad(), torch.device("meta"), FlopCounterMode(display=False) as counter:
        network(torch.empty(1, 3, 224, 224))
    cost = measure("tiny", create("head"), image_sizes=[224]).costs[224]
    assert cost.gmac == pytest.approx(counter.get_total_flops() / 2e9, rel=1e-6)


@pytest.mark.parametrize(("groups", "kernel"), [(4, 4), (1, 16)])
def test_deformable_convolution_by_hand(groups, kernel):
    convolution = DeformConv2d(4, 4, 3, padding=1, groups=groups)
    with torch.no_grad(), FlopCounterMode(display=False, custom_mapping=multiplications._FORMULAS) as counter:
        convolution(torch.randn(2, 4, 5, 6), torch.zeros(2, 18, 5, 6), torch.ones(2, 9, 5, 6))
    # Nine points at 2 x 30 places: the kernel's products, and five for each of four samples.
    assert counter.get_total_flops() == 2 * 2 * 30 * 9 * (kernel + 20)


def test_forms_are_those_of_real_networks(small_base):
    """Tensors without numbers are merged and fused as real ones are."""
    for name in ("lora", "dual-lw", "dual-hp", "balr"):
        method = create(name)
        network = tiny_network(method)
        found = measure("small-test", method)
        assert found.training.parameters == sum(p.numel() for p in network.parameters())
        assert found.training.bytes == sum(4 * t.numel() for t in network.state_dict().values())
        assert found.file_bytes == sum(4 * t.numel() for t in network.trained_state().values())
        method.export(network)
        assert found.exported.parameters == sum(p.numel() for p in network.parameters())
        assert network(images()).shape == (1, 4, 64, 64)


def test_bundled_model_says_its_sizes():
    path = bundled_folder() / "torso-ct.safetensors"
    card, (_, tensors) = read_card(path), read_header(path)
    method = create(card["method"]["name"], card["method"]["settings"])
    found = measure(card["base"]["id"], method, len(card["classes"]) + 1, **card["network"])
    counts = {"total": found.training.parameters, "trained": found.trained, "exported": found.exported.parameters}
    assert card["training"]["parameters"] == counts
    text = "\n".join(describe_card(card, tensors))
    assert f"Training form:  {counts['total']:,} parameters" in text
    assert f"Exported form:  {counts['exported']:,} parameters" in text


def test_decoder_memory_by_hand():
    """Queries, keys, values, results and, for each of 8 heads and each query, one number of the softmax; float32."""
    tokens, pixels, heads = 9, 16 * 16, 8
    own = 4 * tokens * 256 + heads * tokens
    to_image = 2 * (tokens + pixels) * 128 + heads * tokens
    to_tokens = 2 * (tokens + pixels) * 128 + heads * pixels
    memory = decoder_memory(256)
    assert memory.frozen.attentions == memory.trained.attentions
    assert memory.trained.attentions == pytest.approx(4 * (2 * own + 3 * to_image + 2 * to_tokens), rel=0.01)
    assert memory.frozen.transformer < memory.low_rank.transformer < memory.trained.transformer


@pytest.mark.parametrize("side", [256, 1024])
def test_decoder_attentions_keep_at_least_75_percent_less(side):
    assert decoder_memory(side).saved >= 0.75
    assert decoder_memory(side, fraction=0.5).saved < 0.6


def made_up(trained: int, gmac: float, attentions: int) -> benchmark.Benchmark:
    """A benchmark of one base with equal numbers for all methods."""
    same = MeasuredMethod(trained, Form(40_000_000, 1), Form(1, 1), 1, {224: Cost(9e9, gmac)})
    found = dict.fromkeys(benchmark.VARIANTS, same)
    memory = DecoderMemory(Kept(100, 1), Kept(100, 1), Kept(attentions, 1))
    return benchmark.Benchmark({"tiny": found}, {256: memory})


def test_verdicts_follow_from_the_numbers():
    whole = benchmark.FULL_PARAMETERS["tiny"]
    for trained, gmac, attentions, expected in (
        (int(0.0184 * whole), 0.134 * 145.87, 25, {"holds"}),
        (int(0.0501 * whole), 0.136 * 386.48, 26, {"falls short"}),
    ):
        result = made_up(trained, gmac, attentions)
        assert {verdict.words for verdict in result.verdicts()} == expected
        assert {(v.method, v.claim[:4]) for v in result.verdicts()} == {
            ("lora", "less"), ("lora rank 64", "less"), ("balr", "1.8 "), ("dual-hp", "87 %"), ("dual-lw", "87 %"),
            ("balr", "75 %"),
        }  # fmt: skip
        of_full, of_image = result.shares("tiny", "lora")
        assert (of_full, of_image) == (trained / whole, trained / (40_000_000 - trained))


def test_command_prints_a_table_and_writes_json(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(benchmark, "IMAGE_SIZES", (224,))
    monkeypatch.setattr(benchmark, "MEMORY_SIZES", (256,))
    assert main(["benchmark", "methods", "--bases", "T", "--json", str(tmp_path / "methods.json")]) == 0
    text, found = capsys.readouterr().out, json.loads((tmp_path / "methods.json").read_text("utf-8"))
    assert "tiny: 31,440,721 parameters in image mode" in text
    assert found["bases"]["tiny"]["image_mode_parameters"] == 31_440_721
    assert found["bases"]["tiny"]["methods"].keys() == benchmark.VARIANTS.keys()
    verdicts = {(claim["method"], claim["claim"]): claim["verdict"] for claim in found["claims"]}
    assert verdicts["lora", "less than 5 % trained"] == "holds"
    assert verdicts["lora rank 64", "less than 5 % trained"] == "falls short"
    assert verdicts["balr", "1.8 % trained"] == "falls short"
    assert text.count("holds") + text.count("falls short") == len(found["claims"])
    assert found["published"]["gmac"] == benchmark.PUBLISHED_GMAC
    assert list(tmp_path.iterdir()) == [tmp_path / "methods.json"]


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [(["--bases", "T,XL"], "no base 'xl'"), (["--bases", ","], "No base"), ([], "does not exist")],
)
def test_what_cannot_be_measured_is_refused_at_once(arguments, sentence, tmp_path, capsys):
    assert main(["benchmark", "methods", "--json", str(tmp_path / "none" / "m.json"), *arguments]) == 2
    assert sentence in capsys.readouterr().err


def test_every_method_is_measured():
    assert {name for name, _ in benchmark.VARIANTS.values()} == set(METHODS)
