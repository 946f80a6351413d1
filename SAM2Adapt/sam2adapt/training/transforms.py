"""Augmentation of training slices with MONAI: one crop a slice, drawn from a seed of its own."""

import warnings

import numpy as np
from monai.data import set_track_meta
from monai.transforms import (
    Compose,
    RandAdjustContrastd,
    RandAffined,
    RandCropByPosNegLabeld,
    RandFlipd,
    RandGaussianNoised,
    RandGaussianSmoothd,
    RandScaleIntensityd,
    RandShiftIntensityd,
    SpatialPadd,
)

warnings.filterwarnings("ignore", message="Num foregrounds 0")  # slices without structures are shown on purpose
set_track_meta(False)  # geometry is kept by SliceStack; MONAI's bookkeeping of it takes half the time of a sample

_SHEAR = 0.1  # tangent of the largest angle
_MARGIN = 1.35  # of the first crop over the final one, so that rotation and scaling seldom bring in empty corners


def augmentation(
    crop: tuple[int, int], rotation: float, scale: float, flips: list[int], colour: bool = False
) -> Compose:
    """Random crop, affine, flip, contrast, noise, blur and colour of ``image`` (3, H, W) in 0..1, ``label`` (1, H, W).

    Two of three crops are centred in ``structures``, the label with what is not annotated set to 0.

    The result is a list of one sample (MONAI's cropping transforms may give several).

    :param crop: rows and columns of the result.
    :param rotation: largest angle, degrees.
    :param scale: largest relative change of size, of rows and columns each.
    :param flips: spatial axes (0 = rows, 1 = columns) that may be mirrored; none where left and right differ.
    :param colour: the channels are red, green and blue, not neighbouring slices: each changes by itself as well.
    """
    both, wide = ("image", "label"), [round(n * _MARGIN) for n in crop]
    angle = np.deg2rad(rotation)
    return Compose(
        [
            SpatialPadd((*both, "structures"), wide),
            RandCropByPosNegLabeld(both, "structures", wide, pos=2, neg=1, num_samples=1),
            RandAffined(
                both,
                prob=1.0,
                rotate_range=angle,
                scale_range=(scale, scale),
                shear_range=_SHEAR,
                translate_range=[n / 16 for n in crop],
                spatial_size=crop,
                mode=("bilinear", "nearest"),
                padding_mode="zeros",
            ),
            *(RandFlipd(both, prob=0.5, spatial_axis=axis) for axis in flips),
            RandScaleIntensityd("image", factors=0.2, prob=0.5),
            *(_balance() if colour else ()),
            RandAdjustContrastd("image", prob=0.5, gamma=(0.7, 1.5)),
            RandGaussianSmoothd("image", sigma_x=(0.4, 1.0), sigma_y=(0.4, 1.0), prob=0.15),
            RandGaussianNoised("image", prob=0.3, std=0.04),
        ]
    )


def _balance() -> tuple[RandScaleIntensityd, RandShiftIntensityd]:
    """Cameras and lamps differ in the white that they show, and tissues in their hue."""
    return (
        RandScaleIntensityd("image", factors=0.2, prob=0.5, channel_wise=True),
        RandShiftIntensityd("image", offsets=0.1, prob=0.5, channel_wise=True),
    )
