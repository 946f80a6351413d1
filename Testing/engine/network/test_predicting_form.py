"""The form that predicts says what the plain form says: in float32 up to rounding, in half precision as exactly."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from adapted import images, moved, tiny_base, tiny_network
from drawn_phantom import dice
from sam2adapt.adapters import METHODS, create
from sam2adapt.imaging.volume import Volume, read_volume
from sam2adapt.machine.device import autocast_dtype
from sam2adapt.network.network import SegmentationNetwork
from sam2adapt.network.predicting import ops as inference_ops
from sam2adapt.network.predicting.network import InferenceNetwork
from sam2adapt.network.predicting.ops import Linear
from sam2adapt.network.prompts import Prompts
from sam2adapt.network.weights import random_base
from sam2adapt.network.windows import window_ranges
from sam2adapt.segmenting.model import exported, load_model
from sam2adapt.segmenting.predict import Options, segment
from sam2adapt.shared.files import bundled_folder

NEEDS_BF16 = pytest.mark.skipif(
    autocast_dtype(torch.device("cpu")) is None,
    reason="needs a processor with bf16 instructions: on others the engine computes in float32, and bfloat16 is slow",
)
VARIANTS = {
    **{name: (name, {}) for name in METHODS},
    "dense": ("dual-lw", {"dense": True, "blocks": "stage3+"}),
    "dense-hp": ("dual-hp", {"dense": True}),
    "no norm": ("dual-lw", {"norm": "none"}),
    "all of lora": ("lora", {"encoder": ["qkv", "proj", "mlp"], "decoder": ["attn", "mlp"], "quality": 0.1}),
    "all together": ("combined", {"parts": ["dual-lw", "balr"]}),
    "high pass": ("detail", {"high_pass": True}),
    "refined": ("combined", {"parts": ["dual-lw", "detail", "refine"]}),
    "refined fully": ("refine", {"stride": 1}),
}


def both(network: SegmentationNetwork, method) -> tuple[SegmentationNetwork, InferenceNetwork]:
    """The plain exported form and the one that predicts, of the same network."""
    form = exported(network, method)
    return form.plain, form


def whole(base_id: str, name: str = "dual-lw", classes: int = 3, **settings):
    """Both forms of a network with the windows of a real base, random weights, and random adapters."""
    network = SegmentationNetwork(random_base(base_id)[0], classes, **settings)
    method = create(name)
    method.apply(network)
    return both(moved(network, amount=0.05), method)


def assert_close(found: torch.Tensor, expected: torch.Tensor) -> None:
    assert expected.std() > 0.01, "the reference must show something"
    torch.testing.assert_close(found, expected, atol=2e-5 * expected.abs().max().item(), rtol=0)


@pytest.mark.parametrize("size", [(64, 64), (250, 130)], ids=str)
@pytest.mark.parametrize("variant", VARIANTS)
def test_every_method(variant, size):
    name, settings = VARIANTS[variant]
    method = create(name, settings)
    plain, form = both(moved(tiny_network(method), amount=0.05), method)
    with torch.no_grad():
        assert_close(form(images(*size, batch=2)), plain(images(*size, batch=2)))


@pytest.mark.parametrize("classes", [1, 2, 5])
@pytest.mark.parametrize("peg", ["add", "replace", "none"])
def test_classes_and_position_encodings(classes, peg):
    network = moved(SegmentationNetwork(tiny_base(), classes, peg=peg, train_upscaling=True))
    plain, form = both(network, create("head"))
    for batch in (1, 3):
        with torch.no_grad():
            assert_close(form(images(96, 40, batch=batch)), plain(images(96, 40, batch=batch)))


@pytest.mark.parametrize("size", [(224, 96), (256, 64), (130, 250), (33, 300)], ids=str)
@pytest.mark.parametrize("base_id", ["nano", "tiny"])
def test_windows_of_real_bases(base_id, size):
    plain, form = whole(base_id)
    with torch.no_grad():
        assert_close(form(images(*size)), plain(images(*size)))


def test_global_attention_with_many_positions():
    plain, form = whole("nano", "head")
    with torch.no_grad():
        assert_close(form(images(384, 352)), plain(images(384, 352)))


@pytest.mark.parametrize(("size", "window"), [(14, 14), (16, 14), (13, 14), (42, 14), (7, 8), (64, 8)])
def test_windows_cover_everything_once(size, window):
    covered = [n for start, stop, length in window_ranges(size, window) for n in range(start, stop)]
    assert covered == list(range(size))
    assert all((stop - start) % length == 0 and length <= window for start, stop, length in window_ranges(size, window))


@pytest.mark.parametrize(
    ("base_id", "name"), [("tiny", "dual-lw"), ("nano", "head"), ("nano", "dual-hp"), ("nano", "balr")]
)
def test_half_precision_is_as_exact_as_the_plain_forms(base_id, name):
    plain, form = whole(base_id, name)
    x = images(256, 64, batch=2)
    with torch.no_grad():
        expected = plain(x)
        with torch.autocast("cpu", torch.bfloat16):
            errors = [(network(x) - expected).abs().mean() for network in (form, plain)]
    assert 0 < errors[0] <= 1.1 * errors[1] < 0.02 * expected.std()


@pytest.mark.parametrize("activation", ["none", "gelu", "relu"])
@pytest.mark.parametrize("inputs", [16, 512])
def test_prepared_layer(inputs, activation):
    generator = torch.Generator().manual_seed(0)
    shapes = (24, inputs), (24,), (2, 5, inputs)
    weight, bias, x = (torch.randn(shape, generator=generator) for shape in shapes)
    weight *= (16 / inputs) ** 0.5
    expected = {"none": lambda y: y, "gelu": torch.nn.functional.gelu, "relu": torch.relu}[activation](
        torch.nn.functional.linear(x, weight, bias)
    )
    for dtype, tolerance in ((torch.float32, 1e-5), (torch.bfloat16, 0.1)):
        found = Linear(weight, bias, dtype, activation)(x)
        assert found.dtype == dtype
        torch.testing.assert_close(found.float(), expected, atol=tolerance, rtol=0)


@pytest.mark.parametrize("inputs", [448, 449, 512, 1536])
def test_a_long_sum_is_not_shared_among_threads(inputs):
    """oneDNN does so for linear layers on processors with AMX, and rounds the parts."""
    generator = torch.Generator().manual_seed(0)
    threads = torch.get_num_threads()
    for tokens, outputs in ((64, 128), (128, 256), (336, 192), (8, 1536)):
        weight, x = (torch.randn(shape, generator=generator) for shape in ((outputs, inputs), (tokens, inputs)))
        layer, found = Linear(weight, None, torch.bfloat16), []
        try:
            for count in (1, 2, 3, 4):
                torch.set_num_threads(count)
                found.append(layer(x))
        finally:
            torch.set_num_threads(threads)
        assert all(torch.equal(result, found[0]) for result in found)
        exact = x.bfloat16().double() @ weight.bfloat16().double().T
        torch.testing.assert_close(found[0].double(), exact, atol=0.01, rtol=2**-8)


def test_a_pytorch_without_these_operators_does_without(monkeypatch):
    """They are not part of PyTorch's documented interface."""
    generator = torch.Generator().manual_seed(0)
    weight, bias, x = (torch.randn(shape, generator=generator) for shape in ((24, 16), (24,), (2, 5, 16)))
    arguments = weight, bias, torch.bfloat16, "gelu"
    expected = Linear(*arguments)(x)
    monkeypatch.setattr(inference_ops, "_ONEDNN", ("an_operator_of_another_version",))
    plain = Linear(*arguments)
    assert not plain.packed
    torch.testing.assert_close(plain(x), expected, atol=0.1, rtol=0)


@pytest.mark.parametrize("offset", [0, 100])
def test_group_norm_is_pytorchs(offset):
    generator = torch.Generator().manual_seed(0)
    norm = torch.nn.GroupNorm(4, 12)
    torch.nn.init.uniform_(norm.weight, 0.5, 2)
    torch.nn.init.uniform_(norm.bias, -1, 1)
    x = offset + torch.randn(3, 12, 9, 7, generator=generator).to(memory_format=torch.channels_last)
    with torch.no_grad():
        expected = norm.double()(x.double()).float()
        found = inference_ops.GroupNorm(norm.float())(x)
    assert found.is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(found, expected, atol=2e-4 if offset else 5e-6, rtol=0)


def test_an_image_does_not_depend_on_its_neighbours():
    _, form = whole("nano")
    x = images(128, 96, batch=3)
    with torch.no_grad():
        torch.testing.assert_close(form(x)[1:2], form(x[1:2]), atol=1e-5, rtol=0)


def test_form_follows_precision_and_moves():
    """As when prediction goes on with the CPU after the GPU's memory ran out."""
    method = create("dual-lw")
    plain, form = both(moved(tiny_network(method)), method)
    x = images()
    with torch.no_grad():
        first = form(x)
        with torch.autocast("cpu", torch.bfloat16):
            assert not torch.equal(form(x), first)
        assert torch.equal(form(x), first)
        form.to(torch.float64).to(torch.float32)
        plain.head.weight += 1
        moved_away = form(x)
        assert torch.equal(moved_away, form(x)) and not torch.equal(moved_away, first)
        assert_close(moved_away, plain(x))


@pytest.mark.parametrize("half", [False, pytest.param(True, marks=NEEDS_BF16)])
@pytest.mark.parametrize(("name", "classes"), [("dual-lw", 2), ("dual-hp", 3), ("lora", 4), ("balr", 3)])
def test_result_does_not_depend_on_the_number_of_threads(name, classes, half):
    """Processes that share the cores have fewer each, and must say the same: in float32 up to rounding.

    There one or three images differ by 2e-7 of a logit, eight do not.
    """
    _, form = whole("nano", name, classes=classes)
    threads, found = torch.get_num_threads(), []
    try:
        for count in (1, 2):
            torch.set_num_threads(count)
            with torch.no_grad(), torch.autocast("cpu", torch.bfloat16, enabled=half):
                found.append(form(images(224, 192, batch=3)))
    finally:
        torch.set_num_threads(threads)
    if half:
        assert torch.equal(*found)
    assert_close(*found)


def test_form_is_made_once():
    method = create("head")
    _, form = both(tiny_network(method), method)
    with torch.inference_mode():
        form(images())
        made = form._form
        form(images(32, 96, batch=2))
    assert form._form is made
    with torch.no_grad():
        assert form(images()).isfinite().all()


def test_prompts_take_the_plain_way():
    method = create("lora", {"prompts": 0.5})
    plain, form = both(moved(tiny_network(method)), method)
    prompts = [Prompts(points=((20, 30, 2),)), Prompts()]
    with torch.no_grad():
        assert torch.equal(form(images(batch=2), prompts), plain(images(batch=2), prompts))
        assert_close(form(images(batch=2), [Prompts(), Prompts()]), plain(images(batch=2)))


def test_training_mode_changes_nothing():
    method = create("lora")
    _, form = both(moved(tiny_network(method)), method)
    with torch.no_grad():
        expected = form(images())
        assert torch.equal(form.train()(images()), expected)
    assert form.training and not form.plain.training and not form.eval().training


@pytest.fixture
def both_labels():
    """Give a function: labels (K, J, I) of a volume by the bundled model as it predicts, and by its plain form."""
    model = load_model(bundled_folder() / "torso-ct.safetensors")

    def segment_twice(volume: Volume) -> tuple[np.ndarray, np.ndarray]:
        found = []
        for network in (model.network, model.network.plain):
            model.network = network
            found.append(segment(volume, model, Options(any_modality=True)).labels.array[0])
        return tuple(found)

    return segment_twice


def test_dice_on_a_real_image_stays(both_labels):
    slicerio = pytest.importorskip("slicerio")
    volume = read_volume(slicerio.get_testdata_file("CTChest4.nrrd"))
    truth = read_volume(slicerio.get_testdata_file("Segmentation.seg.nrrd")).array[0]
    found, expected = both_labels(volume)
    for label, value in ((1, 5), (2, 6)):  # right and left lung
        before, after = (dice(labels == label, truth == value) for labels in (expected, found))
        assert before > 0.9 and abs(after - before) < 0.001


def test_labels_on_a_real_image_stay(both_labels, data_path):
    volume = read_volume(data_path / "ct_sample" / "chaos_ct" / "image.nii.gz")
    found, expected = both_labels(replace(volume, array=volume.array[:, 66:74]))
    for label in (1, 2):
        assert (expected == label).sum() > 1000
        assert dice(found == label, expected == label) > 0.999
