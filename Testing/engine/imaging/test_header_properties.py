"""Headers with values of every kind: right geometry, as an independent reader has it, or one clear sentence.

Nothing else is raised, and memory stays small. ``SAM2ADAPT_EXAMPLES=5000`` tries more headers of each format, others
each time.
"""

import functools
import io
import os
import struct
import zlib
from itertools import product

import nibabel
import nrrd
import numpy as np
import pydicom
import pytest
from dicom_samples import slice_dataset
from hypothesis import HealthCheck, assume, event, given, settings
from hypothesis import strategies as st
from pydicom.dataelem import RawDataElement
from pydicom.tag import Tag
from sam2adapt.imaging.volume import read_volume
from sam2adapt.shared.errors import DeviceError, InputFileError, UserError
from sam2adapt.shared.tolerance import ROUNDING, VOXEL_SHARE, displacement, shear

resource = pytest.importorskip("resource")  # of Unix

EXAMPLES = os.environ.get("SAM2ADAPT_EXAMPLES")
MEMORY = 400 << 20  # bytes beyond what the process has: a thousand times the largest of these files
examples = settings(
    max_examples=int(EXAMPLES or 60), derandomize=not EXAMPLES, deadline=None, database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)  # fmt: skip
LPS = np.diag([-1.0, -1.0, 1.0, 1.0])
SHAPE = (3, 4, 5)  # K, J, I
VOXELS = np.arange(60, dtype=np.int16).reshape(SHAPE)
odd = st.sampled_from([0.0, -0.0, 1e-30, 1e30, -1.0, 2.0, 1e-7, 1e4, float("inf"), float("nan")])
whole = st.sampled_from([0, 1, -1, 2, 3, 4, 5, 7, 8, 16, 255, 256, 512, 32767, -32768])


@pytest.fixture(autouse=True)
def little_memory():
    """What asks for gigabytes fails."""
    with open("/proc/self/statm", encoding="utf-8") as file:
        now = int(file.read().split()[0]) * resource.getpagesize()
    limits = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (now + MEMORY, limits[1]))
    yield
    resource.setrlimit(resource.RLIMIT_AS, limits)


def read(path):
    """The volume; None if it is refused by a sentence with a remedy."""
    try:
        volume = read_volume(path)
    except UserError as error:
        event("refused")
        assert not isinstance(error, DeviceError), error.message  # memory was asked for
        for text in (error.message, error.remedy):
            assert text.endswith(".") and "\n" not in text and len(text) < 600, text
        return None
    event("read")
    assert np.isfinite(volume.affine).all() and (volume.spacing > 0).all()
    np.testing.assert_allclose(volume.direction.T @ volume.direction, np.eye(3), atol=1e-9)
    return volume


def lies_there(volume, affine):
    """Whether a volume lies where an affine has it, up to what is straightened and said."""
    off = displacement(affine, volume.affine, volume.size)
    return off <= (VOXEL_SHARE if volume.notes else 2 * ROUNDING)


@st.composite
def axes(draw):
    """(3, 3) right-angled axes in any order and direction, turned a little or not."""
    angle = draw(st.sampled_from((0.0, 0.3, -1.2)))
    turn = np.array([[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]])
    return turn[:, draw(st.permutations(range(3)))] * draw(st.tuples(*[st.sampled_from((-1, 1))] * 3))


places = st.tuples(*[st.floats(-300, 300, width=32)] * 3)
sizes = st.tuples(*[st.sampled_from((0.5, 1.0, 3.3))] * 3)
NIFTI = {
    "sizeof_hdr": whole, "dim": st.tuples(st.integers(0, 7), whole), "datatype": whole, "bitpix": whole,
    "pixdim": st.tuples(st.integers(0, 7), odd), "vox_offset": odd, "scl_slope": odd, "scl_inter": odd,
    "xyzt_units": st.integers(0, 255), "qform_code": whole, "sform_code": whole, "quatern_b": odd, "quatern_c": odd,
    "quatern_d": odd, "qoffset_x": odd, "srow_x": st.tuples(st.integers(0, 3), odd),
    "srow_y": st.tuples(st.integers(0, 3), odd), "srow_z": st.tuples(st.integers(0, 3), odd),
    "magic": st.sampled_from([b"n+1", b"ni1", b"n+2", b"", b"\xff\xff\xff\xff"]),
}  # fmt: skip


@st.composite
def nifti_headers(draw):
    """A header of nibabel's with a place, and up to three fields that have another value."""
    affine = np.eye(4)
    affine[:3, :3], affine[:3, 3] = draw(axes()) * draw(sizes), draw(places)
    image = nibabel.Nifti1Image(VOXELS.T, affine)
    image.set_sform(affine, draw(st.sampled_from((0, 1, 2))))
    image.set_qform(affine, draw(st.sampled_from((0, 1, 2))))
    header = image.header
    header.set_xyzt_units(draw(st.sampled_from(("mm", "unknown", "meter", "micron"))))
    header["vox_offset"] = 352
    for name in draw(st.lists(st.sampled_from(sorted(NIFTI)), max_size=3, unique=True)):
        value = draw(NIFTI[name])
        with np.errstate(all="ignore"):
            if isinstance(value, tuple):
                header[name][value[0]] = value[1]
            else:
                header[name] = value
    return header


@examples
@given(nifti_headers(), st.booleans())
def test_nifti(tmp_path, header, swapped):
    path = tmp_path / "a.nii"
    stored = header.structarr
    path.write_bytes((stored.byteswap() if swapped else stored).tobytes() + b"\0" * 4 + VOXELS.tobytes())
    volume = read(path)
    if volume is None:
        return
    assert volume.size == tuple(max(1, int(n)) for n in header["dim"][1 : 1 + min(3, header["dim"][0])]) + (1,) * max(
        0, 3 - int(header["dim"][0])
    )
    scale = {1: 1000.0, 3: 1e-3}.get(int(header["xyzt_units"]) & 7, 1.0)
    s, q = int(header["sform_code"]), int(header["qform_code"])
    if s > 0 and (q <= 0 or s == 1):
        expected = header.get_sform()
    elif q > 0:
        try:
            expected = header.get_qform()
        except (nibabel.spatialimages.HeaderDataError, ValueError):
            return  # nibabel takes no voxel size below zero
    else:
        assert any("does not say how it lies" in note for note in volume.notes)
        expected = LPS @ np.diag([*np.abs(header["pixdim"][1:4]), 1.0])
    expected = LPS @ expected
    expected[:3] *= scale
    with np.errstate(all="ignore"):
        assert lies_there(volume, expected), f"{header}\n{volume.affine}\n{expected}"


NRRD_WORDS = st.sampled_from([
    "", "0", "-1", "3", "none", "nan", "inf", "(1,0,0)", "(0,0,0) (0,0,0) (0,0,0)", "(1,0,0) (0,1,0) (0,0,1)",
    "(1,0,0) (0,2,0) (0,0,-3)", "(1,0,0) (1,0,0) (0,0,1)", "(1,0,0) (0.5,1,0) (0,0,1)", "(1,0) (0,1) (0,0)",
    "none (1,0,0) (0,1,0)", "(nan,0,0) (0,1,0) (0,0,1)", "1 1 1", "5 4 3", "3 4 5", "5 4", "5 4 3 1", "0 4 3",
    "-5 4 3", "999999 999999 999999", "99999999999999999999 1 1", "left-posterior-superior", "RAS", "LAS",
    "scanner-xyz", "3D-right-handed", '"mm" "mm" "mm"', '"m" "m" "m"', '"cm" "mm" "mm"', '"x" "x" "x"', '"mm"',
    "short", "uchar", "double", "block", "float", "raw", "gzip", "ascii", "bzip2", "little", "big",
    "domain domain domain", "vector domain domain", "\u00e9", "a" * 300, "(1,2,3)", "(1e400,0,0)", "(0,0,nan)",
    "(1,2)", "1 2 3",
])  # fmt: skip
NRRD_FIELDS = ["type", "dimension", "space", "sizes", "space directions", "space origin", "space units", "kinds",
               "encoding", "endian", "spacings", "space dimension", "thicknesses", "data file"]  # fmt: skip


def changed(draw, fields, names, words):
    """Fields of which up to two are left out or have another value."""
    for name in draw(st.lists(st.sampled_from(names), max_size=2, unique=True)):
        fields[name] = draw(words)
        if not fields[name]:
            del fields[name]
    return fields


def row(vector):
    return f"({','.join(f'{number:.12g}' for number in vector)})"


@st.composite
def nrrd_headers(draw):
    """The fields of a header with a place, of which up to two are left out or have another value."""
    directions = draw(axes()) * draw(sizes)
    fields = {
        "type": "short", "dimension": "3", "space": draw(st.sampled_from(("left-posterior-superior", "RAS", "LAS"))),
        "sizes": "5 4 3", "space directions": " ".join(map(row, directions.T)), "kinds": "domain domain domain",
        "endian": "little", "encoding": "raw", "space origin": row(draw(places)),
    }  # fmt: skip
    return changed(draw, fields, NRRD_FIELDS, NRRD_WORDS)


@examples
@given(nrrd_headers())
def test_nrrd(tmp_path, fields):
    path = tmp_path / "a.nrrd"
    text = "NRRD0005\n" + "".join(f"{name}: {value}\n" for name, value in fields.items()) + "\n"
    path.write_bytes(text.encode() + VOXELS.tobytes())
    volume = read(path)
    if volume is None:
        return
    assert volume.size == tuple(map(int, fields["sizes"].split()))[-3:]
    try:
        header = nrrd.read_header(io.BytesIO(text.encode()))
    except (nrrd.NRRDError, ValueError, IndexError):
        return  # pynrrd reads less
    known = {"left-posterior-superior": (1, 1, 1), "RAS": (-1, -1, 1), "LAS": (1, -1, 1)}
    if "space directions" not in header or header.get("space") not in known:
        return
    directions = np.array([one for one in header["space directions"] if np.isfinite(one).all()])
    affine = np.eye(4)
    affine[:3, :3] = directions.T
    affine[:3, 3] = header.get("space origin", np.zeros(3))
    units = [word.strip('"') for word in fields.get("space units", "").split()] or ["mm"] * 3
    affine[:3] *= np.array([{"m": 1000.0, "cm": 10.0}.get(unit, 1.0) for unit in units])[:, None]
    assert lies_there(volume, np.diag([*known[header["space"]], 1.0]) @ affine)


META_WORDS = st.sampled_from([
    "", "0", "3", "2", "-1", "nan", "inf", "x", "True", "False", "1 1 1", "0 0 0", "-1 1 1", "1e-9 1 1", "1e9 1 1",
    "5 4 3", "3 4 5", "5 4", "5 4 3 1", "0 4 3", "999999 999999 999999", "1 0 0 0 1 0 0 0 1", "1 0 0 0 1 0 0 0 -1",
    "1 0 0 1 0 0 0 0 1", "1 0 0 0.5 1 0 0 0 1", "1 0 0", "nan 0 0 0 1 0 0 0 1", "MET_SHORT", "MET_UCHAR",
    "MET_DOUBLE", "MET_NONE", "LOCAL", "LIST", "a.raw", "mm", "m", "cm", "yard", "RAI", "XYZ", "\u00e9", "a" * 300,
    "10 20 30", "1e400 0 0", "2.0",
])  # fmt: skip
META_FIELDS = ["ObjectType", "NDims", "BinaryData", "BinaryDataByteOrderMSB", "CompressedData", "CompressedDataSize",
               "TransformMatrix", "Rotation", "Offset", "Position", "CenterOfRotation", "AnatomicalOrientation",
               "ElementSpacing", "ElementSize", "DimSize", "ElementType", "ElementNumberOfChannels", "HeaderSize",
               "DistanceUnits", "ElementToIntensityFunctionSlope"]  # fmt: skip


@st.composite
def meta_headers(draw):
    """The fields of a header with a place, of which up to two are left out or have another value."""
    fields = {
        "ObjectType": "Image", "NDims": "3", "BinaryData": "True", "BinaryDataByteOrderMSB": "False",
        "TransformMatrix": " ".join(f"{number:.15g}" for number in draw(axes()).T.ravel()),
        "Offset": " ".join(map(str, draw(places))), "ElementSpacing": " ".join(map(str, draw(sizes))),
        "DimSize": "5 4 3", "ElementType": "MET_SHORT",
    }  # fmt: skip
    return changed(draw, fields, META_FIELDS, META_WORDS)


@examples
@given(meta_headers())
def test_metaimage(tmp_path, fields):
    path = tmp_path / "a.mha"
    text = "".join(f"{name} = {value}\n" for name, value in fields.items()) + "ElementDataFile = LOCAL\n"
    path.write_bytes(text.encode() + VOXELS.tobytes())
    volume = read(path)
    if volume is None or int(fields["NDims"]) != 3:
        return
    assert volume.size == tuple(int(float(word)) for word in fields["DimSize"].split())

    def numbers(*names, default):
        return np.array([float(word) for word in next((fields[n] for n in names if n in fields), default).split()])

    scale = {"m": 1000.0, "cm": 10.0}.get(fields.get("DistanceUnits"), 1.0)
    affine = np.eye(4)
    rows = numbers("TransformMatrix", "Rotation", default="1 0 0 0 1 0 0 0 1").reshape(3, 3)
    affine[:3, :3] = rows.T * numbers("ElementSpacing", "ElementSize", default="1 1 1") * scale
    affine[:3, 3] = numbers("Offset", "Position", default="0 0 0") * scale
    assert lies_there(volume, affine)


def chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
lengths = st.sampled_from([6] * 9 + [0, 1, 7, 255, 65536, (1 << 31) - 1, 1 << 31])
more = st.sampled_from([
    b"", b"", chunk(b"pHYs", struct.pack(">IIB", 0, 1 << 31, 1)), chunk(b"PLTE", b"\1" * 6), chunk(b"gAMA", b"\0" * 4),
    chunk(b"tRNS", b""), chunk(b"iCCP", b"x"), chunk(b"eXIf", b"\xff" * 9),
])  # fmt: skip


@examples
@given(
    lengths, lengths, st.sampled_from((8, 8, 16, 1, 4, 3, 0)), st.sampled_from((0, 0, 2, 3, 4, 6, 1, 9)),
    st.sampled_from((0, 0, 0, 1, 2)), st.sampled_from((0, 0, 0, 1, -1, 99)), more,
)  # fmt: skip
def test_png(tmp_path, width, height, bits, colour, interlaced, surplus, more):
    path = tmp_path / "a.png"
    head = struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, interlaced)
    count = min(1000, height * (1 + -(-width * bits * CHANNELS.get(colour, 1) // 8))) + surplus
    pixels = zlib.compress(b"\0" * max(0, count))
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + more + chunk(b"IDAT", pixels) + chunk(b"IEND", b""))
    volume = read(path)
    if volume is not None:
        assert volume.size == (width, height, 1) and not volume.physical
        np.testing.assert_array_equal(volume.affine, np.eye(4))


DICOM = {
    "PixelSpacing": "DS", "ImageOrientationPatient": "DS", "ImagePositionPatient": "DS", "SliceThickness": "DS",
    "SpacingBetweenSlices": "DS", "RescaleSlope": "DS", "RescaleIntercept": "DS", "Rows": "US", "Columns": "US",
    "BitsAllocated": "US", "BitsStored": "US", "HighBit": "US", "PixelRepresentation": "US", "SamplesPerPixel": "US",
    "PlanarConfiguration": "US", "NumberOfFrames": "IS", "PhotometricInterpretation": "CS", "Modality": "CS",
    "SeriesInstanceUID": "UI", "SOPInstanceUID": "UI", "SpecificCharacterSet": "CS", "InstanceNumber": "IS",
    "ImageType": "CS",
}  # fmt: skip
DICOM_VALUES = st.sampled_from([
    b"", b"0", b"-1", b"1", b"nan", b"inf", b"1e400", b"x", b"1\\2", b"0\\0\\0\\0\\0\\0", b"1\\0\\0\\0\\1\\0",
    b"0\\1\\0\\1\\0\\0", b"1\\0\\0\\1\\0\\0", b"1\\0\\0\\0.6\\0.8\\0", b"1\\0\\0\\0\\0.6\\0.8", b"10\\20\\30",
    b"1e30\\0\\0", b"1,5", b"\xff\xfe", b"0.001\\0.001", b"1e6\\1e6", b"0.5\\2", b"-1\\1", b"9" * 40,
    b"2147483648", b"1.2.3", b"MONOCHROME1", b"RGB", b"PALETTE COLOR", b"ISO_IR 192", b"CT",
    *(struct.pack("<H", number) for number in (0, 1, 8, 16, 65535)),
])  # fmt: skip


@functools.cache
def slice_file(number: int) -> bytes:
    """A slice of a CT as DICOM."""
    file = io.BytesIO()
    slice_dataset(number).save_as(file, enforce_file_format=True)
    return file.getvalue()


def vectors(dataset, **lengths):
    """The numbers of elements; None if one of them has other than these lengths or is no number."""
    found = []
    for name, length in lengths.items():
        try:
            values = np.array([float(number) for number in dataset.get(name) or ()])
        except (TypeError, ValueError):
            return None
        if len(values) != length or not np.isfinite(values).all():
            return None
        found.append(values)
    return found


@examples
@given(st.lists(st.tuples(st.sampled_from(sorted(DICOM)), DICOM_VALUES), max_size=2), st.booleans())
def test_dicom(tmp_path, changes, everywhere):
    """Three slices of a CT, of which one or all have other values."""
    for number in range(3):
        dataset = pydicom.dcmread(io.BytesIO(slice_file(number)))  # what was read is written as it is
        for name, value in changes if everywhere or number == 1 else ():
            tag = Tag(name)
            dataset[tag] = RawDataElement(tag, DICOM[name], len(value), value + b" " * (len(value) % 2), 0, False, True)
        dataset.save_as(tmp_path / f"{number}.dcm")
    volume = read(tmp_path)
    if volume is None:
        return
    first = pydicom.dcmread(volume.series.files[0], force=True)
    last = pydicom.dcmread(volume.series.files[-1], force=True)
    one = vectors(first, ImageOrientationPatient=6, PixelSpacing=2, ImagePositionPatient=3)
    other = vectors(last, ImagePositionPatient=3)
    assume(one and other)
    orientation, spacing, start = one
    corners = np.array([[i, j, 0, 1] for i, j in product((0, volume.size[0] - 1), (0, volume.size[1] - 1))])
    columns = np.stack(
        [orientation[:3] * spacing[1], orientation[3:] * spacing[0], np.cross(*orientation.reshape(2, 3))]
    )
    expected = np.vstack([np.column_stack([columns.T, start]), [0, 0, 0, 1]])
    assert shear(expected, (*volume.size[:2], 1)) < VOXEL_SHARE
    ends = [corners @ volume.affine.T, (corners + np.array([0, 0, volume.size[2] - 1, 0])) @ volume.affine.T]
    off = [np.abs(corners @ expected.T - end).max() for end in ends]
    assert min(off) <= VOXEL_SHARE * spacing.max()  # the files may be listed from either end
    far = (volume.affine @ (0, 0, volume.size[2] - 1, 1))[:3]
    if len(volume.series.files) > 1:
        assert min(np.abs(other[0] - far).max(), np.abs(other[0] - volume.origin).max()) <= VOXEL_SHARE * spacing.max()


def test_voxels_beyond_all_bounds_are_refused(tmp_path):
    """Found by the tests above: of places as far as this, 64 bits tell no two voxels apart."""
    affine = np.diag([1.0, 1.0, 1.0, 1.0])
    affine[0, 3] = 1e30
    nibabel.save(nibabel.Nifti1Image(VOXELS.T, affine), tmp_path / "a.nii")
    with pytest.raises(InputFileError, match=r"-1e\+30, "):
        read_volume(tmp_path / "a.nii")
    dataset = slice_dataset(0)
    dataset.ImagePositionPatient = ["1e30", "0", "0"]
    dataset.save_as(tmp_path / "a.dcm", enforce_file_format=True)
    with pytest.raises(InputFileError, match=r"ImagePositionPatient of 1e\+30"):
        read_volume(tmp_path / "a.dcm")


def test_damaged_pictures_that_pillow_cannot_read_are_refused(tmp_path):
    """Found by the tests above: a wrong kind of error, and four gigabytes."""
    pixels = chunk(b"IDAT", zlib.compress(b"\0" * 56)) + chunk(b"IEND", b"")
    for name, side, more in (("short", 7, chunk(b"tRNS", b"")), ("large", 65536, chunk(b"iCCP", b"x"))):
        head = chunk(b"IHDR", struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0))
        (tmp_path / f"{name}.png").write_bytes(b"\x89PNG\r\n\x1a\n" + head + more + pixels)
        with pytest.raises(InputFileError, match=f"{name}.png .* damaged"):
            read_volume(tmp_path / f"{name}.png")
