"""Whether two volumes lie on one voxel grid, and what tells them apart."""

from dataclasses import replace

from ...shared.tolerance import VOXEL_SHARE, displacement
from .volume import Volume


def same_geometry(a: Volume, b: Volume, tolerance: float = VOXEL_SHARE) -> bool:
    """True if both lie on one voxel grid.

    :param tolerance: by how many voxels the corners may lie apart. Where one of them is a picture, only the sizes are
        compared.
    """
    return geometry_difference(a, b, tolerance) == ""


def geometry_difference(a: Volume, b: Volume, tolerance: float = VOXEL_SHARE) -> str:
    """What tells the grids of two volumes apart, with the values of both: "spacing 1 x 1 x 3 against …"; "" if nothing.

    :param tolerance: as for :func:`same_geometry`.
    """
    if a.size != b.size:
        return f"{' x '.join(map(str, a.size))} against {' x '.join(map(str, b.size))} voxels"
    if not (a.physical and b.physical):
        return ""
    off = displacement(a.affine, b.affine, a.size)
    if off <= tolerance:
        return ""
    parts = {}
    for name in ("origin", "spacing", "direction"):
        # What remains of the difference if the two agreed in all but this.
        mixed = replace(a, **{name: getattr(b, name)})
        parts[name] = displacement(a.affine, mixed.affine, a.size)
    said = []
    for name in sorted(parts, key=lambda name: -parts[name]):
        if parts[name] > tolerance or not said:
            values = [" ".join(f"{n:.6g}" for n in getattr(volume, name).ravel()) for volume in (a, b)]
            said.append(f"{name} ({values[0]}) against ({values[1]})")
    return f"{' and '.join(said)}, up to {off:.2g} voxels apart"
