"""Make the training data of the bundled model ``torso-ct`` from the permissive pack ``ct_sample``, and train it.

    python Testing/benchmarks/torso_ct.py --data DATA/ct_sample --work WORK [-- options of `sam2adapt train`]

Labels: the lungs of CHAOS are a classical segmentation made here (air in the body that reaches the uppermost slice);
those of the TotalSegmentator test cases are that program's own predictions. All of them are abdominal CT that hold the
lower lungs only. So that the network learns what lung looks like and not where it lay in two patients, each volume is
also given as thick slices (chest CT often has slices of 5 to 10 mm), with its coronal planes in the place of axial
ones, and mirrored with right and left exchanged.
"""

import argparse
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import SimpleITK as sitk
import slicerio
from sam2adapt.evaluation.cases import Case, find_cases
from sam2adapt.evaluation.evaluate import evaluate
from sam2adapt.imaging.terminology import Structure
from sam2adapt.imaging.volume import read_labels, read_structures, write_labels
from sam2adapt.modelfiles.bundle import read_bundle, write_bundle
from sam2adapt.segmenting.model import load_model
from scipy import ndimage
from skimage import measure as regions
from skimage import morphology

RIGHT_LUNG, LEFT_LUNG = 1, 2
TOTALSEGMENTATOR = {10: LEFT_LUNG, 11: LEFT_LUNG, 13: RIGHT_LUNG, 14: RIGHT_LUNG}
THICK_MM = 8.0
CORONAL_MM = 4.0
SUMMARY = (
    "CHAOS CT set 3 (CC BY-SA 4.0; lungs by classical thresholding) and three TotalSegmentator test"
    " volumes (Apache-2.0; labels predicted by TotalSegmentator), each as thin and thick slices"
)
FREE_OF_LUNG = 60  # slices of the long TotalSegmentator scan, from the feet, that surely lie below the lungs


def lungs(image: sitk.Image) -> np.ndarray:
    """Segment both lungs of a CT (HU, identity-like axes) classically: (K, J, I) with 1 = right, 2 = left."""
    hu = sitk.GetArrayFromImage(image)
    spacing = image.GetSpacing()
    body = regions.label(hu > -300)
    body = body == np.argmax(np.bincount(body.ravel())[1:]) + 1
    body = np.stack([ndimage.binary_fill_holes(s) for s in body])
    air = regions.label((hu < -400) & body & np.stack([ndimage.binary_erosion(s, iterations=2) for s in body]))
    voxel_ml = np.prod(spacing) / 1000
    result = np.zeros(hu.shape, np.uint8)
    columns = np.flatnonzero(body.any(axis=(0, 1)))
    middle = (columns[0] + columns[-1]) / 2
    left_is_high = image.GetDirection()[0] > 0  # I grows towards the patient's left
    for region in regions.regionprops(air):
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
    """Lungs of a TotalSegmentator label file on the grid of its image: (K, J, I)."""
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


def coronal(image: sitk.Image, labels: np.ndarray) -> tuple[sitk.Image, np.ndarray]:
    """Put coronal planes in the place of axial ones: anterior becomes inferior, superior becomes anterior."""
    step = max(1, round(CORONAL_MM / image.GetSpacing()[1]))
    planes = [array[::-1, ::step].swapaxes(0, 1) for array in (sitk.GetArrayFromImage(image), labels)]
    out = sitk.GetImageFromArray(np.ascontiguousarray(planes[0]))
    across, down, between = image.GetSpacing()
    out.SetSpacing((across, between, down * step))
    direction = np.eye(3)
    direction[0, 0] = image.GetDirection()[0]
    out.SetDirection(direction.ravel())
    return out, np.ascontiguousarray(planes[1])


def mirrored(image: sitk.Image, labels: np.ndarray) -> tuple[sitk.Image, np.ndarray]:
    """Exchange right and left: the voxels are mirrored along I and the lungs change their names."""
    out = sitk.GetImageFromArray(sitk.GetArrayFromImage(image)[..., ::-1])
    out.CopyInformation(image)
    return out, np.array([0, LEFT_LUNG, RIGHT_LUNG], np.uint8)[labels[..., ::-1]]


def labelled(folder: Path) -> dict[str, tuple[sitk.Image, np.ndarray]]:
    """Images and their labels from the ``ct_sample`` pack."""
    cases = {}
    chaos = sitk.ReadImage(str(folder / "chaos_ct" / "image.nii.gz"))
    cases["chaos"] = chaos, lungs(chaos)
    short = sitk.ReadImage(str(folder / "ts_ct_3mm" / "image.nii.gz"))
    cases["ts_upper"] = short, predicted(folder / "ts_ct_3mm" / "label.nii.gz", short)
    long = sitk.ReadImage(str(folder / "ts_ct_3mm" / "image_full_unlabelled.nii.gz"))[:, :, :FREE_OF_LUNG]
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
        versions = {"thin": case, "thick": thick(*case), "coronal": coronal(*case)}
        versions |= {f"{suffix}_mirrored": mirrored(*version) for suffix, version in versions.items()}
        for suffix, (image, labels) in versions.items():
            label = sitk.GetImageFromArray(labels)
            label.CopyInformation(image)
            sitk.WriteImage(image, str(work / "images" / f"{name}_{suffix}.nii.gz"))
            sitk.WriteImage(label, str(work / "labels" / f"{name}_{suffix}.nii.gz"))
            ml = [round((labels == v).sum() * np.prod(image.GetSpacing()) / 1000) for v in (RIGHT_LUNG, LEFT_LUNG)]
            print(f"{name}_{suffix}: {image.GetSize()}, right lung {ml[0]} mL, left lung {ml[1]} mL")


def test_cases(work: Path, structures: list[Structure]) -> list[Case]:
    """CTChest4 of `slicerio`, a chest CT that was not trained on, with the label values of a model's structures."""
    for part in ("images", "labels"):
        (work / part).mkdir(parents=True, exist_ok=True)
    shutil.copy(slicerio.get_testdata_file("CTChest4.nrrd"), work / "images" / "CTChest4.nrrd")
    reference = Path(str(slicerio.get_testdata_file("Segmentation.seg.nrrd")))
    labels, values = read_labels(reference), {s.name: s.id for s in read_structures(reference)}
    own = np.zeros_like(labels.array)
    for structure in structures:
        own[labels.array == values[structure.name]] = structure.id
    write_labels(work / "labels" / "CTChest4.nrrd", labels.with_array(own), structures)
    return find_cases(work / "images", work / "labels")


def measure(bundle: Path, work: Path) -> None:
    """Write into the card how well the model does on the test case."""
    model = load_model(bundle)
    result = evaluate(model, test_cases(work, model.structures))
    content = read_bundle(bundle)
    content.card["metrics"] = {
        "subset": "CTChest4 of slicerio, not trained on, looked at to choose the settings"
    } | result
    write_bundle(bundle, content.card, content.tensors)
    print(", ".join(f"{name}: Dice {value:.4f}" for name, value in result["dice"].items()))


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
        "--classes", "1=right lung,2=left lung", "--base", "nano", "--modality", "CT",
        "--method", "combined", "--set", 'parts=["dual-lw", "detail"]', "--size", "160", "--scale", "0.4",
        "--learning-rate", "0.001", "--axis", "axial", "--all-for-training", "--flips", "rows",
        "--name", "torso-ct", "--license", "CC-BY-SA-4.0",
        "--largest-component", "right lung,left lung", "--keep-pieces", "--fill-holes", "right lung,left lung",
        "--description", "Demonstration, not a clinical model: both lungs on axial CT of the torso.",
        "--data-summary", SUMMARY,
        "-o", args.work / "torso-ct.safetensors", *args.options,
    ]  # fmt: skip
    subprocess.run([str(part) for part in command], check=True)
    measure(args.work / "torso-ct.safetensors", args.work / "test")


if __name__ == "__main__":
    main()
