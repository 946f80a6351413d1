"""Headers of NIfTI-1, NIfTI-2 and Analyze 7.5 files: fields, place in the patient, unit, scale and type of voxels.

The fields are those of ``nifti1.h``, ``nifti2.h`` (https://nifti.nimh.nih.gov) and of the Mayo Clinic's ``dbh.h``.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ...shared.errors import InputFileError, VolumeError
from ...shared.tolerance import ROUNDING, displacement
from .stored_image import Place, check_spacing, checked_place, several_images

_PLACE_1 = [("qform_code", "i2"), ("sform_code", "i2"), ("quatern", "f4", (3,)), ("qoffset", "f4", (3,)),
            ("srow", "f4", (3, 4))]  # fmt: skip
_NIFTI_1 = np.dtype([
    ("sizeof_hdr", "i4"), ("unused", "S35"), ("dim_info", "u1"), ("dim", "i2", (8,)), ("intent_p", "f4", (3,)),
    ("intent_code", "i2"), ("datatype", "i2"), ("bitpix", "i2"), ("slice_start", "i2"), ("pixdim", "f4", (8,)),
    ("vox_offset", "f4"), ("scl_slope", "f4"), ("scl_inter", "f4"), ("slice_end", "i2"), ("slice_code", "u1"),
    ("xyzt_units", "u1"), ("cal_max", "f4"), ("cal_min", "f4"), ("slice_duration", "f4"), ("toffset", "f4"),
    ("glmax", "i4"), ("glmin", "i4"), ("descrip", "S80"), ("aux_file", "S24"), *_PLACE_1, ("intent_name", "S16"),
    ("magic", "S4")])  # fmt: skip
_NIFTI_2 = np.dtype([
    ("sizeof_hdr", "i4"), ("magic", "S8"), ("datatype", "i2"), ("bitpix", "i2"), ("dim", "i8", (8,)),
    ("intent_p", "f8", (3,)), ("pixdim", "f8", (8,)), ("vox_offset", "i8"), ("scl_slope", "f8"), ("scl_inter", "f8"),
    ("cal_max", "f8"), ("cal_min", "f8"), ("slice_duration", "f8"), ("toffset", "f8"), ("slice_start", "i8"),
    ("slice_end", "i8"), ("descrip", "S80"), ("aux_file", "S24"), ("qform_code", "i4"), ("sform_code", "i4"),
    ("quatern", "f8", (3,)), ("qoffset", "f8", (3,)), ("srow", "f8", (3, 4)), ("slice_code", "i4"),
    ("xyzt_units", "i4"), ("intent_code", "i4"), ("intent_name", "S16"), ("dim_info", "u1"),
    ("unused", "S15")])  # fmt: skip
_ANALYZE = np.dtype([
    ("sizeof_hdr", "i4"), ("unused", "S36"), ("dim", "i2", (8,)), ("vox_units", "S4"), ("cal_units", "S8"),
    ("unused1", "i2"), ("datatype", "i2"), ("bitpix", "i2"), ("dim_un0", "i2"), ("pixdim", "f4", (8,)),
    ("vox_offset", "f4"), ("scl_slope", "f4"), ("rest", "S232")])  # fmt: skip
KINDS = {1: _NIFTI_1, 2: _NIFTI_2, 0: _ANALYZE}  # by version; 0 is Analyze
LENGTHS = {version: kind.itemsize for version, kind in KINDS.items()}

#: NumPy type and values a voxel of each datatype code that is read.
DATATYPES = {
    2: ("u1", 1), 4: ("i2", 1), 8: ("i4", 1), 16: ("f4", 1), 64: ("f8", 1), 128: ("u1", 3), 256: ("i1", 1),
    512: ("u2", 1), 768: ("u4", 1), 1024: ("i8", 1), 1280: ("u8", 1), 2304: ("u1", 4),
}  # fmt: skip
_UNREAD = {1: "single bits", 32: "complex", 1536: "128-bit floats", 1792: "complex", 2048: "complex"}
_MILLIMETRES = {0: 1.0, 1: 1000.0, 2: 1.0, 3: 1e-3}  # of the unit in xyzt_units; 0: not said
_ANALYZE_UNITS = {b"m": 1000.0, b"cm": 10.0, b"um": 1e-3}
_FORMS = ("pixdim", "xyzt_units", "qform_code", "sform_code", "quatern", "qoffset", "srow")
_TO_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])
_TILTED = (
    "It is how dcm2niix writes a scan with a tilted gantry: use the file whose name ends in _Tilt_1 that it writes"
    " beside this one, or resample this one onto a right-angled grid (nibabel.processing.resample_to_output)."
)
_EXPORT = "Export it again from where it came."


@dataclass(frozen=True)
class NiftiHeader:
    """A complete header.

    :ivar version: 1 or 2; 0 for Analyze 7.5. :ivar fields: of ``nifti1.h``, in this machine's byte order.
    :ivar order: of the file, "<" or ">". :ivar size: voxels along I, J, K. :ivar components: values a voxel.
    :ivar interleaved: whether the values of one voxel follow each other (colours), not whole images (vectors).
    :ivar type: NumPy type of a value in the file. :ivar start: byte of the first voxel. :ivar paired: voxels in a file
        of their own.
    """

    path: Path
    version: int
    fields: np.ndarray
    order: str
    size: tuple[int, int, int]
    components: int
    interleaved: bool
    type: np.dtype
    start: int
    paired: bool

    @property
    def data_bytes(self) -> int:
        """Bytes of the voxels, unpacked."""
        return int(np.prod(self.size, dtype=object)) * self.components * self.type.itemsize

    @property
    def described(self) -> str:
        """Grid and type in words."""
        kind = self.type.name if self.components == 1 else f"{self.components} values of {self.type.name}"
        return f"{' x '.join(map(str, self.size))} voxels of {kind}"

    @property
    def scale(self) -> tuple[float, float] | None:
        """Slope and intercept of the voxel values; None where the header gives none: a slope of 0 means no scaling."""
        slope, inter = float(self.fields["scl_slope"]), 0.0
        if self.version:
            inter = float(self.fields["scl_inter"])
        if slope == 0 or not np.isfinite(slope) or (slope == 1 and inter == 0):
            return None
        if not np.isfinite(inter):
            raise InputFileError(
                f"{self.path} gives {slope:g} as slope and {inter} as intercept of its values.", _EXPORT
            )
        return slope, inter

    @property
    def forms(self) -> dict[str, np.ndarray] | None:
        """What the header says about the place, to be written into results; None for Analyze."""
        if self.version == 0:
            return None
        return {"version": self.version, **{name: self.fields[name].copy() for name in _FORMS}}

    def place(self) -> Place:
        """Where the voxels lie.

        Of two places the one that ITK, and so Slicer, takes: the sform where its code is 1 (scanner) or there is no
        qform, else the qform; with neither, the axes count as L, P, S. A sheared sform is never replaced by the qform
        of the same code.

        :raises InputFileError: the header gives no place that voxels can have. :raises VolumeError: sheared axes.
        """
        if self.version == 0:
            note = (
                f"{self.path} is an Analyze file, a format that cannot say where left, front and head are; its axes"
                " were taken as running to the left, back and head, as in Slicer."
            )
            return self._without_forms(note)
        q, s = int(self.fields["qform_code"]), int(self.fields["sform_code"])
        if q <= 0 and s <= 0:
            note = (
                f"{self.path} does not say how it lies in the patient (its qform and sform codes are 0); its axes were"
                " taken as running to the left, back and head, as in Slicer."
            )
            return self._without_forms(note)
        scale = self._millimetres()
        places = {}
        if s > 0:
            places["sform"] = _TO_LPS @ np.vstack([self.fields["srow"].astype(np.float64) * scale, [0, 0, 0, 1]])
        if q > 0:
            places["qform"] = _TO_LPS @ self._qform(scale)
        used = "sform" if s > 0 and (q <= 0 or s == 1) else "qform"
        codes = {"sform": s, "qform": q}
        place = checked_place(places[used], self.size, self.path, _TILTED, f"axes ({used}, code {codes[used]})")
        notes = [place.note, self._disagreement(places, used, codes)]
        return Place(place.origin, place.spacing, place.direction, " ".join(filter(None, notes)))

    def _disagreement(self, places: dict[str, np.ndarray], used: str, codes: dict[str, int]) -> str:
        if len(places) == 1:
            return self._other_voxel_size(places[used]) if used == "sform" else ""
        other = "qform" if used == "sform" else "sform"
        try:
            off = displacement(places[used], places[other], self.size)
        except ValueError:
            off = np.inf
        if off < ROUNDING:
            return ""
        return (
            f"{self.path} gives two places that lie up to {off:.2g} voxels apart: sform (code {codes['sform']}) and"
            f" qform (code {codes['qform']}); the {used} was used, as in Slicer."
        )

    def _other_voxel_size(self, affine: np.ndarray) -> str:
        spacing = np.linalg.norm(affine[:3, :3], axis=0)
        stated = np.abs(self.fields["pixdim"][1:4].astype(np.float64)) * self._millimetres()
        if not (stated > 0).all() or np.allclose(stated, spacing, rtol=ROUNDING):
            return ""
        shown = [" x ".join(f"{n:g}" for n in sizes) for sizes in (stated, spacing)]
        return f"{self.path} has voxels of {shown[0]} mm by pixdim and {shown[1]} mm by its sform; the sform was used."

    def _without_forms(self, note: str) -> Place:
        spacing = self._voxel_size(self._millimetres())
        check_spacing(spacing, self.path)
        return Place(np.zeros(3), spacing, np.eye(3), note)

    def _voxel_size(self, scale: float) -> np.ndarray:
        spacing = np.abs(self.fields["pixdim"][1:4].astype(np.float64)) * scale
        for axis in range(3):
            if spacing[axis] == 0 and self.size[axis] == 1:  # of pictures
                spacing[axis] = 1.0
        return spacing

    def _millimetres(self) -> float:
        if self.version == 0:  # "mm", nothing, or what some program made of the field
            return _ANALYZE_UNITS.get(bytes(self.fields["vox_units"]).strip(b"\0 ").lower(), 1.0)
        unit = int(self.fields["xyzt_units"]) & 7
        if unit not in _MILLIMETRES:
            raise InputFileError(
                f"{self.path} gives its lengths in unit {unit}, which NIfTI does not know (1: m, 2: mm, 3: µm).",
                "Correct xyzt_units in its header.",
            )
        return _MILLIMETRES[unit]

    def _qform(self, scale: float) -> np.ndarray:
        """(4, 4) to RAS mm, by the formula in ``nifti1.h``."""
        b, c, d = self.fields["quatern"].astype(np.float64)
        rest = 1.0 - (b * b + c * c + d * d)
        if not rest >= -1e-3:  # also NaN
            raise InputFileError(
                f"{self.path} gives a qform that is no rotation: quaternion {b:g}, {c:g}, {d:g}.", _EXPORT
            )
        a = np.sqrt(max(0.0, rest))
        a, b, c, d = np.array([a, b, c, d]) / np.sqrt(a * a + b * b + c * c + d * d)
        rotation = np.array([
            [a * a + b * b - c * c - d * d, 2 * (b * c - a * d), 2 * (b * d + a * c)],
            [2 * (b * c + a * d), a * a + c * c - b * b - d * d, 2 * (c * d - a * b)],
            [2 * (b * d - a * c), 2 * (c * d + a * b), a * a + d * d - b * b - c * c]])  # fmt: skip
        spacing = self._voxel_size(scale)
        spacing[2] *= -1.0 if self.fields["pixdim"][0] < 0 else 1.0
        affine = np.eye(4)
        affine[:3, :3] = rotation * spacing
        affine[:3, 3] = self.fields["qoffset"].astype(np.float64) * scale
        return affine


def parse_header(data: bytes, path: Path) -> NiftiHeader:
    """Read and check a header.

    :param data: the first bytes of the file, unpacked; 540 are enough. :param path: for messages.
    :raises InputFileError: no such header, one that contradicts itself, or a type of voxels that is not read.
    :raises VolumeError: an axis of size zero, or several time points.
    """
    version, order = _kind(data, path)
    if len(data) < LENGTHS[version]:
        raise InputFileError(f"{path} is truncated: it ends within its header.", "Copy or download the file again.")
    stored = np.frombuffer(data, KINDS[version].newbyteorder(order), 1)[0]
    fields = stored.astype(KINDS[version])
    size, vectors = _grid(fields["dim"], path)
    code, bits = int(fields["datatype"]), int(fields["bitpix"])
    if code in _UNREAD:
        raise VolumeError(
            f"{path} has voxels of an unsupported type: {_UNREAD[code]} (datatype {code}).",
            "Choose a scalar or RGB volume, or save it as whole numbers or 32-bit floats.",
        )
    if code not in DATATYPES:
        raise InputFileError(f"{path} has voxels of an unknown type (datatype {code}).", _EXPORT)
    name, colours = DATATYPES[code]
    kind = np.dtype(name)
    if bits != 8 * kind.itemsize * colours:
        raise InputFileError(
            f"{path} contradicts itself: {bits} bits a voxel (bitpix), but datatype {code} has"
            f" {8 * kind.itemsize * colours}.", _EXPORT,
        )  # fmt: skip
    if vectors > 1 and colours > 1:
        raise VolumeError(f"{path} has {vectors * colours} values a voxel.", "Choose a scalar or RGB volume.")
    paired = version == 0 or fields["magic"][:2] == b"ni"
    start = _start(fields, version, paired, path)
    return NiftiHeader(path, version, fields, order, size, max(vectors, colours), colours > 1, kind, start, paired)


def _kind(data: bytes, path: Path) -> tuple[int, str]:
    """Version and byte order."""
    for order, name in (("<", "little"), (">", "big")):
        length = int.from_bytes(data[:4], name)
        if length == LENGTHS[2] and data[4:7] in (b"n+2", b"ni2"):
            return 2, order
        if length == LENGTHS[1]:
            return (1 if data[344:347] in (b"n+1", b"ni1") else 0), order
    raise InputFileError(
        f"{path} cannot be read: it is damaged or no image; it does not begin with a header of NIfTI or Analyze.",
        "Copy or download the file again, or give it the suffix of its format.",
    )


def _grid(dim: np.ndarray, path: Path) -> tuple[tuple[int, int, int], int]:
    """Voxels along I, J, K, and values a voxel (the fifth axis)."""
    axes = int(dim[0])
    if not 1 <= axes <= 7:
        raise InputFileError(f"{path} has {axes} axes; NIfTI allows 1 to 7.", _EXPORT)
    lengths = [int(n) for n in dim[1 : axes + 1]] + [1] * (7 - axes)
    if any(n < 0 for n in lengths):
        raise InputFileError(f"{path} has an axis of negative length: {' x '.join(map(str, lengths[:axes]))}.", _EXPORT)
    if 0 in lengths[: min(axes, 3)]:
        raise VolumeError(
            f"{path} has an axis of size zero: {' x '.join(map(str, lengths[:axes]))} voxels.",
            "Choose a file that holds an image.",
        )
    i, j, k, times, values, *more = (max(1, n) for n in lengths)
    if times * int(np.prod(more)) > 1:
        raise several_images(path, times * int(np.prod(more)))
    return (i, j, k), values


def _start(fields: np.ndarray, version: int, paired: bool, path: Path) -> int:
    """Byte of the first voxel in the file that holds the voxels."""
    offset, least = float(fields["vox_offset"]), 0 if paired else LENGTHS[version] + 4
    if version == 1 and not paired and offset == 0:
        return least
    if not (np.isfinite(offset) and offset == int(offset) and offset >= least):
        raise InputFileError(
            f"{path} says that its voxels begin at byte {offset:g} (vox_offset), and its header ends at {least}.",
            _EXPORT,
        )
    return int(offset)
