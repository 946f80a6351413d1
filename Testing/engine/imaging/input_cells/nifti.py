"""What NIfTI-1, NIfTI-2, pairs and Analyze can say, one cell a statement."""
# ruff: noqa: E501  one cell a line, where it can be

from collections.abc import Callable
from pathlib import Path

import numpy as np
from file_samples import AFFINE, SIZE, SPACING, analyze, chest, nifti

from .files import NO_PLACE, Cell, beside, cut_file, reordered, scaled, sheared, turned, without

HUGE = (30_000, 30_000, 6)  # 10.8 GB of int16


def moved(*millimetres: float) -> np.ndarray:
    affine = AFFINE.copy()
    affine[:3, 3] += millimetres
    return affine


def sizes(factor: float) -> list[float]:
    return [1, *(n * factor for n in SPACING), 0, 0, 0, 0]


def renamed(path: Path, name: str) -> Path:
    return path.rename(path.with_name(name))


def nifti_cells() -> list[Cell]:
    """NIfTI-1, NIfTI-2 and pairs, which say the same things in headers of their own."""
    small = chest()[:2, :8, :8]
    cells = []
    for form, version, name in (("NIfTI-1", 1, "a.nii"), ("NIfTI-2", 2, "a.nii.gz"), ("pair", 1, "a.hdr")):

        def of(name=name, version=version, **options) -> Callable[[Path], Path]:
            return lambda folder: nifti(folder / name, version=version, **options)

        claim = of(array=small, shape=HUGE)
        array, affine = reordered()
        cells += [
            Cell(form, "place", "sform, code 1", of()),
            Cell(form, "place", "qform, code 1", of(sform=None, qform=AFFINE, codes=(0, 1))),
            Cell(form, "place", "both, oblique", of(sform=turned(), qform=turned(), codes=(1, 1)), affine=turned()),
            Cell(form, "place", "sform sheared, qform not, both codes 1",
                 of(sform=sheared(10), qform=AFFINE, codes=(1, 1)), refused="not at right angles.*_Tilt_1"),
            Cell(form, "place", "sform sheared, no qform", of(sform=sheared(10)), refused="not at right angles.*_Tilt_1"),
            Cell(form, "place", "sform of code 2 (template) sheared, qform of code 1",
                 of(sform=sheared(10), qform=AFFINE, codes=(2, 1)), note="the qform was used"),
            Cell(form, "place", "sform of code 2, another qform of code 1",
                 of(sform=moved(0, 47, 0), qform=AFFINE, codes=(2, 1)), note="15 voxels apart.*the qform was used"),
            Cell(form, "place", "sform of code 1, another qform of code 2",
                 of(qform=moved(0, 47, 0), codes=(1, 2)), note="15 voxels apart.*the sform was used"),
            Cell(form, "place", "both codes 0", of(sform=None, codes=(0, 0)), affine=NO_PLACE,
                 note="does not say how it lies"),
            Cell(form, "place", "shear of 1e-4", of(sform=sheared(np.degrees(1e-4)))),
            Cell(form, "place", "shear of 0.05 voxels at the farthest corner",
                 of(sform=sheared(0.02)), note="not quite at right angles"),
            Cell(form, "place", "NaN in the sform", of(srow_x=[np.nan] * 4), refused="does not say where its voxels lie"),
            Cell(form, "place", "quaternion that is no rotation",
                 of(sform=None, qform=AFFINE, codes=(0, 1), quatern_b=2), refused="no rotation: quaternion 2"),
            Cell(form, "unit", "mm", of(xyzt_units=2)),
            Cell(form, "unit", "not said", of(xyzt_units=0)),
            Cell(form, "unit", "metres", of(sform=scaled(1e-3), xyzt_units=1, pixdim=sizes(1e-3))),
            Cell(form, "unit", "microns", of(sform=scaled(1e3), xyzt_units=3 + 8, pixdim=sizes(1e3))),
            Cell(form, "unit", "unit 5", of(xyzt_units=5), refused="in unit 5"),
            Cell(form, "unit", "voxels of 0 mm", of(sform=None, codes=(0, 0), pixdim=[1, 0, 1, 1, 0, 0, 0, 0]),
                 refused="voxel size of 0 x 1 x 1 mm"),
            Cell(form, "unit", "voxels of 1e9 mm", of(sform=np.diag([1e9, 1, 1, 1])), refused="1e\\+09"),
            Cell(form, "unit", "pixdim differs from the sform", of(pixdim=[1, 1, 1, 1, 0, 0, 0, 0]),
                 note="1 x 1 x 1 mm by pixdim"),
            Cell(form, "scale", "slope 2, intercept -1024", of(scl_slope=2, scl_inter=-1024),
                 voxels=lambda: chest() * 2.0 - 1024),
            Cell(form, "scale", "slope 0, intercept -1024", of(scl_slope=0, scl_inter=-1024)),
            Cell(form, "scale", "slope NaN", of(scl_slope=np.nan, scl_inter=np.nan)),
            Cell(form, "scale", "slope 2, intercept NaN", of(scl_slope=2, scl_inter=np.nan), refused="nan as intercept"),
            *(Cell(form, "type", f"{kind}, {order}", of(kind=kind, order=order))
              for kind in ("i2", "i4", "i8", "f4", "f8") for order in "<>"),
            *(Cell(form, "type", kind, of(array=abs(chest()), kind=kind), voxels=lambda: abs(chest()))
              for kind in ("u2", "u4", "u8")),
            Cell(form, "type", "complex", of(datatype=32, bitpix=64), refused="complex"),
            Cell(form, "type", "single bits", of(datatype=1, bitpix=1), refused="single bits"),
            Cell(form, "type", "128-bit floats", of(datatype=1536, bitpix=128), refused="128-bit floats"),
            Cell(form, "type", "datatype 4 with 8 bits", of(bitpix=8), refused="8 bits a voxel"),
            Cell(form, "type", "datatype 999", of(datatype=999), refused="unknown type"),
            Cell(form, "length", "100 bytes too short", of(cut=100), refused="truncated or damaged"),
            Cell(form, "length", "10 GB claimed, 256 bytes stored", claim, refused="declares 30000 x 30000 x 6"),
            Cell(form, "length", "header of the half of the voxels", of(shape=(128, 128, 17)),
                 refused="contradicts itself: its header declares 128 x 128 x 17"),
            Cell(form, "length", "negative axis", of(dim=[3, 128, -128, 34, 1, 1, 1, 1]), refused="negative length"),
            Cell(form, "length", "voxels begin beyond the file", of(vox_offset=10**8), refused="truncated or damaged"),
            Cell(form, "orientation", "axes in another order, one reversed", of(array=array, sform=affine,
                 pixdim=[1, *np.linalg.norm(affine[:3, :3], axis=0), 0, 0, 0, 0]), affine=affine, voxels=lambda: reordered()[0]),
            Cell(form, "orientation", "mirrored by qfac", of(sform=None, qform=affine, array=array, codes=(0, 1),
                 pixdim=[1 if np.linalg.det(affine[:3, :3]) > 0 else -1, *np.linalg.norm(affine[:3, :3], axis=0), 0, 0, 0, 0]),
                 affine=affine, voxels=lambda: reordered()[0]),
            Cell(form, "time", "one time point", of(shape=(*SIZE, 1))),
            Cell(form, "time", "three time points", of(array=chest()[:33].reshape(3, 11, 128, 128)),
                 refused="3 time points"),
        ]  # fmt: skip
    other = chest()[::-1] + 1
    return [
        *cells,
        Cell("NIfTI-1", "length", "10 GB claimed by a gzip file of 400 bytes",
             lambda f: nifti(f / "a.nii.gz", small, shape=HUGE), refused="declares 30000 x 30000 x 6"),
        Cell("NIfTI-1", "length", "gzip file cut in the middle", lambda f: cut_file(nifti(f / "a.nii.gz")),
             refused="truncated or damaged"),
        Cell("NIfTI-1", "length", "gzip file of voxels 100 bytes too short", lambda f: nifti(f / "a.nii.gz", cut=100),
             refused="truncated or damaged"),
        Cell("NIfTI-1", "identity", "a.nii.gz beside another a.nii",
             beside(lambda f: nifti(f / "a.nii.gz"), lambda f: nifti(f / "a.nii", other))),
        Cell("NIfTI-1", "identity", "a.nii beside another a.nii.gz",
             beside(lambda f: nifti(f / "a.nii"), lambda f: nifti(f / "a.nii.gz", other))),
        Cell("NIfTI-1", "identity", ".nii that is gzip", lambda f: renamed(nifti(f / "b.nii.gz"), "a.nii")),
        Cell("NIfTI-1", "identity", ".nii.gz that is not packed", lambda f: renamed(nifti(f / "b.nii"), "a.nii.gz")),
        Cell("NIfTI-1", "identity", "text", lambda f: written(f / "a.nii"), refused="does not begin with a header"),
        Cell("NIfTI-2", "identity", "a.nii.gz beside another a.nii",
             beside(lambda f: nifti(f / "a.nii.gz", version=2), lambda f: nifti(f / "a.nii", other))),
        Cell("pair", "identity", "the .img is named", lambda f: nifti(f / "a.hdr").with_suffix(".img")),
        Cell("pair", "identity", "without its .img", lambda f: without(nifti(f / "a.hdr"), "a.img"),
             refused="a.img is not beside it"),
        Cell("pair", "identity", "a.img and a.img.gz", beside(lambda f: nifti(f / "a.hdr"),
             lambda f: written(f / "a.img.gz")), refused="two files for the other half"),
        Cell("pair", "identity", "beside another a.nii",
             beside(lambda f: nifti(f / "a.hdr"), lambda f: nifti(f / "a.nii", other))),
    ]  # fmt: skip


def written(path: Path) -> Path:
    path.write_text("no image at all, " * 60, encoding="utf-8")
    return path


def analyze_cells() -> list[Cell]:
    def of(**options) -> Callable[[Path], Path]:
        return lambda folder: analyze(folder / "a.hdr", **options)

    plain = {"affine": NO_PLACE, "note": "cannot say where left, front and head are"}
    return [
        Cell("Analyze", "place", "nothing but voxel sizes", of(), **plain),
        Cell("Analyze", "unit", "mm", of(vox_units=b"mm"), **plain),
        Cell("Analyze", "unit", "cm", of(vox_units=b"cm", pixdim=[0, *(s / 10 for s in SPACING), 0, 0, 0, 0]), **plain),
        Cell("Analyze", "scale", "SPM's scale factor", of(funused1=2), voxels=lambda: chest() * 2.0, **plain),
        Cell("Analyze", "type", "float32", of(kind="f4"), **plain),
        Cell("Analyze", "type", "complex", of(datatype=32, bitpix=64), refused="complex"),
        Cell("Analyze", "length", "100 bytes too short", of(cut=100), refused="truncated or damaged"),
        Cell("Analyze", "length", "10 GB claimed", of(array=chest()[:1], shape=HUGE), refused="30000 x 30000 x 6"),
        Cell("Analyze", "orientation", "the field orient is set by no program alike and read by none"),
        Cell("Analyze", "time", "three time points", of(array=chest()[:33].reshape(3, 11, 128, 128)),
             refused="3 time points"),
        Cell("Analyze", "identity", "the .img is named", lambda f: analyze(f / "a.hdr").with_suffix(".img"), **plain),
    ]  # fmt: skip
