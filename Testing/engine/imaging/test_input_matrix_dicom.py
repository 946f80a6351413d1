"""What a DICOM file can say, by form and property: honoured, refused, or nothing the format could say.

Every cell is built from CTChest4 as DICOM that keeps to the standard but for the one thing that the cell is about. A
cell that is honoured holds the very voxels (HU) and the place (mm) of CTChest4, and so its millilitres; a cell that is
refused holds the sentence. ``python Testing/engine/imaging/test_input_matrix_dicom.py`` prints the table with what happens now.
"""

import tempfile
from pathlib import Path

import numpy as np
import pytest
from dicom_matrix_cells import CELLS, FORMS, PROPERTIES, Cell
from dicom_samples import air_ml, chest
from sam2adapt.imaging.volume import Volume, read_volume
from sam2adapt.shared.errors import UserError


def outcome(cell: Cell, folder: Path) -> tuple[Volume | None, str]:
    """What reading gives now: the volume, and a line about it or the sentence of the refusal."""
    path = cell.make(folder)
    try:
        volume = read_volume(*(path if isinstance(path, tuple) else (path,)))
    except UserError as error:
        return None, f"refused: {error.message}".replace(str(folder), "…")
    low, high = volume.array.min(), volume.array.max()
    size = " x ".join(map(str, volume.size))
    return volume, f"read: {size}, {low:g} to {high:g}, air {air_ml(volume.array, volume.spacing):.1f} mL"


def check_is_chest(volume: Volume) -> None:
    """The voxels and the place of CTChest4, whatever the order of its slices."""
    voxels, origin, spacing, direction = chest()
    affine = volume.affine
    array = volume.array[0]
    if np.dot(affine[:3, 2], direction[:, 2]) < 0:  # stored from the head to the feet
        array = array[::-1]
        affine[:3, 3] += affine[:3, 2] * (len(array) - 1)
        affine[:3, 2] *= -1
    np.testing.assert_allclose(affine[:3, 3], origin, atol=1e-4)
    np.testing.assert_allclose(affine[:3, :3], direction * spacing, atol=1e-5)
    np.testing.assert_array_equal(array, voxels)
    assert air_ml(volume.array, volume.spacing) == pytest.approx(air_ml(voxels, spacing), rel=1e-6)


@pytest.mark.parametrize("cell", [cell for cell in CELLS if cell.make], ids=lambda cell: cell.name)
def test_cell(cell, tmp_path):
    volume, line = outcome(cell, tmp_path)
    if cell.refused:
        assert volume is None, line
        assert cell.refused in line, line
    elif cell.check is None:
        assert volume is not None, line
        check_is_chest(volume)
    else:
        assert volume is not None, line
        cell.check(volume)


def test_no_cell_is_missing():
    filled = {(cell.form, cell.property) for cell in CELLS}
    assert filled == {(form, which) for form in FORMS for which in PROPERTIES}
    assert len({cell.name for cell in CELLS}) == len(CELLS)
    assert all(cell.reason for cell in CELLS if not cell.make)


def main() -> None:
    """Print the matrix, and below it the rows of inputs.md, with what happens now."""
    for cell in sorted(CELLS, key=lambda cell: (FORMS.index(cell.form), PROPERTIES.index(cell.property))):
        with tempfile.TemporaryDirectory() as folder:
            now = outcome(cell, Path(folder))[1] if cell.make else f"the format cannot say it: {cell.reason}"
        print(f"| {cell.form} | {cell.property} | {cell.what} | {cell.verdict} | {now} |")
    verdicts = [cell.verdict for cell in CELLS]
    print(f"\n{len(CELLS)} cells: " + ", ".join(f"{verdicts.count(v)} {v}" for v in dict.fromkeys(verdicts)))


if __name__ == "__main__":
    main()
