"""What NRRD, attached and detached, can say, one cell a statement."""
# ruff: noqa: E501  one cell a line, where it can be

import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
from file_samples import AFFINE, ORIGIN, SPACING, chest, nrrd

from .files import NO_PLACE, Cell, as_text, beside, reordered, scaled, sheared, turned, without


def first_at(*millimetres: float) -> np.ndarray:
    affine = AFFINE.copy()
    affine[:3, 3] = millimetres
    return affine


def text(affine: np.ndarray) -> str:
    return " ".join(f"({','.join(map(repr, column.tolist()))})" for column in affine[:3, :3].T)


def nrrd_cells() -> list[Cell]:
    cells = []
    for form, suffix, detached in (("NRRD", ".nrrd", False), ("detached NRRD", ".nhdr", True)):

        def of(suffix=suffix, detached=detached, **options) -> Callable[[Path], Path]:
            return lambda folder: nrrd(folder / f"a{suffix}", detached=detached, **options)

        def space(name: str, *signs: float, of=of) -> Callable[[Path], Path]:
            affine = np.diag([*signs, 1.0]) @ AFFINE
            place = f"({','.join(map(repr, affine[:3, 3].tolist()))})"
            return of(space=name, space_directions=text(affine), space_origin=place)

        array, affine = reordered()
        place = f"({','.join(map(repr, affine[:3, 3].tolist()))})"
        other_order = of(array=array, space_directions=text(affine), space_origin=place)
        centimetres = text(scaled(0.1)), f"({','.join(repr(n / 10) for n in ORIGIN)})"
        cells += [
            Cell(form, "place", "left-posterior-superior", of()),
            Cell(form, "place", "right-anterior-superior", space("right-anterior-superior", -1, -1, 1)),
            Cell(form, "place", "left-anterior-superior", space("LAS", 1, -1, 1)),
            Cell(form, "place", "scanner-xyz", space("scanner-xyz", 1, 1, 1), note="does not say where left"),
            Cell(form, "place", "spacings only", of(space=None, space_directions=None, space_origin=None,
                 spacings=" ".join(map(repr, SPACING))), affine=NO_PLACE, note="does not say where left"),
            Cell(form, "place", "oblique", of(space_directions=text(turned())), affine=turned()),
            Cell(form, "place", "sheared by 10 degrees", of(space_directions=text(sheared(10))),
                 refused="not at right angles"),
            Cell(form, "place", "(2,0.6,0) (0,2,0) (0,0,5)", of(space_directions="(2,0.6,0) (0,2,0) (0,0,5)"),
                 refused="not at right angles"),
            Cell(form, "place", "shear of 0.05 voxels", of(space_directions=text(sheared(0.02))),
                 note="not quite at right angles"),
            Cell(form, "unit", "mm", of(space_units='"mm" "mm" "mm"')),
            Cell(form, "unit", "cm", of(space_units='"cm" "cm" "cm"', space_directions=centimetres[0],
                 space_origin=centimetres[1])),
            Cell(form, "unit", "furlongs", of(space_units='"furlong" "furlong" "furlong"'), refused="'furlong'"),
            Cell(form, "unit", "voxels of 1e9 mm", of(space_directions="(1e9,0,0) (0,1,0) (0,0,1)"), refused="1e\\+09"),
            Cell(form, "place", "no space origin", of(space_origin=None), affine=first_at(0, 0, 0),
                 note="where its first voxel lies"),
            Cell(form, "place", "space origin of two numbers", of(space_origin="(1,2)"),
                 refused=r"gives '\(1,2\)' as space origin"),
            Cell(form, "place", "a space that NRRD does not know", of(space="RPI"), refused="gives 'RPI' as space"),
            Cell(form, "place", "directions that are no numbers", of(space_directions="(nan,0,0) (0,3,0) (0,0,10)"),
                 refused="where its voxels lie: it holds numbers that are not finite"),
            Cell(form, "place", "spacings beside directions", of(spacings="1 1 1"), refused="gives '1 1 1' as spacings"),
            Cell(form, "unit", "neither spacings nor directions", of(space=None, space_directions=None,
                 space_origin=None), affine=np.eye(4), note="how large its voxels are"),
            Cell(form, "unit", "spacings of NaN", of(space=None, space_directions=None, space_origin=None,
                 spacings="nan nan nan"), affine=np.eye(4), note="how large its voxels are"),
            Cell(form, "type", "no encoding", of(encoding=None, data=chest().tobytes()), refused="does not say the encoding"),
            Cell(form, "type", "no endian", of(endian=None), refused="gives '' as endian"),
            Cell(form, "length", "dimension is a word", of(dimension="x"), refused="gives 'x' as dimension"),
            Cell(form, "length", "byte skip is a word", of(byte_skip="x"), refused="gives 'x' as byteskip"),
            Cell(form, "length", "line skip is a word", of(line_skip="x"), refused="gives 'x' as lineskip"),
            Cell(form, "scale", "old min and old max", of(old_min="-1000", old_max="3000"), refused="old min, old max"),
            Cell(form, "type", "gzip", of(encoding="gzip")),
            Cell(form, "type", "ascii", of(encoding="ascii", endian=None, data=as_text())),
            Cell(form, "length", "ascii, 9 values too few", of(encoding="ascii", data=as_text(-9)),
                 refused="declares 557056 values, and its text holds 557047"),
            Cell(form, "length", "ascii, a value too many", of(encoding="text", data=as_text() + b" 7"),
                 refused="declares 557056 values, and its text holds 557057"),
            Cell(form, "type", "ascii, a word", of(encoding="txt", data=as_text() + b" x"), refused="has 'x' among its values"),
            Cell(form, "place", "a negative spacing", of(space=None, space_directions=None, space_origin=None,
                 spacings=f"{-SPACING[0]} {SPACING[1]} {SPACING[2]}"), affine=NO_PLACE * [-1, 1, 1, 1],
                 note="running the other way"),
            Cell(form, "type", "bzip2", of(encoding="bzip2"), refused="packed with bzip2"),
            Cell(form, "type", "zstd", of(encoding="zstd"), refused="packed with zstd"),
            Cell(form, "type", "big-endian", of(data=chest().astype(">i2").tobytes(), endian="big")),
            Cell(form, "type", "double", of(type="double", data=chest().astype("<f8").tobytes())),
            Cell(form, "type", "block", of(type="block", block_size="2"), refused="type 'block'"),
            Cell(form, "length", "100 bytes too short", of(data=chest().tobytes()[:-100]), refused="truncated or damaged"),
            Cell(form, "length", "10 GB claimed", of(sizes="30000 30000 6", data=b"\0" * 999), refused="30000 x 30000 x 6"),
            Cell(form, "length", "10 GB claimed of gzip data", of(sizes="30000 30000 6", encoding="gzip"),
                 refused="30000 x 30000 x 6"),
            Cell(form, "length", "gzip data that end too early", of(encoding="gzip", data=zlib.compress(b"\0" * 99, wbits=31)),
                 refused="truncated or damaged"),
            Cell(form, "orientation", "axes in another order, one reversed", other_order, affine=affine,
                 voxels=lambda: reordered()[0]),
            Cell(form, "time", "three time points", of(array=chest()[:33].reshape(3, 11, 128, 128), kinds="domain domain "
                 "domain time", space_directions=f"{text(AFFINE)} none"), refused="3 time points"),
        ]  # fmt: skip
    other = chest()[::-1] + 1
    return [
        *cells,
        Cell("NRRD", "length", "header of the half of the voxels", lambda f: nrrd(f / "a.nrrd", sizes="128 128 17"),
             refused="contradicts itself: its header declares 128 x 128 x 17"),
        Cell("NRRD", "identity", "a.nrrd beside another a.nhdr",
             beside(lambda f: nrrd(f / "a.nrrd"), lambda f: nrrd(f / "a.nhdr", other, detached=True))),
        Cell("detached NRRD", "identity", "the file that its header names, beside others",
             beside(lambda f: nrrd(f / "a.nhdr", detached=True), lambda f: nrrd(f / "a.nrrd", other))),
        Cell("detached NRRD", "identity", "its voxels are not there",
             lambda f: without(nrrd(f / "a.nhdr", detached=True), "a.raw"), refused="1 are missing, a.raw"),
    ]  # fmt: skip
