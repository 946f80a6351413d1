"""What a DICOM file can say, by form and property: honoured, refused, or nothing the format could say.

Every cell is built from CTChest4 as DICOM that keeps to the standard but for the one thing that the cell is about. A
cell that is honoured holds the very voxels (HU) and the place (mm) of CTChest4, and so its millilitres; a cell that is
refused holds the sentence. ``python Testing/engine/imaging/input_tables.py --cells`` prints the table with what happens
now.
"""

import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from dicom_samples import air_ml, chest
from input_cells import DICOM as CELLS
from input_cells.dicom import ASPECTS, FORMS, Cell
from sam2adapt.imaging.volume import Volume, read_volume
from sam2adapt.segmenting.slices import check_modality
from sam2adapt.shared.errors import InputFileError, UserError


def outcome(cell: Cell, folder: Path) -> tuple[Volume | None, str]:
    """What reading gives now: the volume, and a line about it or the sentence of the refusal."""
    path = cell.make(folder)
    try:
        volume = read_volume(*(path if isinstance(path, tuple) else (path,)))
        if cell.model:
            check_modality(volume, cell.model, "torso-ct")
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
    filled = {(cell.form, cell.aspect) for cell in CELLS}
    assert filled == {(form, which) for form in FORMS for which in ASPECTS}
    assert len({cell.name for cell in CELLS}) == len(CELLS)
    assert all(cell.reason for cell in CELLS if not cell.make)


@pytest.mark.parametrize("cell", [cell for cell in CELLS if "30,000" in cell.what], ids=lambda cell: cell.name)
def test_sizes_are_compared_before_memory_is_taken(cell, tmp_path):
    path = cell.make(tmp_path)
    tracemalloc.start()
    with pytest.raises(InputFileError):
        read_volume(path)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 2**26  # the header claims 1.8 GB a frame
