"""The network against Meta's own predictor, at any size, and every kind of base file that must not load."""

import functools

import numpy as np
import pytest
import torch
from conftest import SMALL, shake
from hypothesis import given, settings
from hypothesis import strategies as st
from methods.claims import FULL_PARAMETERS
from sam2.build_sam import build_sam2
from sam2.modeling.sam.transformer import TwoWayTransformer
from sam2.sam2_image_predictor import SAM2ImagePredictor
from sam2adapt.modelfiles.bases import file_sha256
from sam2adapt.network.attention import share_token_weight, use_key_bias
from sam2adapt.network.base import CONFIGS, AnySizeHiera, ImagePath, pad_to_stride
from sam2adapt.network.network import SegmentationNetwork, parameter_counts
from sam2adapt.network.prompts import Prompts, PromptTokens
from sam2adapt.network.weights import load_base, random_base, write_base
from sam2adapt.segmenting.slices import normalise
from sam2adapt.shared.errors import ChecksumError, InputFileError, ModelFileError, SettingsError, WeightsMissingError
from sam2adapt.shared.known_bases import BASES, BaseInfo
from torch.nn import functional as F

YAML = {"tiny": "t", "small": "s", "base_plus": "b+", "large": "l"}
# models.md 1.1, "used in image mode": trunk, neck, prompt encoder, mask decoder and no_mem_embed.
IMAGE_MODE = {"tiny": 31_440_721, "small": 38_538_577, "base_plus": 73_328_401, "large": 216_924_865}


def official(base_id: str, device: str = "cpu"):
    """Meta's own network of a configuration, built by the sam2 package."""
    config = f"configs/sam2.1/sam2.1_hiera_{YAML[base_id]}.yaml"
    return build_sam2(config, ckpt_path=None, device=device, apply_postprocessing=False)


@pytest.fixture
def no_weights(monkeypatch):
    """Networks get shapes but no numbers; only the trunk's drop path rates, which are read back, are real."""
    monkeypatch.setattr(torch, "linspace", functools.partial(torch.linspace, device="cpu"))
    with torch.device("meta"):
        yield


@pytest.fixture(scope="module")
def tiny_predictor():
    """Meta's predictor of the tiny network with every parameter random, also those that start as zeros or ones."""
    torch.manual_seed(7)
    network = official("tiny")
    for parameter in network.parameters():
        if parameter.ndim == 1 or not parameter.detach().any():
            parameter.data += 0.05 * torch.randn_like(parameter)
    return SAM2ImagePredictor(network)


def register(monkeypatch, path, base_id: str) -> None:
    """Make a file pass for the published checkpoint of a base."""
    info = BaseInfo(base_id, path.name, path.stat().st_size, file_sha256(path), "https://example.org/", "Apache-2.0")
    monkeypatch.setitem(BASES, base_id, info)


def test_equals_the_official_predictor(tiny_predictor, home, monkeypatch):
    path = home / "bases" / "sam2.1_hiera_tiny.pt"
    torch.save({"model": tiny_predictor.model.state_dict()}, path)
    register(monkeypatch, path, "tiny")
    image = np.random.default_rng(0).integers(0, 256, (1024, 1024, 3), np.uint8)
    tiny_predictor.set_image(image)
    _, _, expected = tiny_predictor.predict(multimask_output=False, return_logits=True)
    assert np.ptp(expected) > 0.5, "the reference must show something"
    assert np.abs(expected).max() < 32, "the predictor clamps its logits at 32"

    base, identity = load_base("tiny")
    assert identity == {"id": "tiny", "sha256": file_sha256(path)}
    pixels = normalise(torch.from_numpy(image).permute(2, 0, 1)[None] / 255)
    with torch.inference_mode():
        features = None
        for classes in (1, 4):
            network = SegmentationNetwork(base, classes, peg="add").eval()
            features = features or network.base.features(pixels)  # of the trunk with its PEG at zero
            found = network.decode(*features).logits
            assert found.shape == (1, classes, 256, 256)
            assert np.abs(found.numpy() - expected[None]).max() <= 1e-5

    # Points and a box, too: what SAM2 knows as foreground is class 2 of 4 here.
    clicks, box = np.array([[300.0, 200.0], [700.0, 650.0]]), np.array([250.0, 120.0, 800.0, 640.0])
    _, _, prompted = tiny_predictor.predict(clicks, np.array([1, 0]), box, multimask_output=False, return_logits=True)
    assert np.abs(prompted - expected).max() > 0.01
    prompts = Prompts(points=((300, 200, 2), (700, 650, 0)), boxes=((250, 120, 800, 640, 2),))
    with torch.inference_mode():
        tokens = PromptTokens(4, 256)(base.sam_prompt_encoder, [prompts], (1024, 1024))
        found = network.decode(*features, prompts=tokens).logits
        assert np.abs(found.numpy() - prompted[None]).max() <= 1e-5


def test_key_bias_is_what_makes_equal_tokens_one(small_base):
    images = torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        one = SegmentationNetwork(small_base, 1).eval()(images)
        many = SegmentationNetwork(small_base, 6).eval()
        assert (many(images) - one).abs().max() <= 1e-5
        share_token_weight(small_base.sam_mask_decoder.transformer, 2, 1, 3)
        assert (many(images) - one).abs().max() > 1e-4


@given(st.integers(2, 9), st.integers(0, 3), st.integers(0, 3))
@settings(max_examples=20, deadline=None)
def test_key_bias_at_any_number_of_tokens(count, before, after):
    torch.manual_seed(count)
    transformer = use_key_bias(TwoWayTransformer(2, 16, 4, 32)).double().eval()
    image, positions = torch.randn(2, 1, 16, 3, 5, dtype=torch.float64)
    first, token, last = (torch.randn(1, n, 16, dtype=torch.float64) for n in (before, 1, after))
    share_token_weight(transformer, before, 1, after)
    alone, source = transformer(image, positions, torch.cat([first, token, last], 1))
    share_token_weight(transformer, before, count, after)
    copies, same = transformer(image, positions, torch.cat([first, token.repeat(1, count, 1), last], 1))
    torch.testing.assert_close(same, source)
    torch.testing.assert_close(copies[:, before : before + count], alone[:, before : before + 1].repeat(1, count, 1))


@pytest.mark.parametrize("peg", ["add", "replace", "none"])
@pytest.mark.parametrize("size", [(240, 240), (250, 330), (96, 544), (33, 47), (1, 1), (32, 7)])
def test_any_size(small_base, size, peg):
    network = SegmentationNetwork(small_base, 3, peg=peg).eval()
    shake(network)
    images = torch.randn(2, 3, *size, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        logits = network(images)
        assert logits.shape == (2, 3, *size)
        assert logits.isfinite().all()
        # An image's result must not depend on its neighbours in the batch (240 x 240 mixes them in plain SAM2).
        torch.testing.assert_close(network(images[1:]), logits[1:], atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("size", [(240, 240), (250, 330), (33, 47)])
def test_any_size_of_nano(size):
    network = SegmentationNetwork(random_base("nano")[0], 2).eval()
    with torch.inference_mode():
        logits = network(torch.randn(1, 3, *size, generator=torch.Generator().manual_seed(1)))
    assert logits.shape == (1, 2, *size)
    assert logits.isfinite().all()


def test_training_computes_what_evaluation_does(small_base):
    """In training on a CPU, windows at edges are not padded, and convolutions and enlarging are written otherwise."""
    network = SegmentationNetwork(small_base, 3, train_upscaling=True)
    shake(network)
    results = []
    for mode in (False, True):
        images = torch.randn(2, 3, 40, 90, generator=torch.Generator().manual_seed(1))
        logits = network.train(mode)(images.requires_grad_())
        network.zero_grad()
        (logits * torch.linspace(-1, 2, logits.numel()).view_as(logits)).sum().backward()
        results.append([logits, images.grad, *(p.grad for p in network.parameters() if p.requires_grad)])
    assert all(found.detach().abs().max() > 1e-3 for found in results[0][:2])
    for found, expected in zip(*results, strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-4 * expected.abs().max().item())


def test_padding_repeats_the_last_row_and_column():
    images = torch.arange(30.0).view(1, 1, 5, 6)
    padded = pad_to_stride(images)
    assert padded.shape == (1, 1, 32, 32)
    assert torch.equal(padded[..., :5, :6], images)
    assert (padded[..., 5:, :6] == images[..., 4:, :]).all()
    assert (padded[..., 6:] == padded[..., 5:6]).all()
    assert pad_to_stride(padded) is padded


def test_padding_is_cut_off_exactly_and_hardly_matters(small_base):
    network = SegmentationNetwork(small_base, 3).eval()
    shake(network, amount=0.1)
    generator = torch.Generator().manual_seed(4)
    images = F.interpolate(torch.randn(2, 3, 8, 8, generator=generator), size=(64, 64), mode="bicubic")
    with torch.inference_mode():
        assert torch.equal(network(images[..., :50, :40]), network(pad_to_stride(images[..., :50, :40]))[..., :50, :40])
        whole, wider = network(images), network(F.pad(images, (0, 32, 0, 32), mode="replicate"))[..., :64, :64]
    assert (whole - wider).abs().mean() < 0.2 * whole.std()


@pytest.mark.parametrize("size", [(8, 8), (64, 64), (16, 40)])
def test_position_embedding_equals_the_original_where_that_works(small_base, size):
    trunk = small_base.image_encoder.trunk
    original = super(AnySizeHiera, trunk)._get_pos_embed(size)
    assert torch.equal(trunk._get_pos_embed(size), original)


def test_position_embedding_is_cropped_where_the_original_fails(small_base):
    trunk = small_base.image_encoder.trunk
    with pytest.raises(RuntimeError):
        super(AnySizeHiera, trunk)._get_pos_embed((12, 20))
    embedding = trunk._get_pos_embed((12, 20)) - torch.nn.functional.interpolate(
        trunk.pos_embed, size=(12, 20), mode="bicubic"
    ).permute(0, 2, 3, 1)
    window = trunk.pos_embed_window.permute(0, 2, 3, 1)
    for row, column in ((0, 0), (8, 16), (11, 19), (7, 8)):
        torch.testing.assert_close(embedding[0, row, column], window[0, row % 8, column % 8])


@pytest.mark.parametrize("base_id", YAML)
def test_official_layout_loads_strictly(base_id, no_weights):
    from sam2adapt.network.weights import _MEMORY

    whole, image_path = official(base_id, "meta"), ImagePath(CONFIGS[base_id])
    assert sum(p.numel() for p in whole.parameters()) == FULL_PARAMETERS[base_id]
    assert sum(p.numel() for p in image_path.parameters()) == IMAGE_MODE[base_id]
    kept = {name: t for name, t in whole.state_dict().items() if not name.startswith(_MEMORY)}
    image_path.load_state_dict(kept, strict=True)
    own = {name: tuple(t.shape) for name, t in image_path.state_dict().items()}
    assert own == {name: tuple(t.shape) for name, t in kept.items()}
    for name in ("stage_ends", "q_pool_blocks"):
        assert getattr(image_path.image_encoder.trunk, name) == getattr(whole.image_encoder.trunk, name)
    windows = [[block.window_size for block in n.image_encoder.trunk.blocks] for n in (image_path, whole)]
    assert windows[0] == windows[1]


def test_nano_is_small():
    assert 2_000_000 <= sum(p.numel() for p in random_base("nano")[0].parameters()) <= 8_000_000


def test_only_head_and_peg_are_trained(no_weights):
    network = SegmentationNetwork(ImagePath(CONFIGS["tiny"]), 4, peg="none")
    assert parameter_counts(network) == {"total": IMAGE_MODE["tiny"] + 33_920, "trained": 33_920}
    network = SegmentationNetwork(ImagePath(CONFIGS["tiny"]), 1, peg="add")
    assert parameter_counts(network)["trained"] == 8_480 + 10 * 96 + 10 * 256
    trained = network.trained_state()
    assert {name.split(".")[0] for name in trained} == {"head", "decoder_peg", "base"}
    assert all("peg" in name or name.startswith("head.") for name in trained)


def test_train_upscaling_belongs_to_what_is_stored(small_base):
    network = SegmentationNetwork(small_base, 2, train_upscaling=True)
    stored = {name for name in network.trained_state() if ".output_upscaling." in name or ".conv_s" in name}
    decoder = small_base.sam_mask_decoder
    modules = (decoder.output_upscaling, decoder.conv_s0, decoder.conv_s1)
    assert len(stored) == sum(len(list(m.parameters())) for m in modules)


def test_trained_state_brings_the_output_back(small_base):
    network = SegmentationNetwork(small_base, 3, train_upscaling=True).eval()
    shake(network)
    network.base.sam_mask_decoder.conv_s0.weight.data += 0.1
    images = torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(2))
    other = SegmentationNetwork(random_base("small-test", seed=5)[0], 3, train_upscaling=True).eval()
    with torch.inference_mode():
        assert not torch.equal(other(images), network(images))
        other.load_trained_state({name: tensor.clone() for name, tensor in network.trained_state().items()})
        assert torch.equal(other(images), network(images))


@pytest.mark.parametrize("change", ["missing", "extra", "shape"])
def test_tensors_that_do_not_fit_are_refused(small_base, change):
    network = SegmentationNetwork(small_base, 3)
    tensors = dict(network.trained_state())
    if change == "missing":
        del tensors["head.bias"]
    elif change == "extra":
        tensors["head.more"] = torch.zeros(1)
    else:
        tensors["head.bias"] = tensors["head.bias"][:2]
    with pytest.raises(ModelFileError, match=r"head\."):
        network.load_trained_state(tensors)


def test_unknown_peg_is_refused(small_base):
    with pytest.raises(SettingsError, match="rope"):
        SegmentationNetwork(small_base, 2, peg="rope")


def test_base_file_of_ours_comes_back_as_float16(nano_base):
    base, identity = load_base("nano", file_sha256(nano_base))
    assert identity == {"id": "nano", "sha256": file_sha256(nano_base)}
    original = random_base("nano", seed=11)[0].state_dict()
    for name, tensor in base.state_dict().items():
        assert tensor.dtype == torch.float32
        assert torch.equal(tensor, original[name].half().float())


def test_random_base_leaves_the_random_numbers_alone():
    torch.manual_seed(3)
    expected = torch.rand(4)
    torch.manual_seed(3)
    first, again, other = (random_base("nano", seed)[1]["sha256"] for seed in (1, 1, 2))
    assert torch.equal(torch.rand(4), expected)
    assert first == again != other


def checkpoint(path, monkeypatch, change) -> None:
    """Write a small official-looking checkpoint with a changed state and make it pass for ``tiny``."""
    monkeypatch.setitem(CONFIGS, "tiny", SMALL)
    state = ImagePath(SMALL).state_dict()
    change(state)
    torch.save({"model": state}, path)
    register(monkeypatch, path, "tiny")


def test_memory_modules_of_a_checkpoint_are_dropped(home, monkeypatch):
    def add_memory(state):
        state["memory_attention.layers.0.norm1.weight"] = state["maskmem_tpos_enc"] = torch.ones(3)

    checkpoint(home / "bases" / "sam2.1_hiera_tiny.pt", monkeypatch, add_memory)
    assert load_base("tiny")[1]["id"] == "tiny"


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (lambda state: state.pop("image_encoder.trunk.pos_embed"), "image_encoder.trunk.pos_embed"),
        (lambda state: state.update(strange=torch.ones(2)), "strange"),
        (lambda state: state.update(no_mem_embed=torch.ones(2)), "no_mem_embed"),
    ],
    ids=["missing", "extra", "shape"],
)
def test_checkpoint_with_other_tensors_is_refused(home, monkeypatch, change, named):
    checkpoint(home / "bases" / "sam2.1_hiera_tiny.pt", monkeypatch, change)
    with pytest.raises(ModelFileError, match=named) as caught:
        load_base("tiny")
    assert "\n" not in caught.value.message


def test_own_base_file_with_other_tensors_is_refused(home, small_base):
    path = home / "bases" / "small-test.safetensors"
    small_base.extra = torch.nn.Linear(2, 2)
    write_base(path, "small-test", small_base, {})
    with pytest.raises(ModelFileError, match="extra"):
        load_base(str(path))


def test_own_base_file_of_a_newer_kind_is_refused(home, small_base):
    path = home / "bases" / "micro.safetensors"
    write_base(path, "micro", small_base, {})
    with pytest.raises(ModelFileError, match="micro"):
        load_base(str(path))


def test_truncated_checkpoint_is_refused(home, monkeypatch):
    path = home / "bases" / "sam2.1_hiera_tiny.pt"
    checkpoint(path, monkeypatch, lambda state: None)
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(ChecksumError, match=r"of \d+ bytes") as caught:
        load_base("tiny")
    assert (caught.value.setting, caught.value.value) == (("download_base",), "tiny")


def test_truncated_base_file_of_ours_is_refused(nano_base):
    nano_base.write_bytes(nano_base.read_bytes()[:-100])
    with pytest.raises(ModelFileError, match="cut off"):
        load_base(str(nano_base))


class Malicious:
    """Runs code when unpickled."""

    def __init__(self, mark):
        self.mark = mark

    def __reduce__(self):
        return (type(self.mark).touch, (self.mark,))


@pytest.mark.parametrize("name", ["theirs.pt", "sam2.1_hiera_tiny.pt", "disguised.safetensors"])
def test_foreign_pickle_is_never_unpickled(home, tmp_path, name):
    mark = tmp_path / "executed"
    path = home / "bases" / name
    torch.save({"model": Malicious(mark)}, path)
    with pytest.raises((ChecksumError, ModelFileError)):
        load_base(str(path))
    assert not mark.exists()


def test_base_that_a_model_was_not_trained_on_is_refused(nano_base):
    with pytest.raises(ModelFileError, match="b" * 64):
        load_base(str(nano_base), "b" * 64)


@pytest.mark.parametrize("base_id", YAML)
def test_missing_weights_are_described(home, base_id):
    with pytest.raises(WeightsMissingError) as caught:
        load_base(base_id)
    info = BASES[base_id]
    assert info.file in caught.value.message
    assert f"{info.bytes / 1e6:.0f} MB" in caught.value.message
    assert info.url in caught.value.remedy
    assert (caught.value.setting, caught.value.value) == (("download_base",), base_id)


def test_missing_base_file_is_described(home):
    with pytest.raises(InputFileError, match=r"none\.safetensors"):
        load_base(str(home / "none.safetensors"))
