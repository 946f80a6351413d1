"""Make the training data of the bundled model ``torso-ct`` from the permissive pack ``ct_sample``, and train it.

    python Testing/benchmarks/torso_ct.py --data DATA/ct_sample --work WORK [-- options of `sam2adapt train`]

Labels: the liver of CHAOS is manual, its lungs are a classical segmentation made here (air inside the body that reaches
the uppermost slice); the labels of the TotalSegmentator test cases are that program's own predictions. Every volume is
also given as thick slices, because chest CT often has slices of 5 to 10 mm.
"""

import argparse
import subprocess
import sys
from pathlib import Path

import numpy as np
import SimpleITK as sitk
from scipy import ndimage
from skimage import measure, morphology

RIGHT_LUNG, LEFT_LUNG, LIVER = 1, 2, 3
TOTALSEGMENTATOR = {5: LIVER, 10: LEFT_LUNG, 11: LEFT_LUNG, 13: RIGHT_LUNG, 14: RIGHT_LUNG}
THICK_MM = 8.0
SUMMARY = (
    "CHAOS CT set 3 (CC BY-SA 4.0; liver manual, lungs by classical thresholding) and three TotalSegmentator test"
    " volumes (Apache-2.0; labels predicted by TotalSegmentator), each as thin and thick slices"
)
FREE_OF_LIVER = 60  # slices of the long TotalSegmentator scan, from the feet, that surely lie below the liver


def lungs(image: sitk.Image) -> np.ndarray:
    """Segment both lungs of a CT (HU, identity-like axes) classically: (K, J, I) with 1 = right, 2 = left."""
    hu = sitk.GetArrayFromImage(image)
    spacing = image.GetSpacing()
    body = measure.label(hu > -300)
    body = body == np.argmax(np.bincount(body.ravel())[1:]) + 1
    body = np.stack([ndimage.binary_fill_holes(s) for s in body])
    air = measure.label((hu < -400) & body & np.stack([ndimage.binary_erosion(s, iterations=2) for s in body]))
    voxel_ml = np.prod(spacing) / 1000
    result = np.zeros(hu.shape, np.uint8)
    columns = np.flatnonzero(body.any(axis=(0, 1)))
    middle = (columns[0] + columns[-1]) / 2
    left_is_high = image.GetDirection()[0] > 0  # I grows towards the patient's left
    for region in measure.regionprops(air):
        # Gas in the bowel does not reach the uppermost slice of an abdominal CT, the lungs do.
        if region.area * voxel_ml < 50 or region.bbox[3] < hu.shape[0]:
            continue
        left = (region.centroid[2] > middle) == left_is_high
        closed = np.zeros(hu.shape, bool)
        closed[region.slice] = region.image
        radius = max(1, round(4 / spacing[0]))
        for k in np.flatnonzero(closed.any(axis=(1, 2))):
            disk = ndimage.binary_closing(np.pad(closed[k], radius), morphology.disk(radius))
            closed[k] = ndimage.binary_fill_holes(disk)[radius:-radius, radius:-radius]
        result[closed & (result == 0)] = LEFT_LUNG if left else RIGHT_LUNG
    return result


def predicted(path: Path, image: sitk.Image) -> np.ndarray:
    """Lungs and liver of a TotalSegmentator label file on the grid of its image: (K, J, I)."""
    labels = sitk.Resample(sitk.ReadImage(str(path)), image, interpolator=sitk.sitkNearestNeighbor)
    table = np.zeros(256, np.uint8)
    for value, structure in TOTALSEGMENTATOR.items():
        table[value] = structure
    return table[sitk.GetArrayFromImage(labels)]


def thick(image: sitk.Image, labels: np.ndarray) -> tuple[sitk.Image, np.ndarray]:
    """Average neighbouring slices to about ``THICK_MM``; the label is that of the middle slice."""
    step = max(2, round(THICK_MM / image.GetSpacing()[2]))
    count = image.GetSize()[2] // step
    hu = sitk.GetArrayFromImage(image)[: count * step]
    mean = hu.reshape(count, step, *hu.shape[1:]).mean(axis=1).round().astype(np.int16)
    out = sitk.GetImageFromArray(mean)
    out.SetOrigin(image.TransformContinuousIndexToPhysicalPoint((0, 0, (step - 1) / 2)))
    out.SetDirection(image.GetDirection())
    out.SetSpacing((*image.GetSpacing()[:2], image.GetSpacing()[2] * step))
    return out, labels[step // 2 : count * step : step]


def labelled(folder: Path) -> dict[str, tuple[sitk.Image, np.ndarray]]:
    """Images and their labels from the ``ct_sample`` pack."""
    cases = {}
    chaos = sitk.ReadImage(str(folder / "chaos_ct" / "image.nii.gz"))
    liver = sitk.GetArrayFromImage(sitk.ReadImage(str(folder / "chaos_ct" / "label.nii.gz"))) == 1
    cases["chaos"] = chaos, np.where(liver, LIVER, lungs(chaos)).astype(np.uint8)
    short = sitk.ReadImage(str(folder / "ts_ct_3mm" / "image.nii.gz"))
    cases["ts_upper"] = short, predicted(folder / "ts_ct_3mm" / "label.nii.gz", short)
    long = sitk.ReadImage(str(folder / "ts_ct_3mm" / "image_full_unlabelled.nii.gz"))[:, :, :FREE_OF_LIVER]
    cases["ts_lower"] = long, np.zeros(long.GetSize()[::-1], np.uint8)
    files = sitk.ImageSeriesReader.GetGDCMSeriesFileNames(str(folder / "ts_dicom" / "series"))
    series = sitk.Cast(sitk.ReadImage(files), sitk.sitkInt16)
    cases["ts_dicom"] = series, predicted(folder / "ts_dicom" / "label.nii.gz", series)
    return cases


def write(cases: dict[str, tuple[sitk.Image, np.ndarray]], work: Path) -> None:
    """Write images and labels, thin and thick, and print how large each structure is."""
    for part in ("images", "labels"):
        (work / part).mkdir(parents=True, exist_ok=True)
    for name, case in cases.items():
        for suffix, (image, labels) in (("thin", case), ("thick", thick(*case))):
            label = sitk.GetImageFromArray(labels)
            label.CopyInformation(image)
            sitk.WriteImage(image, str(work / "images" / f"{name}_{suffix}.nii.gz"))
            sitk.WriteImage(label, str(work / "labels" / f"{name}_{suffix}.nii.gz"))
            ml = [round((labels == v).sum() * np.prod(image.GetSpacing()) / 1000) for v in (1, 2, 3)]
            print(f"{name}_{suffix}: {image.GetSize()}, right lung {ml[0]} mL, left lung {ml[1]} mL, liver {ml[2]} mL")


def main() -> None:
    """Make the data, then run ``sam2adapt train`` on it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="the folder ct_sample")
    parser.add_argument("--work", type=Path, required=True, help="folder for training data, run and bundle")
    parser.add_argument("options", nargs="*", help="further options of `sam2adapt train`, after --")
    args = parser.parse_args()
    write(labelled(args.data), args.work)
    command = [
        sys.executable, "-m", "sam2adapt", "train", "--images", args.work / "images", "--labels", args.work / "labels",
        "--classes", "1=right lung,2=left lung,3=liver", "--base", "nano", "--method", "dual-lw", "--modality", "CT",
        "--axis", "axial", "--all-for-training", "--name", "torso-ct", "--license", "CC-BY-SA-4.0",
        "--largest-component", "right lung,left lung,liver", "--fill-holes", "right lung,left lung",
        "--description", "Demonstration, not a clinical model: both lungs and the liver on axial CT of the torso.",
        "--data-summary", SUMMARY,
        "-o", args.work / "torso-ct.safetensors", *args.options,
    ]  # fmt: skip
    sys.exit(subprocess.run([str(part) for part in command], check=False).returncode)


if __name__ == "__main__":
    main()
