"""Which DICOM objects hold images of anatomy, and which transfer syntaxes are read (PS3.4 B.5, PS3.5 chapter 10)."""

from pydicom.uid import UID

LABEL_MAP_SEGMENTATION = "1.2.840.10008.5.1.4.1.1.66.7"  # newer than pydicom's dictionary
SEGMENTATION = "1.2.840.10008.5.1.4.1.1.66.4"
STRUCTURE_SET = "1.2.840.10008.5.1.4.1.1.481.3"
# Objects with pixels, or made of them, that show no anatomy: they are listed and not segmented.
_DERIVED = {
    SEGMENTATION: "Segmentation",
    LABEL_MAP_SEGMENTATION: "Label Map Segmentation",
    "1.2.840.10008.5.1.4.1.1.66.5": "Surface Segmentation",
    "1.2.840.10008.5.1.4.1.1.481.2": "RT Dose",
    "1.2.840.10008.5.1.4.1.1.30": "Parametric Map",
    "1.2.840.10008.5.1.4.1.1.77.1.5.8": "OCT Volume Analysis",
    "1.2.840.10008.5.1.4.1.1.81.1": "Ophthalmic Thickness Map",
    "1.2.840.10008.5.1.4.1.1.82.1": "Corneal Topography Map",
}
TILED = ("1.2.840.10008.5.1.4.1.1.77.1.6", "1.2.840.10008.5.1.4.1.1.77.1.9")  # frames are parts of one picture
IN_PROBE_SPACE = "1.2.840.10008.5.1.4.1.1.6.2"  # Enhanced US Volume: its frames have a place, but not in the patient
_IMAGE_NAMES = ("Image Storage", "Enhanced US Volume Storage")
_RAW = ("1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.2")
DEFLATED = "1.2.840.10008.1.2.1.99"
JPEG = {  # decoded by GDCM, as JPEG codestreams
    "1.2.840.10008.1.2.4.50": "JPEG Baseline",
    "1.2.840.10008.1.2.4.51": "JPEG Extended",
    "1.2.840.10008.1.2.4.57": "JPEG Lossless",
    "1.2.840.10008.1.2.4.70": "JPEG Lossless SV1",
    "1.2.840.10008.1.2.4.80": "JPEG-LS Lossless",
    "1.2.840.10008.1.2.4.81": "JPEG-LS Near-Lossless",
}
JPEG_2000 = {"1.2.840.10008.1.2.4.90": "JPEG 2000 Lossless", "1.2.840.10008.1.2.4.91": "JPEG 2000"}
RLE = "1.2.840.10008.1.2.5"
COMPRESSED = JPEG | JPEG_2000 | {RLE: "RLE Lossless"}  # what GDCM in SimpleITK decodes; tried in test_dicom_compressed
_FOREIGN = {  # newer than pydicom's dictionary, or without a short name there
    "1.2.840.10008.1.2.4.92": "JPEG 2000 Part 2",
    "1.2.840.10008.1.2.4.93": "JPEG 2000 Part 2",
    "1.2.840.10008.1.2.4.110": "JPEG XL Lossless",
    "1.2.840.10008.1.2.4.111": "JPEG XL JPEG Recompression",
    "1.2.840.10008.1.2.4.112": "JPEG XL",
    "1.2.840.10008.1.2.4.201": "High-Throughput JPEG 2000 Lossless",
    "1.2.840.10008.1.2.4.202": "High-Throughput JPEG 2000 Lossless RPCL",
    "1.2.840.10008.1.2.4.203": "High-Throughput JPEG 2000",
    "1.2.840.10008.1.2.8.1": "Deflated Image Frame Compression",
    "1.2.840.113619.5.2": "GE Private Implicit VR Big Endian",
}


def is_uncompressed(syntax: str) -> bool:
    """True where voxels lie in the file as they are (deflated files, once unpacked, among them)."""
    return syntax in _RAW or syntax == DEFLATED


def syntax_name(syntax: str) -> str:
    """What a transfer syntax is called."""
    return COMPRESSED.get(syntax) or _FOREIGN.get(syntax) or UID(syntax).name or "unknown"


def class_name(sop_class: str) -> str:
    """What a SOP class is called, without "Storage"."""
    return _DERIVED.get(sop_class) or UID(sop_class).name.removesuffix(" Storage") or "unknown object"


def is_image(sop_class: str) -> bool | None:
    """True for image storage classes, False for every other standard class, None for private and missing ones."""
    name = UID(sop_class).name
    if sop_class in _DERIVED:
        return False
    if not sop_class or name == sop_class:
        return None
    return name.partition(" - ")[0].endswith(_IMAGE_NAMES)
