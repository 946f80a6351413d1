"""The axis along which volumes are sliced, for volumes that lie in the patient at any angle."""

from itertools import permutations

import numpy as np
import pytest
from example_nodes import AXES_IJK_TO_RAS, SHAPE, rotation

ISOTROPIC, STACK_OF_K, STACK_OF_I = (1.0, 1.0, 1.2), (0.7, 0.9, 3.0), (4.0, 1.0, 1.0)


def rotations(count=60):
    """Rotations at random, and by 45 and 90 degrees, where two axes are equally close to one of the patient."""
    generator = np.random.default_rng(0)
    angles = [*generator.uniform(-180, 180, (count, 3)), (45, 0, 0), (0, 45, 0), (0, 0, 45), (50, 50, 0), (45, 45, 90)]
    return [rotation(a, 0) @ rotation(b, 1) @ rotation(c, 2) for a, b, c in angles]


@pytest.mark.parametrize("spacing", [ISOTROPIC, STACK_OF_K, STACK_OF_I], ids=["isotropic", "stack of K", "stack of I"])
def test_slicing_axis_is_that_of_the_engine(lib, nodes, spacing):
    from sam2adapt.imaging.volume import Volume
    from sam2adapt.segmenting.slices import Normalization, SliceSettings, SliceStack
    from sam2adapt.shared.slicing_axis import is_stack

    node = nodes.addVolume(spacing=spacing)
    for axes in [*AXES_IJK_TO_RAS.values(), *rotations()]:
        place(nodes, node, axes, spacing)
        voxels, *geometry = lib.VolumeTransfer.volumeToArrays(node)
        volume = Volume(voxels, *geometry)
        named = "acquisition" if is_stack(volume.size, volume.spacing) else "axial"
        stack = SliceStack(volume, SliceSettings(Normalization("range", 0, 1), axis=named, size=1))
        axis = lib.VolumeGrid.slicingAxis(node)
        assert stack.oriented(voxels[0]).shape[0] == volume.size[axis] and len({*volume.size}) == 3, axes


def test_a_volume_stored_in_another_order_is_sliced_along_the_same_axis_of_the_patient(lib, nodes):
    for spacing in (ISOTROPIC, STACK_OF_K):
        for axes in rotations(12):
            node = nodes.addVolume(axes=axes, spacing=spacing)
            expected = axes[:, lib.VolumeGrid.slicingAxis(node)]
            for order in permutations(range(3)):
                flipped = axes[:, list(order)] * (1.0, -1.0, 1.0)
                voxels = np.zeros(np.array(SHAPE)[[2 - order[2 - k] for k in range(3)]], np.int16)
                other = nodes.addVolume(voxels, axes=flipped, spacing=np.array(spacing)[list(order)])
                seen = flipped[:, lib.VolumeGrid.slicingAxis(other)]
                assert abs(abs(seen @ expected) - 1) < 1e-9, (axes, order)
                nodes.scene.RemoveNode(other)
            nodes.scene.RemoveNode(node)


def place(nodes, node, axes, spacing):
    matrix = np.eye(4)
    matrix[:3, :3] = axes * np.asarray(spacing)
    node.SetIJKToRASMatrix(nodes.slicer.util.vtkMatrixFromArray(matrix))
