"""Whether images and labels lie on one voxel grid, and what tells their grids apart."""

from dataclasses import replace

from ...shared.errors import GeometryError
from ...shared.tolerance import VOXEL_SHARE, displacement
from ..dicom import Grid
from .volume import Volume

_PLACE = ("origin", "spacing", "direction")


def same_geometry(a: Volume, b: Volume, tolerance: float = VOXEL_SHARE) -> bool:
    """True if both lie on one voxel grid.

    :param tolerance: by how many voxels the corners may lie apart. Where one of them is a picture, only the sizes are
        compared.
    """
    return geometry_difference(a.grid, b.grid, tolerance) == ""


def geometry_difference(a: Grid, b: Grid, tolerance: float = VOXEL_SHARE) -> str:
    """What tells two grids apart, with the values of both: "spacing (1 1 1) against (1 1 3) …"; "" if nothing.

    :param tolerance: as for :func:`same_geometry`.
    """
    if tuple(a.size) != tuple(b.size):
        return f"{' x '.join(map(str, a.size))} against {' x '.join(map(str, b.size))} voxels"
    if not (a.physical and b.physical):
        return ""
    off = displacement(a.affine, b.affine, a.size)
    if off <= tolerance:
        return ""
    # What remains of the difference if the two agreed in all but this.
    parts = {name: displacement(a.affine, replace(a, **{name: getattr(b, name)}).affine, a.size) for name in _PLACE}
    said = []
    for name in sorted(parts, key=lambda name: -parts[name]):
        if parts[name] > tolerance or not said:
            values = [" ".join(f"{n:.6g}" for n in getattr(grid, name).ravel()) for grid in (a, b)]
            said.append(f"{name} ({values[0]}) against ({values[1]})")
    return f"{' and '.join(said)}, up to {off:.2g} voxels apart"


def check_on_grid(image: Grid, labels: Grid) -> None:
    """Refuse labels that do not lie on the voxels of an image.

    :raises GeometryError: with what tells them apart, and both values.
    """
    if difference := geometry_difference(image, labels):
        raise GeometryError(
            f"'{labels.name}' does not lie on the voxel grid of '{image.name}': {difference} (image against labels).",
            "Resample the labels onto the image, or draw or export them again with the image as reference.",
        )
