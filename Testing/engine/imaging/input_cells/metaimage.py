"""What MetaImage can say, one cell a statement."""
# ruff: noqa: E501  one cell a line, where it can be

import gzip
import re
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
from file_samples import AFFINE, ORIGIN, SPACING, chest, metaimage

from .files import Cell, as_text, beside, reordered, sheared, turned, without


def with_packed_size(path: Path, size: str) -> Path:
    """A packed MetaImage whose header gives another CompressedDataSize, or none."""
    line = b"" if size == "left out" else f"CompressedDataSize = {size}\n".encode()
    path.write_bytes(re.sub(rb"CompressedDataSize = \d+\n", line, path.read_bytes()))
    return path


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
        Cell("MetaImage", "type", "text", of(BinaryData=False, data=as_text())),
        Cell("MetaImage", "length", "text, 9 values too few", of(BinaryData=False, data=as_text(-9)),
             refused="declares 557056 values, and its text holds 557047"),
        Cell("MetaImage", "type", "text, a value that the type cannot hold", of(BinaryData=False, ElementType="MET_UCHAR",
             data=as_text()), refused="among its values, which is no value of the type uint8"),
        Cell("MetaImage", "type", "text, and no word of BinaryData", of(BinaryData=None, data=as_text()[:1114112 + 9]),
             refused="they look like text"),
        Cell("MetaImage", "place", "a negative spacing", of(ElementSpacing=f"{-SPACING[0]} {SPACING[1]} {SPACING[2]}"),
             affine=AFFINE * [-1, 1, 1, 1], note="running the other way"),
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
