"""CTChest4 of slicerio in every format that is no DICOM, written with nibabel's headers and by hand."""

import gzip
import zlib
from pathlib import Path

import nibabel as nib
import numpy as np
import slicerio

SIZE, SPACING, ORIGIN = (128, 128, 34), (3.04687595367432, 3.04687595367432, 10.0), (193.096, 216.396, -340.25)
#: To LPS mm: I runs to the right and J to the front.
AFFINE = np.diag([-SPACING[0], -SPACING[1], SPACING[2], 1.0])
AFFINE[:3, 3] = ORIGIN
RAS = np.diag([-1.0, -1.0, 1.0, 1.0])


def chest() -> np.ndarray:
    """(K, J, I) int16, from the file's bytes."""
    data = (Path(slicerio.__file__).parent / "data" / "CTChest4.nrrd").read_bytes()
    start = data.index(b"\n\n") + 2
    return np.frombuffer(zlib.decompress(data[start:], 31), "<i4").reshape(SIZE[::-1]).astype(np.int16)


def nifti(
    path: Path,
    array: np.ndarray | None = None,
    version: int = 1,
    order: str = "<",
    sform: np.ndarray | None = AFFINE,
    qform: np.ndarray | None = None,
    codes: tuple[int, int] = (1, 0),
    kind: str = "i2",
    cut: int = 0,
    shape: tuple[int, ...] | None = None,
    **fields,
) -> Path:
    """A NIfTI file, packed if its name says so; a pair if it ends in .hdr.

    :param sform, qform: (4, 4) to LPS mm; codes: of sform and qform. :param cut: bytes that the end lacks.
    :param shape: of the header, where it shall not be the array's. :param fields: of the header, set at the end.
    """
    array = chest() if array is None else array
    header = (nib.Nifti1Header if version == 1 else nib.Nifti2Header)(endianness=order)
    header.set_data_dtype(np.dtype(kind))
    header.set_data_shape(shape or array.shape[::-1])
    header["pixdim"][1:4] = SPACING
    if qform is not None:
        header.set_qform(RAS @ qform, codes[1])
    if sform is not None:
        header.set_sform(RAS @ sform, codes[0])
    header["qform_code"], header["sform_code"] = codes[1], codes[0]
    paired = path.suffix == ".hdr"
    header["vox_offset"] = 0 if paired else {1: 352, 2: 544}[version]
    if paired and version == 1:
        header["magic"] = b"ni1"
    header["scl_slope"], header["scl_inter"] = 1, 0
    for name, value in fields.items():
        header[name] = value
    voxels = array.astype(np.dtype(kind).newbyteorder(order)).tobytes()
    voxels = voxels[: len(voxels) - cut]
    if paired:
        path.write_bytes(header.binaryblock + b"\0" * 4)
        path.with_suffix(".img").write_bytes(voxels)
        return path
    data = header.binaryblock + b"\0" * 4 + voxels
    path.write_bytes(gzip.compress(data, 1) if path.name.endswith(".gz") else data)
    return path


def analyze(path: Path, array: np.ndarray | None = None, kind: str = "i2", cut: int = 0, shape=None, **fields) -> Path:
    """An Analyze pair; parameters as of ``nifti``."""
    array = chest() if array is None else array
    header = nib.AnalyzeHeader(endianness="<")
    header.set_data_dtype(np.dtype(kind))
    header.set_data_shape(shape or array.shape[::-1])
    header["pixdim"][1:4] = SPACING
    for name, value in fields.items():
        header[name] = value
    path.write_bytes(header.binaryblock)
    voxels = array.astype(kind).tobytes()
    path.with_suffix(".img").write_bytes(voxels[: len(voxels) - cut])
    return path


def nrrd(
    path: Path, array: np.ndarray | None = None, data: bytes | None = None, detached: bool = False, **fields
) -> Path:
    """A NRRD file by hand.

    :param fields: of the header, "_" for a space; None leaves one out. :param data: in the place of the voxels.
    """
    array = chest() if array is None else array
    columns = AFFINE[:3, :3].T
    header = {
        "type": "int16", "dimension": array.ndim, "space": "left-posterior-superior",
        "sizes": " ".join(map(str, array.shape[::-1])),
        "space directions": " ".join(f"({','.join(map(repr, column.tolist()))})" for column in columns),
        "space origin": f"({','.join(map(repr, AFFINE[:3, 3].tolist()))})", "endian": "little", "encoding": "raw",
    }  # fmt: skip
    header |= {name.replace("_", " "): value for name, value in fields.items()}
    voxels = array.tobytes() if data is None else data
    if header["encoding"] in ("gzip", "gz") and data is None:
        voxels = gzip.compress(voxels, 1)
    if detached:
        header["data file"] = header.get("data file", path.stem + ".raw")
        (path.parent / path.stem).with_suffix(".raw").write_bytes(voxels)
    lines = "".join(f"{name}: {value}\n" for name, value in header.items() if value is not None)
    path.write_bytes(b"NRRD0005\n" + lines.encode() + b"\n" + (b"" if detached else voxels))
    return path


def metaimage(path: Path, array: np.ndarray | None = None, data: bytes | None = None, **keys) -> Path:
    """A MetaImage file by hand; parameters as of ``nrrd``."""
    array = chest() if array is None else array
    header = {
        "ObjectType": "Image", "NDims": array.ndim, "BinaryData": True, "BinaryDataByteOrderMSB": False,
        "CompressedData": False, "TransformMatrix": "-1 0 0 0 -1 0 0 0 1", "Offset": " ".join(map(repr, ORIGIN)),
        "ElementSpacing": " ".join(map(repr, SPACING)), "DimSize": " ".join(map(str, array.shape[::-1])),
        "ElementType": "MET_SHORT",
    }  # fmt: skip
    header |= keys
    if header["CompressedData"] is True:
        data = zlib.compress(array.tobytes(), 1) if data is None else data
        header["CompressedDataSize"] = len(data)
    last = {"ElementDataFile": header.pop("ElementDataFile", "LOCAL")}
    lines = "".join(f"{name} = {value}\n" for name, value in (header | last).items() if value is not None)
    voxels = array.tobytes() if data is None else data
    if last["ElementDataFile"] != "LOCAL":
        (path.parent / last["ElementDataFile"]).write_bytes(voxels)
        voxels = b""
    path.write_bytes(lines.encode() + voxels)
    return path
