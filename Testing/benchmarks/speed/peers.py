"""The networks that ours are compared with, as their authors use them, with random weights."""

import importlib.util
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from sam2adapt.segmenting.slices import normalise
from sam2adapt.shared.errors import SettingsError
from torch import Tensor, nn

_SAM2_CONFIG = "configs/sam2.1/sam2.1_hiera_t.yaml"
_NNUNET_FEATURES, _NNUNET_MOST, _NNUNET_SMALLEST = 32, 512, 4


@dataclass(frozen=True)
class Peer:
    """A network of others.

    :param sides: of the square slices it is measured with, pixels.
    :param arithmetics: ``bf16``: under autocast, where the device has it; ``fp32``.
    :param package: of Python, and ``project``: where that comes from.
    :param build: makes it for slices of a side and a number of classes.
    :param batched: it takes several slices at once; otherwise one picture (side, side, 3) uint8.
    """

    name: str
    about: str
    sides: tuple[int, ...]
    arithmetics: tuple[str, ...]
    package: str
    project: str
    build: Callable[[int, int], nn.Module]
    batched: bool = True


class BoxPredictor(nn.Module):
    """SAM2's own predictor on one slice: its transforms, its encoder, one box, masks of the slice's size.

    :param side: of the image that the network sees; the predictor squashes every picture to it.
    """

    def __init__(self, side: int):
        super().__init__()
        from sam2.build_sam import build_sam2
        from sam2.sam2_image_predictor import SAM2ImagePredictor

        model = build_sam2(_SAM2_CONFIG, None, "cpu", hydra_overrides_extra=[f"++model.image_size={side}"])
        self.model, self._predictor = model, SAM2ImagePredictor(model)
        # The predictor has the map sizes of 1024 as constants.
        self._predictor._bb_feat_sizes = [(side // stride, side // stride) for stride in (4, 8, 16)]

    def forward(self, picture: np.ndarray) -> np.ndarray:
        """Masks (3, H, W) of the picture (H, W, 3)."""
        height, width = picture.shape[:2]
        self._predictor.set_image(picture)
        masks, _, _ = self._predictor.predict(box=np.array([width / 4, height / 4, 3 * width / 4, 3 * height / 4]))
        return masks


def nnunet_plan(side: int) -> dict:
    """What nnU-Net's planner makes of square slices: halved while both halves keep 4 pixels, features from 32 to 512.

    :return: stages, features, kernels and strides of the 2-D ``PlainConvUNet`` (nnU-Net v2, ``ExperimentPlanner``).
    """
    stages = 1
    while side >= 2 * _NNUNET_SMALLEST and side % 2 == 0:
        side, stages = side // 2, stages + 1
    return {
        "n_stages": stages,
        "features_per_stage": [min(_NNUNET_FEATURES * 2**i, _NNUNET_MOST) for i in range(stages)],
        "kernel_sizes": [(3, 3)] * stages,
        "strides": [(1, 1)] + [(2, 2)] * (stages - 1),
    }


def _nnunet(side: int, classes: int) -> nn.Module:
    from dynamic_network_architectures.architectures.unet import PlainConvUNet

    plan = nnunet_plan(side)
    return PlainConvUNet(
        input_channels=1, conv_op=nn.Conv2d, num_classes=classes, **plan,
        n_conv_per_stage=2, n_conv_per_stage_decoder=2, conv_bias=True,
        norm_op=nn.InstanceNorm2d, norm_op_kwargs={"eps": 1e-5, "affine": True},
        nonlin=nn.LeakyReLU, nonlin_kwargs={"inplace": True}, deep_supervision=False,
    )  # fmt: skip


def _basic_unet(side: int, classes: int) -> nn.Module:
    from monai.networks.nets import BasicUNet

    return BasicUNet(spatial_dims=2, in_channels=1, out_channels=classes)


PEERS = (
    Peer(
        "SAM2ImagePredictor", "sam2's predictor in its default use: Hiera-T at 1024 x 1024 whatever the slice's size, "
        "its own transforms, one box", (256,), ("fp32", "bf16"), "sam2", "sam2",
        lambda side, classes: BoxPredictor(1024), batched=False,
    ),
    Peer(
        "MedSAM2", "its configuration: sam2's predictor with Hiera-T at 512 x 512, one box, without the memory of "
        "slices before", (512,), ("bf16",), "sam2", "sam2", lambda side, classes: BoxPredictor(512), batched=False,
    ),
    Peer(
        "nnU-Net 2-D", "PlainConvUNet of dynamic-network-architectures as nnU-Net plans it for the size, one pass "
        "without mirroring", (224, 256, 512), ("bf16",), "dynamic_network_architectures",
        "dynamic-network-architectures", _nnunet,
    ),
    Peer(
        "BasicUNet", "MONAI's, 2-D, default features", (224, 256, 512), ("bf16",), "monai", "monai", _basic_unet,
    ),
)  # fmt: skip


def check_installed(peers: list[Peer]) -> None:
    """Refuse before the work if a network to compare with is not installed.

    :raises SettingsError: one is not, with what to do.
    """
    for peer in peers:
        if importlib.util.find_spec(peer.package) is None:
            raise SettingsError(
                f"{peer.name}, which the benchmark compares with, is not installed.",
                f'Install it with `pip install "sam2adapt[benchmarks]"` (or `pip install {peer.project}`), or measure'
                " only other rows with --only.",
            )


def as_input(peer: Peer | None, grey: Tensor) -> Tensor | np.ndarray:
    """What a network is given of slices (B, 3, H, W) in 0 to 1, the neighbours of each as channels.

    Ours (None) are given them normalised, U-Nets the slice itself with mean 0 and deviation 1, SAM2's predictors the
    first slice as a picture (H, W, 3) uint8.
    """
    if peer is None:
        return normalise(grey)
    if not peer.batched:
        return (grey[0] * 255).round().to(torch.uint8).permute(1, 2, 0).cpu().contiguous().numpy()
    middle = grey[:, 1:2]
    return (middle - middle.mean()) / middle.std().clamp_min(1e-6)


def seeded(peer: Peer, side: int, classes: int) -> nn.Module:
    """Build a peer with the same random weights each time, in evaluation mode."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return peer.build(side, classes).eval().requires_grad_(False)
