"""Slicer's two effects that fill between drawn slices, called as Slicer calls them; from the package slicer-core."""

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

# Before Slicer's ITK chooses: its thread pool ends some processes with a segmentation fault at their exit.
os.environ.setdefault("ITK_GLOBAL_DEFAULT_THREADER", "Platform")

import numpy as np
import slicer
import vtk
from vtk.util.numpy_support import numpy_to_vtk, vtk_to_numpy

NOT_DRAWN = 255


def fill_between_slices(drawings: np.ndarray, axis: int, spacing: tuple[float, ...]) -> np.ndarray:
    """*Fill between slices*: ITK's morphological contour interpolation.

    :param drawings: (K, J, I) uint8 labels, NOT_DRAWN in every voxel of the slices that are not drawn.
    :param axis: array axis across the drawn slices.
    :param spacing: millimetres along I, J, K.
    :return: (K, J, I) uint8 labels, those of the drawn slices as they were.
    """
    seeds = np.where(drawings == NOT_DRAWN, 0, drawings).astype(np.int16)
    interpolator = slicer.vtkITKMorphologicalContourInterpolator()
    interpolator.SetInputData(_image(seeds, spacing))
    interpolator.Update()
    return _with_drawn(_array(interpolator.GetOutput()).astype(np.uint8), drawings, axis)


def grow_from_seeds(grey: np.ndarray, drawings: np.ndarray, axis: int, spacing: tuple[float, ...]) -> np.ndarray:
    """*Grow from seeds*: the drawn slices are seeds, their background is one of its own.

    :param grey: (K, J, I) voxels of the volume.

    The others, and what comes back, as of :func:`fill_between_slices`. Nothing grows outside the first and last slice.
    """
    background = int(drawings[drawings != NOT_DRAWN].max()) + 1
    seeds = np.where(drawings == 0, background, drawings).astype(np.int16)
    seeds[drawings == NOT_DRAWN] = 0
    drawn = _drawn(drawings, axis)
    part = [slice(None)] * 3
    part[axis] = slice(drawn[0], drawn[-1] + 1)
    grow = slicer.vtkImageGrowCutSegment()
    grow.SetIntensityVolume(_image(grey[tuple(part)].astype(np.float32), spacing))
    grow.SetSeedLabelVolume(_image(seeds[tuple(part)], spacing))
    grow.Update()
    grown = _array(grow.GetOutput())
    labels = np.zeros(drawings.shape, np.uint8)
    labels[tuple(part)] = np.where(grown == background, 0, grown)
    return _with_drawn(labels, drawings, axis)


TOOLS = ("Fill between slices", "Grow from seeds")


def both_apart(
    grey: np.ndarray, drawings: np.ndarray, axis: int, spacing: tuple[float, ...]
) -> dict[str, tuple[np.ndarray, float]]:
    """What each of TOOLS makes of the drawings, and its seconds, from a process of their own.

    In this process, Slicer's ITK may have chosen its threads already; see above.
    """
    with tempfile.TemporaryDirectory() as folder:
        given, made = Path(folder) / "given.npz", Path(folder) / "made.npz"
        np.savez(given, grey=grey, drawings=drawings, axis=axis, spacing=spacing)
        subprocess.run([sys.executable, __file__, given, made], check=True)
        with np.load(made) as results:
            return {tool: (results[tool], float(results[f"{tool}: seconds"])) for tool in TOOLS}


def _fill_apart(given: str, made: str) -> None:
    with np.load(given) as arrays:
        grey, drawings, axis, spacing = (arrays[name] for name in ("grey", "drawings", "axis", "spacing"))
    results = {}
    for tool in TOOLS:
        started = time.perf_counter()
        if tool == "Grow from seeds":
            results[tool] = grow_from_seeds(grey, drawings, int(axis), spacing)
        else:
            results[tool] = fill_between_slices(drawings, int(axis), spacing)
        results[f"{tool}: seconds"] = time.perf_counter() - started
    np.savez(made, **results)


def _drawn(drawings: np.ndarray, axis: int) -> np.ndarray:
    return np.flatnonzero((np.moveaxis(drawings, axis, 0) != NOT_DRAWN).all((1, 2)))


def _with_drawn(labels: np.ndarray, drawings: np.ndarray, axis: int) -> np.ndarray:
    drawn = _drawn(drawings, axis)
    np.moveaxis(labels, axis, 0)[drawn] = np.moveaxis(drawings, axis, 0)[drawn]
    return labels


def _image(array: np.ndarray, spacing: tuple[float, ...]) -> vtk.vtkImageData:
    image = vtk.vtkImageData()
    image.SetDimensions(*array.shape[::-1])
    image.SetSpacing(*spacing)
    image.GetPointData().SetScalars(numpy_to_vtk(np.ascontiguousarray(array).ravel(), deep=True))
    return image


def _array(image: vtk.vtkImageData) -> np.ndarray:
    return vtk_to_numpy(image.GetPointData().GetScalars()).reshape(image.GetDimensions()[::-1]).copy()


if __name__ == "__main__":
    _fill_apart(*sys.argv[1:])
