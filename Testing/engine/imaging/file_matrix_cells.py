"""The cells of ``test_input_matrix``: what each format that is no DICOM can say, one cell a statement."""
# ruff: noqa: E501  one cell a line, where it can be

import gzip
import re
import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from file_samples import AFFINE, ORIGIN, SIZE, SPACING, analyze, chest, metaimage, nifti, nrrd
from PIL import Image

FORMS = ("NIfTI-1", "NIfTI-2", "pair", "Analyze", "NRRD", "detached NRRD", "MetaImage", "picture")
PROPERTIES = ("place", "unit", "scale", "type", "length", "orientation", "time", "identity")
NO_PLACE = np.diag([*SPACING, 1.0])  # what is read where the format says nothing of the patient
HUGE = (30_000, 30_000, 6)  # 10.8 GB of int16


@dataclass(frozen=True)
class Cell:
    """One statement of a form about a property.

    :ivar make: writes the file into a folder and gives its path; None: the format has no such statement.
    :ivar refused: what the sentence must say; "" if the file is read. :ivar note: what must be said of one that is read.
    :ivar affine: to LPS mm, where it is not that of CTChest4. :ivar voxels: where they are others.
    """

    form: str
    property: str
    what: str
    make: Callable[[Path], Path] | None = None
    refused: str = ""
    note: str = ""
    affine: np.ndarray | None = None
    voxels: Callable[[], np.ndarray] = chest


def sheared(degrees: float, axis: int = 1) -> np.ndarray:
    """The affine of CTChest4 with a tilted gantry."""
    affine = AFFINE.copy()
    affine[axis, 2] = np.tan(np.radians(degrees)) * SPACING[2]
    return affine


def moved(*millimetres: float) -> np.ndarray:
    affine = AFFINE.copy()
    affine[:3, 3] += millimetres
    return affine


def turned() -> np.ndarray:
    """An oblique place: 20 degrees about the axis from feet to head."""
    c, s = np.cos(np.radians(20)), np.sin(np.radians(20))
    affine = np.eye(4)
    affine[:3, :3] = np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]]) @ AFFINE[:3, :3]
    affine[:3, 3] = ORIGIN
    return affine


def first_at(*millimetres: float) -> np.ndarray:
    affine = AFFINE.copy()
    affine[:3, 3] = millimetres
    return affine


def with_packed_size(path: Path, size: str) -> Path:
    """A packed MetaImage whose header gives another CompressedDataSize, or none."""
    line = b"" if size == "left out" else f"CompressedDataSize = {size}\n".encode()
    path.write_bytes(re.sub(rb"CompressedDataSize = \d+\n", line, path.read_bytes()))
    return path


def scaled(factor: float) -> np.ndarray:
    return np.diag([factor, factor, factor, 1.0]) @ AFFINE


def sizes(factor: float) -> list[float]:
    return [1, *(n * factor for n in SPACING), 0, 0, 0, 0]


def text(affine: np.ndarray) -> str:
    return " ".join(f"({','.join(map(repr, column.tolist()))})" for column in affine[:3, :3].T)


def reordered() -> tuple[np.ndarray, np.ndarray]:
    """The same patient with the axes in the order K, I, J, one of them reversed."""
    array = np.ascontiguousarray(np.transpose(chest(), (1, 2, 0))[:, :, ::-1])  # (J, I, -K): I, J, K of the file
    affine = np.eye(4)
    affine[:3, 0], affine[:3, 1], affine[:3, 2] = -AFFINE[:3, 2], AFFINE[:3, 0], AFFINE[:3, 1]
    affine[:3, 3] = (AFFINE @ (0, 0, SIZE[2] - 1, 1))[:3]
    return array, affine


def beside(make: Callable[[Path], Path], other: Callable[[Path], Path]) -> Callable[[Path], Path]:
    def both(folder: Path) -> Path:
        other(folder)
        return make(folder)

    return both


def renamed(path: Path, name: str) -> Path:
    return path.rename(path.with_name(name))


def png(folder: Path, array: np.ndarray, name: str = "a.png") -> Path:
    Image.fromarray(array).save(folder / name)
    return folder / name


def huge_png(folder: Path) -> Path:
    """A PNG whose header claims 30,000 x 30,000 pixels and whose data are some bytes."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
    parts = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0" * 9000)) + chunk(b"IEND", b"")
    (folder / "a.png").write_bytes(b"\x89PNG\r\n\x1a\n" + parts)
    return folder / "a.png"


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


def cut_file(path: Path) -> Path:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    return path


def written(path: Path) -> Path:
    path.write_text("no image at all, " * 60)
    return path


def without(path: Path, name: str) -> Path:
    (path.parent / name).unlink()
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
            Cell(form, "length", "line skip is a word", of(line_skip="x"), refused="gives 'x' as line skip"),
            Cell(form, "scale", "old min and old max", of(old_min="-1000", old_max="3000"), refused="old min, old max"),
            Cell(form, "type", "gzip", of(encoding="gzip")),
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


def metaimage_cells() -> list[Cell]:
    def of(**options) -> Callable[[Path], Path]:
        return lambda folder: metaimage(folder / "a.mha", **options)

    def matrix(affine: np.ndarray) -> str:
        return " ".join(map(repr, (affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0)).T.ravel().tolist()))

    array, affine = reordered()
    other = chest()[::-1] + 1
    doubled = AFFINE.copy()
    doubled[:3, :3] *= 2
    return [
        Cell("MetaImage", "place", "TransformMatrix and Offset", of()),
        Cell("MetaImage", "place", "oblique", of(TransformMatrix=matrix(turned())), affine=turned()),
        Cell("MetaImage", "place", "sheared by 10 degrees", of(TransformMatrix=matrix(sheared(10))),
             refused="not at right angles"),
        Cell("MetaImage", "place", "axes of length 2", of(TransformMatrix="-2 0 0 0 -2 0 0 0 2"), affine=doubled),
        Cell("MetaImage", "unit", "mm", of(DistanceUnits="mm")),
        Cell("MetaImage", "unit", "cm", of(DistanceUnits="cm", Offset=" ".join(repr(n / 10) for n in ORIGIN),
             ElementSpacing=" ".join(repr(n / 10) for n in SPACING))),
        Cell("MetaImage", "unit", "furlongs", of(DistanceUnits="furlong"), refused="'furlong'"),
        Cell("MetaImage", "scale", "slope 2, offset -1024", of(ElementToIntensityFunctionSlope=2,
             ElementToIntensityFunctionOffset=-1024), voxels=lambda: chest() * 2.0 - 1024),
        Cell("MetaImage", "type", "compressed", of(CompressedData=True)),
        *(Cell("MetaImage", "type", f"compressed, CompressedDataSize {size}", lambda f, size=size:
               with_packed_size(metaimage(f / "a.mha", CompressedData=True), size)) for size in ("left out", "1000")),
        Cell("MetaImage", "type", "compressed as gzip, big-endian", of(CompressedData="True", BinaryDataByteOrderMSB=True,
             data=gzip.compress(chest().astype(">i2").tobytes(), 1))),
        Cell("MetaImage", "length", "CompressedDataSize larger than the file", lambda f: with_packed_size(
            metaimage(f / "a.mha", CompressedData=True), "9999999"), refused="9999999 bytes of packed data"),
        Cell("MetaImage", "length", "longs of 8 bytes", of(ElementType="MET_LONG", data=chest().astype("<i8").tobytes()),
             refused="contradicts itself: its header declares 128 x 128 x 34 voxels of MET_LONG"),
        *(Cell("MetaImage", "length", f"{key} {value}", of(**{key: value}), refused=f"gives '{value}' as {key}")
          for key, value in (("DimSize", "128 128 nan"), ("DimSize", "128 128 33.5"), ("NDims", "nan"), ("HeaderSize", "nan"))),
        Cell("MetaImage", "type", "no value a voxel", of(ElementNumberOfChannels=0), refused="declares 0 values a voxel"),
        Cell("MetaImage", "unit", "no ElementSpacing", of(ElementSpacing=None), affine=AFFINE @ np.diag(
            [*(1 / n for n in SPACING), 1]), note="how large its voxels are"),
        Cell("MetaImage", "unit", "ElementSpacing of 0", of(ElementSpacing="3 0 10"), refused="a voxel axis has no length"),
        *(Cell("MetaImage", "place", f"{key} of too few numbers", of(**{key: value}), refused=f"gives '{value}' as {key}")
          for key, value in (("Offset", "3 3"), ("ElementSpacing", "3 3"), ("TransformMatrix", "1 0 0 1"))),
        Cell("MetaImage", "type", "big-endian", of(data=chest().astype(">i2").tobytes(), BinaryDataByteOrderMSB=True)),
        Cell("MetaImage", "type", "double", of(ElementType="MET_DOUBLE", data=chest().astype("<f8").tobytes())),
        Cell("MetaImage", "type", "MET_OTHER", of(ElementType="MET_OTHER"), refused="type 'MET_OTHER'"),
        Cell("MetaImage", "length", "100 bytes too short", of(data=chest().tobytes()[:-100]), refused="truncated or damaged"),
        Cell("MetaImage", "length", "10 GB claimed", of(DimSize="30000 30000 6", data=b"\0" * 99), refused="30000 x 30000"),
        Cell("MetaImage", "length", "10 GB claimed of compressed data", of(DimSize="30000 30000 6", CompressedData=True),
             refused="30000 x 30000"),
        Cell("MetaImage", "length", "compressed data that end too early", of(CompressedData=True,
             data=zlib.compress(chest().tobytes()[:-100])), refused="truncated or damaged"),
        Cell("MetaImage", "orientation", "axes in another order, one reversed",
             of(array=array, TransformMatrix=matrix(affine), Offset=" ".join(map(repr, affine[:3, 3].tolist())),
                ElementSpacing=" ".join(map(repr, np.linalg.norm(affine[:3, :3], axis=0).tolist()))), affine=affine,
             voxels=lambda: reordered()[0]),
        Cell("MetaImage", "orientation", "letters that contradict the matrix", of(AnatomicalOrientation="SAR"),
             note="AnatomicalOrientation"),
        Cell("MetaImage", "time", "three time points", of(array=chest()[:33].reshape(3, 11, 128, 128),
             TransformMatrix="1 0 0 0 0 1 0 0 0 0 1 0 0 0 0 1", Offset="0 0 0 0", ElementSpacing="1 1 1 1"),
             refused="3 time points"),
        Cell("MetaImage", "identity", "voxels in a file of their own, beside others", beside(
            lambda f: metaimage(f / "a.mhd", ElementDataFile="b.raw"), lambda f: metaimage(f / "a.mha", other))),
        Cell("MetaImage", "identity", "its voxels are not there",
             lambda f: without(metaimage(f / "a.mhd", ElementDataFile="b.raw"), "b.raw"), refused="1 are missing, b.raw"),
    ]  # fmt: skip


def picture_cells() -> list[Cell]:
    grey = (chest()[16:17] // 16 + 100).clip(0, 255).astype(np.uint8)
    plain = {"affine": np.eye(4), "voxels": lambda: grey}
    return [
        Cell("picture", "place", "a picture lies nowhere in a patient"),
        Cell("picture", "unit", "resolution is that of paper or screen; volumes are counted in pixels"),
        Cell("picture", "scale", "grey levels are what they are"),
        Cell("picture", "type", "8 bits", lambda f: png(f, grey[0]), **plain),
        Cell("picture", "type", "16 bits", lambda f: png(f, grey[0].astype(np.uint16) * 200), affine=np.eye(4),
             voxels=lambda: grey.astype(np.uint16) * 200),
        Cell("picture", "length", "cut in the middle", lambda f: cut_file(png(f, grey[0])), refused="cannot be read"),
        Cell("picture", "length", "60,000 x 60,000 claimed", huge_png, refused="60000 x 60000"),
        Cell("picture", "orientation", "rows run down and columns to the right, always"),
        Cell("picture", "time", "pages of a TIFF are slices", lambda f: stack(f, grey), affine=np.eye(4),
             voxels=lambda: np.concatenate([grey, 255 - grey])),
        Cell("picture", "identity", "a.png beside another a.jpg",
             beside(lambda f: png(f, grey[0]), lambda f: png(f, 255 - grey[0], "a.jpg")), **plain),
    ]  # fmt: skip


def stack(folder: Path, grey: np.ndarray) -> Path:
    pages = [Image.fromarray(page) for page in (grey[0], 255 - grey[0])]
    pages[0].save(folder / "a.tif", save_all=True, append_images=pages[1:])
    return folder / "a.tif"


CELLS = [*nifti_cells(), *analyze_cells(), *nrrd_cells(), *metaimage_cells(), *picture_cells()]
