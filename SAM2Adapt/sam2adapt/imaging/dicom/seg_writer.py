"""Results as DICOM Segmentation (SEG) through highdicom: BINARY, or LABELMAP of the 2024 standard.

Patient, study and frame of reference are those of the series that was segmented; the segments carry names, codes,
colours and the algorithm that made them.
"""

import os
import warnings
from collections.abc import Sequence

import highdicom
import numpy as np
import pydicom
from highdicom.color import CIELabColor
from pydicom.dataset import Dataset
from pydicom.sr.coding import Code
from pydicom.uid import generate_uid

from ...shared.errors import GeometryError, InputFileError, OutputError
from ..image_files import replacing
from ..terminology import Structure, codes_of
from .geometry import Grid
from .header import ImageHeader
from .labels import read_dicom_labels
from .placing import place_on_grid
from .scan import Scan, scan
from .series import series_grid

KINDS = ("BINARY", "LABELMAP")
AUTOMATIC, SEMIAUTOMATIC, MANUAL = "AUTOMATIC", "SEMIAUTOMATIC", "MANUAL"  # how segments were made
_ANATOMICAL = Code("123037004", "SCT", "Anatomical Structure")
_INTELLIGENCE = Code("123110", "DCM", "Artificial Intelligence")
_MAKER = "SAM2Adapt"
_LONGEST_NAME = 64  # characters of a DICOM long string (LO)


def write_dicom_seg(path: str | os.PathLike, labels: np.ndarray, grid: Grid, structures: Sequence[Structure],
                    reference: str | os.PathLike | Sequence[str], kind: str = "BINARY",
                    algorithm: tuple[str, str] = (_MAKER, "1"), series: str | None = None,
                    made: str = AUTOMATIC) -> None:  # fmt: skip
    """Write labels as a DICOM SEG, read it back, compare, and only then let the file appear.

    :param labels: (K, J, I) on ``grid``.
    :param structures: a structure without voxels becomes a segment without frames. BINARY numbers segments 1, 2, 3 …
        in their order, LABELMAP keeps the label values.
    :param reference: folder or files of the DICOM series that was segmented, or on whose voxels the labels lie.
    :param algorithm: name and version of the model.
    :param series: SeriesInstanceUID where the folder holds several.
    :param made: by the model alone, with corrections of a user, or by hand.
    :raises OutputError: it cannot be written; no series to refer to, or several.
    :raises GeometryError: the labels do not lie on the voxels of the series.
    """
    headers, target = _reference(path, reference, series)
    on_series = place_on_grid(str(path), labels, grid, target)
    frames = on_series[_slices_of_frames(headers, target)]
    if not on_series.any():
        raise OutputError(
            f"{path}: nothing was found, and a DICOM segmentation without a segmented voxel means nothing "
            "to an archive.",
            "Write .seg.nrrd, which can be empty.",
        )
    numbered = list(enumerate(structures, 1)) if kind == "BINARY" else [(s.id, s) for s in structures]
    table = np.zeros(256, np.uint8)
    for number, structure in numbered:
        table[structure.id] = number
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about names of the source's patient that keep to no rule
        dataset = _dataset(headers, table[frames], numbered, kind, algorithm, made)
        with replacing(path) as temporary:
            dataset.save_as(temporary, enforce_file_format=True)
            written = read_dicom_labels(temporary, target)
            if not np.array_equal(written.array, table[on_series]):
                raise OSError(28, "what was stored differs from the result, the disk may be full")


def check_reference(path: str | os.PathLike, grid: Grid, reference: str | os.PathLike | Sequence[str]) -> None:
    """Refuse, before the work, what :func:`write_dicom_seg` would refuse after it.

    :param grid: of the labels that are to be written. :raises: as :func:`write_dicom_seg`.
    """
    headers, target = _reference(path, reference, None)
    corners = np.zeros(grid.size[::-1], bool)
    corners[np.ix_(*((0, length - 1) for length in corners.shape))] = True
    place_on_grid(str(path), corners, grid, target)
    _slices_of_frames(headers, target)


def _reference(
    path: str | os.PathLike, reference: str | os.PathLike | Sequence[str], series: str | None
) -> tuple[list[ImageHeader], Grid]:
    """The headers of the series to which a segmentation refers, and its grid."""
    scanned = scan(reference)
    headers = _headers(path, scanned, reference, series)
    return headers, series_grid(scanned, headers[0].series_uid)


def _headers(path: str | os.PathLike, scanned: Scan, reference: object, series: str | None) -> list[ImageHeader]:
    fitting = [headers for info, headers in scanned.series if series in (None, info.uid, info.description)]
    uids = {headers[0].series_uid for headers in fitting}
    if len(uids) != 1:
        names = "; ".join(str(info) for info, _ in scanned.series)
        held = f"holds {len(uids)} series: {names}" if scanned.series else "holds no DICOM images"
        raise OutputError(
            f"{path} must refer to one DICOM series, and {reference} {held}.",
            "Give the folder of the series on which the result lies.",
        )
    return max(fitting, key=lambda headers: sum(header.frames for header in headers))


def _slices_of_frames(headers: Sequence[ImageHeader], grid: Grid) -> np.ndarray:
    """The slice of the grid in which each frame lies, in the order of files and frames."""
    if not all(header.has_place for header in headers):
        raise GeometryError(f"{headers[0].path} does not say where its frames lie.", "Choose another series.")
    positions = np.concatenate([header.positions for header in headers])
    inverse = np.linalg.inv(grid.affine)
    return np.rint(positions @ inverse[2, :3] + inverse[2, 3]).astype(int)


def _dataset(headers: Sequence[ImageHeader], frames: np.ndarray, numbered: list[tuple[int, Structure]], kind: str,
             algorithm: tuple[str, str], made: str) -> Dataset:  # fmt: skip
    sources = [_source(header) for header in headers]
    name, version = algorithm
    identification = None
    if made != MANUAL:
        identification = highdicom.AlgorithmIdentificationSequence(
            name[:_LONGEST_NAME], _INTELLIGENCE, version[:_LONGEST_NAME], _MAKER
        )
    described = [_description(number, structure, made, identification) for number, structure in numbered]
    dataset = highdicom.seg.Segmentation(
        sources,
        frames,
        kind,
        described,
        series_instance_uid=generate_uid(),
        series_number=1000,
        sop_instance_uid=generate_uid(),
        instance_number=1,
        manufacturer=_MAKER,
        manufacturer_model_name=name[:_LONGEST_NAME],
        software_versions=version[:_LONGEST_NAME],
        device_serial_number="1",
        content_label="SEGMENTATION",
        series_description=f"{_MAKER}: {name}"[:_LONGEST_NAME],
    )
    for item, (_, structure) in zip(dataset.SegmentSequence[-len(numbered) :], numbered, strict=True):
        if modifier := _codes(structure)[2]:
            item.SegmentedPropertyTypeCodeSequence[0].SegmentedPropertyTypeModifierCodeSequence = [
                highdicom.sr.CodedConcept.from_code(modifier)
            ]
    return dataset


def _source(header: ImageHeader) -> Dataset:
    try:
        dataset = pydicom.dcmread(header.path, stop_before_pixels=True, force=True)
    except OSError as error:
        raise InputFileError(f"{header.path} cannot be opened: {error.strerror}.", "Check who may read it.") from error
    for keyword in (
        "PatientName",
        "PatientID",
        "PatientBirthDate",
        "PatientSex",
        "StudyID",
        "StudyDate",
        "StudyTime",
        "AccessionNumber",
        "ReferringPhysicianName",
    ):
        if keyword not in dataset:  # required but possibly empty; removed by some anonymisers
            setattr(dataset, keyword, "")
    return dataset


def _description(
    number: int, structure: Structure, made: str, identification: highdicom.AlgorithmIdentificationSequence | None
) -> highdicom.seg.SegmentDescription:
    category, kind, _, region = _codes(structure)
    red, green, blue = (round(255 * part) for part in structure.color)
    return highdicom.seg.SegmentDescription(
        number,
        structure.name[:_LONGEST_NAME],
        category or _ANATOMICAL,
        kind or _ANATOMICAL,
        made,
        identification,
        anatomic_regions=[region] if region else None,
        display_color=CIELabColor.from_rgb(red, green, blue),
    )


def _codes(structure: Structure) -> list[Code | None]:
    """Category, type, modifier of the type, and region of Slicer's serialized terminology."""
    return [
        Code(value, scheme, meaning) if scheme and value else None for scheme, value, meaning in codes_of(structure)
    ]
