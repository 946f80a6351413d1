"""What the labels in DICOM files mean: names, codes and colours as structures with Slicer's terminology."""

from collections.abc import Sequence

from highdicom.color import CIELabColor
from pydicom.dataset import Dataset

from ..terminology import Structure, describe
from . import sop_classes
from .contours import Region
from .elements import damage_reported

_CONTEXT = "Segmentation category and type - DICOM master list"
_REGIONS = "Anatomic codes - DICOM master list"
_ANATOMY = ("SCT", "123037004", "Anatomical Structure")
_Triple = tuple[str, str, str]  # coding scheme, value and meaning


def structures_of(path: str, dataset: Dataset, drawn: Sequence[Region]) -> dict[int, Structure]:
    """The structures of a segmentation or structure set by the number that the file gives each.

    Label values are the segment numbers of a segmentation, and 1, 2, 3 … for the structures of a structure set.

    :param path: for messages. :param drawn: the structures of a structure set, see ``contours.regions``.
    :raises InputFileError: the list is damaged.
    """
    if dataset.SOPClassUID != sop_classes.STRUCTURE_SET:
        with damage_reported(path, "its list of segments"):
            items = [item for item in dataset.get("SegmentSequence") or () if item.SegmentNumber]  # 0 is background
            return {int(item.SegmentNumber): _structure(item) for item in items}
    result = {}
    for label, region in enumerate(drawn, 1):
        known = describe(label, region.name)
        terminology = known.terminology if region.code is None else _terminology(None, region.code)
        result[region.number] = Structure(label, region.name, terminology, region.color or known.color)
    return result


def _structure(described: Dataset) -> Structure:
    number = int(described.SegmentNumber)
    name = str(described.get("SegmentLabel") or f"Segment {number}")
    known = describe(number, name)
    lab = described.get("RecommendedDisplayCIELabValue")
    color = tuple(part / 255 for part in _rgb(lab)) if lab else known.color
    category = _first_code(described, "SegmentedPropertyCategoryCodeSequence")
    kind = _first_code(described, "SegmentedPropertyTypeCodeSequence")
    if kind is None:
        return Structure(number, name, known.terminology, color)
    modifier = _first_code(
        described.SegmentedPropertyTypeCodeSequence[0], "SegmentedPropertyTypeModifierCodeSequence"
    )  # fmt: skip
    region = _first_code(described, "AnatomicRegionSequence")
    return Structure(number, name, _terminology(category, kind, modifier, region), color)


def _rgb(lab: list[int]) -> tuple[int, int, int]:
    red, green, blue = CIELabColor.from_dicom_value(tuple(int(part) for part in lab)).to_rgb()
    return red, green, blue


def _first_code(dataset: Dataset, keyword: str) -> _Triple | None:
    """The first code of a sequence; None where there is none."""
    for item in dataset.get(keyword) or ():
        value = item.get("CodeValue") or item.get("LongCodeValue") or ""
        return str(item.get("CodingSchemeDesignator", "")), str(value), str(item.get("CodeMeaning", ""))
    return None


def _terminology(
    category: _Triple | None, kind: _Triple, modifier: _Triple | None = None, region: _Triple | None = None
) -> str:
    """Slicer's serialized terminology entry."""
    parts = ["^".join(code) if code else "^^" for code in (category or _ANATOMY, kind, modifier)]
    return "~".join([_CONTEXT, *parts, _REGIONS, "^".join(region) if region else "^^", "^^"])
