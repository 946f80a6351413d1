"""Labels from DICOM segmentations and structure sets: values, names, codes, colours, and where they lie."""

from pathlib import Path

import numpy as np
import pydicom
import pytest
from dicom_samples import chest, group, position, save, segmentation_dataset, structure_set_dataset, write_series
from matplotlib.path import Path as Polygon
from sam2adapt.evaluation.cases import Case, find_cases, named_by_dicom
from sam2adapt.evaluation.load_case import load_case
from sam2adapt.imaging.terminology import Structure
from sam2adapt.imaging.volume import read_labels, read_structures, read_volume, same_geometry, write_labels
from sam2adapt.shared.errors import ClassesError, GeometryError, InputFileError

LABELS = np.zeros((34, 128, 128), np.uint8)
LABELS[8:20, 30:60, 40:70] = 1
LABELS[15:22, 80:90, 20:50] = 2


@pytest.fixture(scope="module")
def series(tmp_path_factory) -> Path:
    """CTChest4 as a DICOM series."""
    return write_series(tmp_path_factory.mktemp("study") / "ct")


@pytest.fixture(scope="module")
def images(series) -> list[pydicom.Dataset]:
    return sorted((pydicom.dcmread(path) for path in series.iterdir()), key=lambda d: float(d.ImagePositionPatient[2]))


def segmentation(images, kind: str) -> pydicom.Dataset:
    if kind != "FRACTIONAL":
        return segmentation_dataset(images, LABELS, kind)
    fractions = np.stack([np.where(LABELS == value, 0.8, 0.3 * (LABELS > 0)) for value in (1, 2)], -1)
    return segmentation_dataset(images, fractions, kind)


@pytest.mark.parametrize("kind", ["BINARY", "FRACTIONAL", "LABELMAP"])
def test_a_segmentation_lies_on_its_series(series, images, tmp_path, kind):
    path = save(segmentation(images, kind), tmp_path / "seg.dcm")
    volume = read_volume(series)
    for image in (volume, series):  # voxels, or the folder with the series
        labels = read_labels(path, image)
        np.testing.assert_array_equal(labels.array[0], LABELS)
        assert same_geometry(labels, volume)
    lung, spleen = read_structures(path)
    assert (lung.id, lung.name, spleen.id, spleen.name) == (1, "Lung", 2, "Spleen")
    assert lung.terminology.split("~")[1:3] == ["SCT^91772007^Organ", "SCT^39607008^Lung"]
    assert spleen.color != lung.color and spleen.color == pytest.approx((0.545, 0.424, 0.757), abs=0.02)


@pytest.mark.parametrize("kind", ["BINARY", "FRACTIONAL", "LABELMAP"])
def test_a_segmentation_alone_lies_where_its_frames_say(images, tmp_path, kind):
    dataset = segmentation(images, kind)
    assert dataset.NumberOfFrames < 34  # cropped to the slices that are not empty
    labels = read_labels(save(dataset, tmp_path / "a" / "b" / "seg.dcm"))
    _, origin, spacing, direction = chest()
    affine = np.eye(4)
    affine[:3, :3], affine[:3, 3] = direction * spacing, origin
    for value in (1, 2):
        there = np.argwhere(LABELS == value)[:, ::-1] @ affine[:3, :3].T + affine[:3, 3]
        here = np.argwhere(labels.array[0] == value)[:, ::-1] @ labels.affine[:3, :3].T + labels.affine[:3, 3]
        np.testing.assert_allclose(sorted(map(tuple, here.round(3))), sorted(map(tuple, there.round(3))), atol=2e-3)


def test_a_segmentation_beside_its_series_needs_no_image(images, tmp_path):
    folder = write_series(tmp_path / "ct", indices=range(34))
    files = sorted((pydicom.dcmread(p) for p in folder.iterdir()), key=lambda d: float(d.ImagePositionPatient[2]))
    path = save(segmentation_dataset(files, LABELS, "BINARY"), tmp_path / "ct" / "seg.dcm")
    np.testing.assert_array_equal(read_labels(path).array[0], LABELS)
    np.testing.assert_array_equal(
        read_labels(save(pydicom.dcmread(path), tmp_path / "labels" / "seg.dcm")).array[0], LABELS
    )


def test_segments_that_overlap_are_counted(images, tmp_path):
    masks = np.stack([LABELS > 0, LABELS == 2], -1).astype(np.uint8)
    path = save(
        segmentation_dataset(images, masks, "BINARY"), tmp_path / "a" / "b" / "seg.dcm"
    )  # no series lies near it
    count = int((LABELS == 2).sum())
    last = read_labels(path)
    assert (last.array == 2).sum() == count and (last.array == 1).sum() == (LABELS == 1).sum()
    assert last.notes == (f"In {path} segments overlap: {count} voxels of 'Lung' count as 'Spleen' ({count}).",)
    first = read_labels(path, overlap="first")
    assert not (first.array == 2).any() and (first.array == 1).sum() == (LABELS > 0).sum()
    (note,) = first.notes
    assert note.endswith(f"{count} voxels of 'Spleen' count as 'Lung' ({count}). Nothing is left of 'Spleen'.")
    with pytest.raises(ClassesError, match="segments overlap: 2100 voxels") as caught:
        read_labels(path, overlap="refuse")
    assert caught.value.setting == ("overlap",)
    rois = save(structure_set({"disk": ROIS["disk"], "small": ROIS["small"]}), tmp_path / "rt.dcm")
    volume = read_volume(write_series(tmp_path / "ct"))
    disk, small = (read_labels(rois, volume, overlap=which) for which in ("first", "last"))
    assert not (disk.array == 2).any() and (small.array == 2).any()
    assert "Nothing is left of 'small'" in disk.notes[0] and "voxels of 'disk' count as 'small'" in small.notes[0]


def test_labels_of_another_frame_of_reference_are_refused_and_the_remedy_works(images, tmp_path):
    """The grid is the same in every digit; only the UIDs say that it is another patient, or another position."""
    seg = save(segmentation_dataset(images, LABELS, "BINARY"), tmp_path / "seg.dcm")
    rt = save(structure_set({"disk": ROIS["disk"]}), tmp_path / "rt.dcm")

    def series(name: str, frame: str, series_uid: str = "") -> Path:
        def change(dataset, index):
            dataset.FrameOfReferenceUID = frame
            dataset.SeriesInstanceUID = series_uid or dataset.SeriesInstanceUID

        return write_series(tmp_path / name, change)

    own, other = "1.2.826.0.1.3680043.8.498.3", "1.2.826.0.1.999"
    strange, cousin, moved = series("strange", other, "1.2.4"), series("cousin", own, "1.2.5"), series("moved", other)
    for path in (seg, rt):
        for image in (strange, read_volume(strange)):
            with pytest.raises(GeometryError, match="nothing says that both lie in one place") as caught:
                read_labels(path, image)
            assert all(word in caught.value.message for word in (str(path), str(strange), own, other, "1.2.4"))
            assert "1.2.826.0.1.3680043.8.498.1" in caught.value.remedy
        (note,) = read_labels(path, cousin).notes
        assert f"was drawn on the series 1.2.826.0.1.3680043.8.498.1, not on {cousin} (series 1.2.5)" in note
        (note,) = read_labels(path, moved).notes
        assert f"another frame of reference ({own}) than {moved} ({other})" in note
        write_labels(tmp_path / "saved.nrrd", read_labels(path, cousin), read_structures(path))  # the remedy
        assert read_labels(tmp_path / "saved.nrrd", strange).array.any()
    (tmp_path / "two").mkdir()
    strange.rename(tmp_path / "two" / "a"), series("two/b", "1.2.826.0.1.998", "1.2.6")
    with pytest.raises(GeometryError, match=r"that are not in .*two, which holds the series: 1\.2\.4.*; 1\.2\.6"):
        read_labels(seg, tmp_path / "two")


@pytest.mark.parametrize("kind", ["BINARY", "LABELMAP"])
def test_a_segmentation_that_lacks_what_says_nothing_of_its_voxels(series, images, tmp_path, kind):
    dataset = segmentation(images, kind)
    del dataset.FrameOfReferenceUID
    del dataset.SegmentSequence[-1].SegmentLabel
    path = save(dataset, tmp_path / "seg.dcm")
    labels = read_labels(path, series)
    np.testing.assert_array_equal(labels.array[0], LABELS)
    assert labels.notes == (f"{path} names no frame of reference; the positions of its frames were believed.",)
    assert [structure.name for structure in read_structures(path)] == ["Lung", "Segment 2"]


def test_a_segmentation_of_another_grid_is_refused(images, tmp_path):
    dataset = segmentation_dataset(images, LABELS, "BINARY")
    frames = [frame.PlanePositionSequence[0] for frame in dataset.PerFrameFunctionalGroupsSequence]
    for place in {id(place): place for place in frames}.values():  # highdicom shares those of one slice
        x, y, z = place.ImagePositionPatient
        place.ImagePositionPatient = [f"{float(x) + 1:.6f}", y, z]
    volume = read_volume(write_series(tmp_path / "ct"))
    with pytest.raises(GeometryError, match=r"0\.33 voxels off"):
        read_labels(save(dataset, tmp_path / "seg.dcm"), volume)


# structure sets

CENTRE, SLICES = np.array([20.0, 30.0]), range(5, 15)  # mm; slices of the contours


def circle(radius: float, points: int = 100, middle=CENTRE) -> np.ndarray:
    angle = np.linspace(0, 2 * np.pi, points, endpoint=False)
    return middle + radius * np.column_stack([np.cos(angle), np.sin(angle)])


def star(radius: float) -> np.ndarray:
    return (
        CENTRE + (circle(1, 200) - CENTRE) * (radius * (0.75 + 0.25 * np.cos(np.linspace(0, 22 * np.pi, 200))))[:, None]
    )


KEYHOLE = np.concatenate([circle(60), circle(60)[:1], circle(25)[:1], circle(25)[::-1], circle(60)[:1]])
ROIS = {
    "disk": ("CLOSED_PLANAR", [circle(60)]),
    "ring": ("CLOSED_PLANAR", [circle(60), circle(25)]),
    "ring of XOR": ("CLOSEDPLANAR_XOR", [circle(60), circle(25), circle(10)]),
    "keyhole": ("CLOSED_PLANAR", [KEYHOLE]),
    "two islands": ("CLOSED_PLANAR", [circle(20), circle(30, middle=CENTRE + 70)]),
    "star": ("CLOSED_PLANAR", [star(70)]),
    "small": ("CLOSED_PLANAR", [circle(9)]),
}


def structure_set(rois=ROIS, slices=SLICES, lift: float = 0) -> pydicom.Dataset:
    dataset = structure_set_dataset()
    series = group(SeriesInstanceUID="1.2.826.0.1.3680043.8.498.1")
    dataset.ReferencedFrameOfReferenceSequence = [
        group(
            FrameOfReferenceUID=dataset.FrameOfReferenceUID,
            RTReferencedStudySequence=group(RTReferencedSeriesSequence=series),
        )
    ]
    dataset.StructureSetROISequence, dataset.ROIContourSequence, dataset.RTROIObservationsSequence = [], [], []
    for number, (name, (kind, contours)) in enumerate(rois.items(), 11):
        dataset.StructureSetROISequence.append(group(ROINumber=number, ROIName=name))
        drawn = []
        for index in slices:
            height = float(position(index)[2]) + lift
            for contour in contours:
                points = np.column_stack([contour, np.full(len(contour), height)])
                drawn.append(
                    group(
                        ContourGeometricType=kind,
                        NumberOfContourPoints=len(points),
                        ContourData=[f"{value:.10g}" for value in points.ravel()],
                    )
                )
        dataset.ROIContourSequence.append(
            group(ReferencedROINumber=number, ROIDisplayColor=[255, number, 0], ContourSequence=drawn)
        )
        observed = group(ObservationNumber=number, ReferencedROINumber=number)
        if name == "disk":
            observed.RTROIIdentificationCodeSequence = [
                group(CodeValue="39607008", CodingSchemeDesignator="SCT", CodeMeaning="Lung")
            ]
        dataset.RTROIObservationsSequence.append(observed)
    return dataset


def independent(contours, fine: int = 15) -> np.ndarray:
    """(rows, columns) shares of pixels inside by matplotlib's point in polygon on a fine grid, even-odd."""
    _, origin, spacing, direction = chest()
    centres = (np.arange(128 * fine) - (fine - 1) / 2) / fine
    x = origin[0] + direction[0, 0] * spacing[0] * centres
    y = origin[1] + direction[1, 1] * spacing[1] * centres
    points = np.stack(np.meshgrid(x, y), -1).reshape(-1, 2)
    inside = np.zeros(len(points), bool)
    for contour in contours:
        inside ^= Polygon(contour).contains_points(points)
    return inside.reshape(128, fine, 128, fine).mean(axis=(1, 3))


def test_contours_become_the_voxels_that_an_independent_rasteriser_finds(series, tmp_path):
    for name, (kind, contours) in ROIS.items():
        path = save(structure_set({name: (kind, contours)}), tmp_path / f"{name}.dcm")
        labels = read_labels(path, series).array[0]
        shares = independent(contours)
        expected = shares >= 0.5
        assert set(np.flatnonzero(labels.any(axis=(1, 2)))) == set(SLICES)
        for index in SLICES:
            found = labels[index] == 1
            assert abs(found.sum() - shares.sum()) <= max(0.01 * shares.sum(), 1), name
            if name != "small":  # of 27 pixels one is 4 %
                assert 2 * (found & expected).sum() / (found.sum() + expected.sum()) > 0.99, name


def test_structures_of_a_structure_set(series, tmp_path):
    path = save(structure_set(), tmp_path / "rt.dcm")
    structures = read_structures(path)
    assert [(s.id, s.name) for s in structures] == list(enumerate(ROIS, 1))
    assert structures[0].terminology.split("~")[2] == "SCT^39607008^Lung"
    assert structures[1].color == pytest.approx((1, 12 / 255, 0))


def test_a_structure_set_is_placed_by_the_series_beside_it(tmp_path):
    folder = write_series(tmp_path / "ct")
    path = save(structure_set({"disk": ROIS["disk"]}), folder / "rt.dcm")
    assert same_geometry(read_labels(path), read_volume(folder))
    alone = save(structure_set(), tmp_path / "far" / "away" / "off" / "rt.dcm")
    with pytest.raises(
        GeometryError, match=r"not beside it: the series 1\.2\.826\.0\.1\.3680043\.8\.498\.1\."
    ) as caught:
        read_labels(alone)
    assert "folder of its DICOM series" in caught.value.remedy


def test_contours_between_slices_are_refused(series, tmp_path):
    with pytest.raises(GeometryError, match=r"'disk' .* lies 6\.40 to 6\.40 slices up in a series of 34"):
        read_labels(save(structure_set(lift=4), tmp_path / "rt.dcm"), series)


def test_contours_that_reach_beyond_the_image_are_said(series, tmp_path):
    dataset = structure_set_dataset()
    contour = dataset.ROIContourSequence[0].ContourSequence[0]
    first = np.array(position(10), float)
    corners = [first + np.array([x, y, 0]) for x, y in ((100, -9), (-60, -9), (-60, -60), (100, -60))]
    contour.ContourData, contour.NumberOfContourPoints = [f"{v:.6g}" for v in np.ravel(corners)], 4
    labels = read_labels(save(dataset, tmp_path / "rs.dcm"), read_volume(series))
    assert "1 of its 1 contours reach beyond the image" in " ".join(labels.notes)
    assert set(np.flatnonzero(labels.array[0].any(axis=(1, 2)))) == {10}


@pytest.mark.parametrize("kind", ["BINARY", "LABELMAP"])
def test_a_segmentation_that_is_cut_is_refused(series, images, tmp_path, kind):
    path = save(segmentation(images, kind), tmp_path / "seg.dcm")
    path.write_bytes(path.read_bytes()[:-3000])
    with pytest.raises(InputFileError, match=r"seg.dcm is cut: 128 x 128 pixels x \d+ frames are \d+ bytes"):
        read_labels(path, series)


def test_slices_without_contour_are_said(series, tmp_path):
    labels = read_labels(save(structure_set({"disk": ROIS["disk"]}, slices=(5, 7, 9)), tmp_path / "rt.dcm"), series)
    assert "no contour in 2 of the 5 slices" in " ".join(labels.notes)


def test_an_image_is_no_label(series):
    with pytest.raises(InputFileError, match="holds no labels: CT Image"):
        read_labels(next(series.iterdir()))
    with pytest.raises(InputFileError, match="holds 0 DICOM segmentations"):
        read_labels(series)


# training


@pytest.mark.parametrize("form", ["BINARY", "LABELMAP", "RTSTRUCT"])
def test_cases_of_dicom(images, tmp_path, form):
    """A series and its labels in two folders, another series without labels: one case, and a sentence."""
    write_series(tmp_path / "images" / "patient" / "ct")
    write_series(tmp_path / "images" / "other", lambda d, i: setattr(d, "SeriesInstanceUID", "1.2.826.0.1.5"))
    for path in (tmp_path / "images" / "other").iterdir():
        dataset = pydicom.dcmread(path)
        dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = pydicom.uid.generate_uid()
        save(dataset, path)
    dataset = (
        structure_set({"disk": ROIS["disk"]}) if form == "RTSTRUCT" else segmentation_dataset(images, LABELS, form)
    )
    save(dataset, tmp_path / "labels" / "patient.dcm")
    said = []
    (case,) = find_cases(tmp_path / "images", tmp_path / "labels", say=said.append)
    (note,) = said
    start = f"1 series without labels in {tmp_path / 'images'} are left out, for example 1.2.826.0.1.5 (CT"
    assert note.startswith(start)
    assert case.id == "patient" and case.series == "1.2.826.0.1.3680043.8.498.1"
    volume, labels = load_case(case, read_structures(case.label))
    np.testing.assert_array_equal(volume.array[0], chest()[0])
    assert labels.shape == (34, 128, 128) and labels.any()


def test_classes_are_found_by_name(series, images, tmp_path):
    """Another patient's file numbers them otherwise; what was not asked for does not cover what was."""
    path = save(segmentation_dataset(images, LABELS, "BINARY"), tmp_path / "seg.dcm")
    classes = [Structure(4, "SPLEEN"), Structure(9, "lung")]
    expected = np.choose(LABELS, [0, 9, 4])
    for kind in ("BINARY", "LABELMAP"):
        path = save(segmentation_dataset(images, LABELS, kind), tmp_path / f"{kind}.dcm")
        np.testing.assert_array_equal(read_labels(path, series, classes).array[0], expected)
        np.testing.assert_array_equal(read_labels(path, series, classes[:1]).array[0], (LABELS == 2) * 4)
    body = structure_set({"disk": ROIS["disk"], "BODY": ("CLOSED_PLANAR", [circle(150)])})
    path = save(body, tmp_path / "rt.dcm")
    assert not (read_labels(path, series).array == 1).any()  # under the outline of the body
    disk = read_labels(path, series, [Structure(1, " Disk ")]).array[0]
    assert disk.sum() == pytest.approx(len(SLICES) * independent([circle(60)]).sum(), rel=0.01)
    with pytest.raises(ClassesError, match=r"rt\.dcm holds none of the classes Heart, but disk, BODY\."):
        read_labels(path, series, [Structure(1, "Heart")])


def test_names_of_all_cases(images, tmp_path):
    seg = save(segmentation_dataset(images, LABELS, "BINARY"), tmp_path / "a.dcm")
    rois = save(structure_set({"LUNG": ROIS["disk"], "left heart": ROIS["disk"]}), tmp_path / "b.dcm")
    spaces = save(structure_set({"Left  Heart": ROIS["disk"]}), tmp_path / "c.dcm")
    cases = [Case(file.stem, tmp_path, file, series="1.2") for file in (seg, rois, spaces)]
    assert named_by_dicom(cases) == {1: "Lung", 2: "Spleen", 3: "left heart"}
