"""CTChest4 of slicerio as DICOM, written to the standard with pydicom and highdicom: what the tests of inputs read."""

import functools
from collections.abc import Callable
from pathlib import Path

import highdicom
import numpy as np
import SimpleITK as sitk
import slicerio
from pydicom import uid
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sr.codedict import codes
from sam2adapt.imaging.dicom.sop_classes import LABEL_MAP_SEGMENTATION

AIR = -500  # HU; what lies below, down to -1000, stands for the lungs where no model runs


@functools.cache
def chest() -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """HU (34, 128, 128) int16, origin, spacing and direction (LPS) of CTChest4; padding at -3024 becomes air."""
    image = sitk.ReadImage(str(slicerio.get_testdata_file("CTChest4.nrrd")))
    voxels = np.maximum(sitk.GetArrayFromImage(image), -1024).astype(np.int16)
    return voxels, np.array(image.GetOrigin()), np.array(image.GetSpacing()), np.reshape(image.GetDirection(), (3, 3))


def air_ml(array: np.ndarray, spacing: np.ndarray) -> float:
    """Millilitres of air, by grey levels."""
    return float(((array > -1000) & (array < AIR)).sum() * np.prod(spacing) / 1000)


def position(index: int) -> list[str]:
    """ImagePositionPatient of a slice, in the digits that DICOM allows."""
    _, origin, spacing, direction = chest()
    return [f"{value:.10g}"[:16] for value in origin + direction[:, 2] * spacing[2] * index]


def base_dataset(sop_class: str, series: str = "1.2.826.0.1.3680043.8.498.1") -> Dataset:
    """Patient, study, series and frame of reference of an object."""
    dataset, dataset.file_meta = Dataset(), FileMetaDataset()
    dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID = sop_class
    dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = uid.generate_uid()
    dataset.file_meta.TransferSyntaxUID = uid.ExplicitVRLittleEndian
    dataset.PatientName, dataset.PatientID, dataset.PatientBirthDate, dataset.PatientSex = "Chest^Sample", "4", "", "O"
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID = "1.2.826.0.1.3680043.8.498.2", series
    dataset.StudyID, dataset.StudyDate, dataset.StudyTime = "1", "20200101", "120000"
    dataset.AccessionNumber, dataset.ReferringPhysicianName = "", ""
    dataset.SeriesNumber, dataset.InstanceNumber, dataset.SeriesDescription = 1, 1, "Chest"
    dataset.FrameOfReferenceUID, dataset.PositionReferenceIndicator = "1.2.826.0.1.3680043.8.498.3", ""
    dataset.Manufacturer, dataset.ManufacturerModelName, dataset.SoftwareVersions = "Sample", "Sample", "1"
    dataset.DeviceSerialNumber, dataset.Modality = "1", "CT"
    dataset.ContentDate, dataset.ContentTime = "20200101", "120000"
    return dataset


def grey_pixels(dataset: Dataset, stored: np.ndarray) -> None:
    """The pixel module for (rows, columns) or (frames, rows, columns) of uint8, uint16 or int16."""
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.Rows, dataset.Columns = stored.shape[-2:]
    dataset.BitsAllocated = dataset.BitsStored = stored.itemsize * 8
    dataset.HighBit, dataset.PixelRepresentation = dataset.BitsStored - 1, int(stored.dtype.kind == "i")
    dataset.PixelData = stored.astype(stored.dtype.newbyteorder("<")).tobytes()
    dataset["PixelData"].VR = "OW"


def slice_dataset(index: int, hu: np.ndarray | None = None, intercept: float = -1024, slope: float = 1) -> Dataset:
    """One slice of CTChest4 as CT Image Storage, unsigned 16 bits."""
    voxels, _, spacing, direction = chest()
    hu = voxels[index] if hu is None else hu
    dataset = base_dataset(uid.CTImageStorage)
    dataset.InstanceNumber, dataset.ImageType = index + 1, ["ORIGINAL", "PRIMARY", "AXIAL"]
    dataset.ImagePositionPatient = position(index)
    dataset.ImageOrientationPatient = [f"{value:.8g}" for value in direction[:, :2].T.ravel()]
    dataset.PixelSpacing, dataset.SliceThickness = [f"{spacing[1]:.10g}", f"{spacing[0]:.10g}"], f"{spacing[2]:.8g}"
    dataset.KVP, dataset.AcquisitionNumber, dataset.PatientPosition = "120", 1, "HFS"
    dataset.RescaleSlope, dataset.RescaleIntercept, dataset.RescaleType = str(slope), str(intercept), "HU"
    dataset.LossyImageCompression = "00"
    grey_pixels(dataset, np.rint((hu - intercept) / slope).astype(np.uint16))
    return dataset


def save(dataset: Dataset, path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    dataset.save_as(path, enforce_file_format=True)
    return path


def write_series(folder: Path, change: Callable[[Dataset, int], Dataset | None] | None = None,
                 indices: range = range(34)) -> Path:  # fmt: skip
    """CTChest4 as a series; ``change`` alters a slice's dataset in place, or gives another one."""
    for index in indices:
        dataset = slice_dataset(index)
        if change is not None:
            dataset = change(dataset, index) or dataset
        save(dataset, folder / f"{(index * 7) % 34:03}.dcm")
    return folder


def group(**elements) -> Dataset:
    """A functional group or another item of a sequence."""
    dataset = Dataset()
    for keyword, value in elements.items():
        setattr(dataset, keyword, [value] if isinstance(value, Dataset) else value)
    return dataset


def enhanced_dataset(
    slope: Callable[[int], float] = lambda _: 1.0,
    intercept: Callable[[int], float] = lambda _: -1024,
    sop_class: str = uid.EnhancedCTImageStorage,
    order: list[int] | None = None,
) -> Dataset:
    """CTChest4 as one multi-frame file with functional groups; slope and intercept of each frame as given."""
    voxels, _, spacing, direction = chest()
    order = list(range(len(voxels))) if order is None else order
    dataset = base_dataset(sop_class)
    dataset.Modality = "MR" if "MR" in uid.UID(sop_class).name else "CT"
    dataset.NumberOfFrames, dataset.ImageType = len(order), ["ORIGINAL", "PRIMARY", "VOLUME", "NONE"]
    dataset.SharedFunctionalGroupsSequence = [
        group(
            PixelMeasuresSequence=group(PixelSpacing=[f"{spacing[1]:.10g}", f"{spacing[0]:.10g}"], SliceThickness="10"),
            PlaneOrientationSequence=group(ImageOrientationPatient=direction[:, :2].T.ravel().tolist()),
        )
    ]
    dataset.PerFrameFunctionalGroupsSequence = [
        group(
            FrameContentSequence=group(StackID="1", InStackPositionNumber=frame + 1),
            PlanePositionSequence=group(ImagePositionPatient=position(index)),
            PixelValueTransformationSequence=group(
                RescaleSlope=str(slope(frame)), RescaleIntercept=str(intercept(frame)), RescaleType="HU"
            ),
        )
        for frame, index in enumerate(order)
    ]
    grey_pixels(
        dataset,
        np.stack(
            [
                np.rint((voxels[index] - intercept(frame)) / slope(frame)).astype(np.uint16)
                for frame, index in enumerate(order)
            ]
        ),
    )
    return dataset


def picture_dataset(
    array: np.ndarray, sop_class: str = uid.SecondaryCaptureImageStorage, modality: str = "OT"
) -> Dataset:
    """A secondary capture, photograph or ultrasound image: grey (rows, columns) or colour (rows, columns, 3) uint8."""
    dataset = base_dataset(sop_class, "1.2.826.0.1.3680043.8.498.9")
    dataset.Modality, dataset.ConversionType, dataset.SeriesDescription = modality, "WSD", "Picture"
    del dataset.FrameOfReferenceUID, dataset.PositionReferenceIndicator
    grey_pixels(dataset, array if array.ndim == 2 else array[..., 0])
    if array.ndim == 3:
        dataset.SamplesPerPixel, dataset.PhotometricInterpretation, dataset.PlanarConfiguration = 3, "RGB", 0
        dataset.PixelData = array.tobytes() + b"\0" * (array.size % 2)
    return dataset


def dose_dataset() -> Dataset:
    """An RT Dose on the grid of CTChest4."""
    voxels, _, spacing, direction = chest()
    dataset = base_dataset("1.2.840.10008.5.1.4.1.1.481.2", "1.2.826.0.1.3680043.8.498.5")
    dataset.Modality, dataset.SeriesDescription, dataset.NumberOfFrames = "RTDOSE", "Dose", len(voxels)
    dataset.ImagePositionPatient, dataset.PixelSpacing = position(0), [f"{spacing[1]:.10g}", f"{spacing[0]:.10g}"]
    dataset.ImageOrientationPatient = direction[:, :2].T.ravel().tolist()
    dataset.FrameIncrementPointer, dataset.GridFrameOffsetVector = 0x3004000C, [10 * i for i in range(len(voxels))]
    dataset.DoseUnits, dataset.DoseType, dataset.DoseSummationType = "GY", "PHYSICAL", "PLAN"
    dataset.DoseGridScaling = "0.001"
    grey_pixels(dataset, (voxels > AIR).astype(np.uint16) * 2000)
    return dataset


def structure_set_dataset() -> Dataset:
    """An RT structure set with one contour."""
    dataset = base_dataset("1.2.840.10008.5.1.4.1.1.481.3", "1.2.826.0.1.3680043.8.498.6")
    dataset.Modality, dataset.StructureSetLabel, dataset.SeriesDescription = "RTSTRUCT", "ROIs", "ROIs"
    dataset.StructureSetROISequence = [
        group(
            ROINumber=1,
            ReferencedFrameOfReferenceUID=dataset.FrameOfReferenceUID,
            ROIName="Lung",
            ROIGenerationAlgorithm="MANUAL",
        )
    ]
    contour = group(
        ContourGeometricType="CLOSED_PLANAR",
        NumberOfContourPoints=3,
        ContourData=[*position(3), *position(3), *position(3)],
    )
    dataset.ROIContourSequence = [group(ReferencedROINumber=1, ROIDisplayColor=[255, 0, 0], ContourSequence=contour)]
    dataset.RTROIObservationsSequence = [group(ObservationNumber=1, ReferencedROINumber=1, RTROIInterpretedType="")]
    return dataset


def key_object_dataset(images: list[Dataset]) -> Dataset:
    content = highdicom.ko.KeyObjectSelection(codes.DCM.Manifest, images[:2])
    return highdicom.ko.KeyObjectSelectionDocument(
        images[:2], content, uid.generate_uid(), 7, uid.generate_uid(), 1, manufacturer="Sample"
    )


def presentation_state_dataset(images: list[Dataset]) -> Dataset:
    return highdicom.pr.GrayscaleSoftcopyPresentationState(
        images,
        uid.generate_uid(),
        8,
        uid.generate_uid(),
        1,
        "Sample",
        "Sample",
        "1",
        "1",
        "WINDOW",
        voi_lut_transformations=[highdicom.pr.SoftcopyVOILUTTransformation(window_center=40, window_width=400)],
    )


def segmentation_dataset(images: list[Dataset], labels: np.ndarray, kind: str = "LABELMAP", names=("Lung", "Spleen"),
                         **options) -> Dataset:  # fmt: skip
    """A DICOM SEG by highdicom on the slices of ``images``; ``labels`` (K, J, I), or (K, J, I, segments) fractions."""
    types = (codes.SCT.Lung, codes.SCT.Spleen, codes.SCT.Liver)
    described = [
        highdicom.seg.SegmentDescription(
            number,
            name,
            codes.SCT.Organ,
            types[number - 1],
            "MANUAL",
            display_color=highdicom.color.CIELabColor(50 + number, 30.0, -20.0 * number),
        )
        for number, name in enumerate(names, 1)
    ]
    dataset = highdicom.seg.Segmentation(
        images,
        labels,
        kind,
        described,
        uid.generate_uid(),
        9,
        uid.generate_uid(),
        1,
        "Sample",
        "Sample",
        "1",
        "1",
        series_description="Segmentation",
        **options,
    )
    assert kind != "LABELMAP" or dataset.SOPClassUID == LABEL_MAP_SEGMENTATION
    return dataset
