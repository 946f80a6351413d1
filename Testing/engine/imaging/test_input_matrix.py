"""What the formats that are no DICOM can say about place, unit, scale, type, length, orientation, time and identity.

Every cell is CTChest4, right but for the one thing that the cell is about. A cell that is honoured holds the very
voxels (HU) and the place (mm) of CTChest4, and so its millilitres; a cell that is refused holds the sentence.
``python Testing/engine/imaging/input_tables.py --cells`` prints the
table with what happens now.
"""

import re
import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent))
from file_samples import AFFINE, SIZE, SPACING
from input_cells import FILES as CELLS
from input_cells.files import FORMS, PROPERTIES
from sam2adapt.imaging.volume import read_volume
from sam2adapt.shared.errors import UserError


def name_of(cell) -> str:
    return f"{cell.form}, {cell.property}: {cell.what}"


@pytest.mark.parametrize("cell", [cell for cell in CELLS if cell.make], ids=name_of)
def test_what_a_file_says_is_what_is_read_or_it_is_refused(cell, tmp_path):
    path = cell.make(tmp_path)
    if cell.refused:
        with pytest.raises(UserError, match=cell.refused) as caught:
            read_volume(path)
        assert str(tmp_path) in caught.value.message and caught.value.remedy
        return
    volume = read_volume(path)
    np.testing.assert_array_equal(volume.array[0], cell.voxels())
    affine = AFFINE if cell.affine is None else cell.affine
    corners = np.array([[i, j, k, 1] for i in (0, SIZE[0]) for j in (0, SIZE[1]) for k in (0, SIZE[2])])
    off = np.abs((corners @ volume.affine.T - corners @ affine.T)[:, :3]).max()
    assert off < (0.1 * min(SPACING) if "shear" in cell.what else 1e-3)  # mm
    millilitres = np.prod(volume.spacing) * (volume.array > 200).sum() / 1000
    expected = abs(np.linalg.det(affine[:3, :3])) * (cell.voxels() > 200).sum() / 1000
    assert millilitres == pytest.approx(expected, rel=1e-4)
    if cell.note:
        assert str(tmp_path) in " ".join(volume.notes)
        assert re.search(cell.note, " ".join(volume.notes))
    else:
        assert volume.notes == ()


def test_every_form_says_something_of_every_property_or_why_not():
    assert {(cell.form, cell.property) for cell in CELLS} == {(form, prop) for form in FORMS for prop in PROPERTIES}
