"""What the accuracy benchmark compares: our methods, variants of them, the presets, and networks of others.

The others, MONAI's ``BasicUNet`` and nnU-Net's two-dimensional ``PlainConvUNet`` (both from scratch, as they are always
trained), get the same slices, crops, augmentation, loss, optimiser, schedule and averaging through the same loop, and
are measured through the same prediction. nnU-Net's own recipe (SGD, 250,000 steps, deep supervision) is not repeated.
"""

import math
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from dynamic_network_architectures.architectures.unet import PlainConvUNet
from monai.networks.nets import BasicUNet
from sam2adapt import adapters
from sam2adapt.cli.progress import Bar
from sam2adapt.machine.device import choose_device
from sam2adapt.modelfiles.bundle import read_bundle
from sam2adapt.network.base import pad_to_stride
from sam2adapt.network.network import parameter_counts
from sam2adapt.network.weights import load_base
from sam2adapt.segmenting.model import Model, load_model
from sam2adapt.shared.presets import PRESETS
from sam2adapt.training.cleaning.choice import choose_steps
from sam2adapt.training.loop import Progress, Trainer
from sam2adapt.training.prepare import fingerprint, prepare
from sam2adapt.training.run import crop_size, train
from sam2adapt.training.settings import TrainRequest
from torch import Tensor, nn

Build = Callable[[int, tuple[int, int]], nn.Module]
OWN_BASE = "own"  # ``--base own``: presets with the base and size that are theirs


@dataclass(frozen=True)
class Contender:
    """One way to a model: a method of ours with settings, or a network of others.

    :param preset: take base, size and upscaling of this preset, if the run's base is ``OWN_BASE``.
    :param build: makes a network from the number of classes and the crops' size; None: ours.
    """

    method: str = "full"
    settings: dict = field(default_factory=dict)
    preset: str | None = None
    build: Build | None = None


def basic_unet(classes: int, crop: tuple[int, int]) -> nn.Module:
    """MONAI's U-Net with its defaults."""
    return BasicUNet(spatial_dims=2, in_channels=3, out_channels=classes)


def plain_conv_unet(classes: int, crop: tuple[int, int]) -> nn.Module:
    """nnU-Net's 2-D network: halved while 4 pixels are left, at most five times, with two convolutions a stage."""
    stages = min(6, 1 + int(math.log2(min(crop) / 4)))
    return PlainConvUNet(
        input_channels=3,
        n_stages=stages,
        features_per_stage=[min(32 * 2**i, 512) for i in range(stages)],
        conv_op=nn.Conv2d,
        kernel_sizes=3,
        strides=[1] + [2] * (stages - 1),
        n_conv_per_stage=2,
        num_classes=classes,
        n_conv_per_stage_decoder=2,
        conv_bias=True,
        norm_op=nn.InstanceNorm2d,
        norm_op_kwargs={"eps": 1e-5, "affine": True},
        nonlin=nn.LeakyReLU,
        nonlin_kwargs={"inplace": True},
    )


*_WIDE, _ = PRESETS["nano-wide"].settings["parts"]
_FULL_RES = {"name": "refine", "settings": {"width": 64, "stride": 1}}
CONTENDERS: dict[str, Contender] = {
    **{name: Contender(name) for name in ("head", "lora", "dual-hp", "dual-lw", "balr", "detail")},
    "lora-all": Contender("lora", {"encoder": ["qkv", "proj", "mlp"], "decoder": ["attn", "mlp"]}),
    "dual-lw+detail": Contender("combined", {"parts": ["dual-lw", "detail"]}),
    **{name: Contender(preset.method, preset.settings, preset=name) for name, preset in PRESETS.items()},
    "refine": Contender("refine"),
    "nano-wide-full-res": Contender("combined", {"parts": [*_WIDE, _FULL_RES]}, preset="nano-wide"),
    "full": Contender("full"),
    "full+detail": Contender("combined", {"parts": ["full", "detail"]}),
    "full+detail+refine": Contender("combined", {"parts": ["full", "detail", "refine"]}),
    "BasicUNet": Contender(build=basic_unet),
    "PlainConvUNet": Contender(build=plain_conv_unet),
}
OUTSIDERS = tuple(name for name, contender in CONTENDERS.items() if contender.build)


class Outsider(nn.Module):
    """A network of others in the place of ``SegmentationNetwork`` for the training loop and for prediction."""

    base_names: frozenset[str] = frozenset()

    def __init__(self, body: nn.Module):
        super().__init__()
        self.body = body

    def forward(self, images: Tensor) -> Tensor:
        """Logits (B, K, H, W) of images (B, 3, H, W) of any size."""
        return self.body(pad_to_stride(images))[..., : images.shape[-2], : images.shape[-1]]

    def forward_with_extras(self, images: Tensor, prompts: None = None) -> tuple[Tensor, dict[str, Tensor]]:
        """Logits, and nothing for auxiliary losses."""
        return self(images), {}

    def trained_state(self) -> dict[str, Tensor]:
        """All of it."""
        return {name: tensor.detach() for name, tensor in self.state_dict().items()}

    def load_trained_state(self, tensors: dict[str, Tensor]) -> None:
        """Load what ``trained_state`` gave."""
        self.load_state_dict(tensors)


def fit(request: TrainRequest, contender: Contender) -> tuple[Model, dict]:
    """Train, going on where a run was broken off, and give the model as a user gets it and its card's ``training``."""
    request.resume = (request.folder / "checkpoint.pt").is_file()
    bar = Bar(request.output.stem, "%")

    def progress(state: Progress) -> None:
        bar.update(state.fraction * 100, 100, f"loss {state.loss:.3f}" if state.epoch else "preparing")

    if contender.build:
        found = _fit_outsider(request, contender.build, progress)
    else:
        path = train(request, progress)
        found = load_model(path, choose_device(request.device)[0]), read_bundle(path).card["training"]
    bar.close()
    return found


def _fit_outsider(request: TrainRequest, build: Build, progress: Callable[[Progress], None]) -> tuple[Model, dict]:
    settings, structures = request.settings, request.structures
    request.folder.mkdir(parents=True, exist_ok=True)
    device, _ = choose_device(request.device)
    found = fingerprint(request.cases, structures, settings)
    prepared = prepare(request.cases, structures, found.slices, request.folder / "prepared")
    crop = crop_size(settings, found, load_base(request.base)[0])
    torch.manual_seed(settings.seed)
    network = Outsider(build(len(structures) + 1, crop))
    trainer = Trainer(
        network, prepared, adapters.create("full"), settings, crop, found.slices.context, request.folder, device,
        progress=progress,
    )  # fmt: skip
    network.load_trained_state(trainer.run(request.resume))
    shutil.rmtree(request.folder / "prepared")
    card = {
        "name": request.output.stem, "modality": found.modality, "slices": found.slices.to_card(),
        "classes": [structure.to_json() for structure in structures],
        "postprocessing": {"largest_component": [], "fill_holes": [], "minimum_ml": 0.0} | request.postprocessing,
    }  # fmt: skip
    training = {
        "parameters": parameter_counts(network),
        "minutes": round(trainer.history.seconds / 60, 2),
        "settings": settings.to_json(),
    }
    model = Model(card, network.requires_grad_(False).eval(), device)
    if not request.keep_pieces:
        choose_steps(model, found.pieces.steps(), request.cases)
    return model, training
