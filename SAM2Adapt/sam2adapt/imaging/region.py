"""A region of interest as requests give it, in voxels of a volume."""

from ..shared.errors import SettingsError
from .volume import Volume


def region_of(volume: Volume, roi: tuple[int, ...]) -> tuple[slice, slice, slice]:
    """Array ranges (K, J, I) of a region i0, i1, j0, j1, k0, k1, ends excluded.

    :raises SettingsError: it does not lie in the volume.
    """
    ranges = list(zip(roi[::2], roi[1::2], volume.size, strict=True))
    if any(not 0 <= low < high <= size for low, high, size in ranges):
        size = " x ".join(map(str, volume.size))
        raise SettingsError(
            f"The region {','.join(map(str, roi))} is not inside the volume of {size} voxels.",
            "Choose a region i0,i1,j0,j1,k0,k1 with 0 <= start < end <= size for each axis.",
            setting="roi",
        )
    return tuple(slice(low, high) for low, high, _ in reversed(ranges))
