"""What the engine reads: labels exactly on the grid of the volume, and no other trace of the export."""

import contextlib
import json
import resource
import signal

import numpy as np
import pytest
import SimpleITK as sitk
from example_nodes import AXES_IJK_TO_RAS, LIVER, SPLEEN, inOrder
from sam2adapt.evaluation.cases import case_labels, find_cases
from sam2adapt.imaging.volume import read_volume, same_geometry
from test_training_cases import SHAPE, drawnOn

LABELS = drawnOn([2, 3, 6])
PARTIAL = [0, 1, 4, 5, 7, 8, 9]


def addCase(lib, nodes, name="CT", labels=LABELS, structures=(LIVER, SPLEEN), voxels=None, **geometry):
    voxels = np.arange(np.prod(SHAPE), dtype=np.int16).reshape(SHAPE) if voxels is None else voxels
    volumeNode = nodes.addVolume(voxels, name=name, **geometry)
    return lib.Cases.SceneCase(volumeNode, lib.LabelImport.importLabels(volumeNode, labels, structures))


def write(lib, cases, folder, leftOut=()):
    """Write, and read back with the engine's reader: {id: (image, labels)}."""
    classes = lib.Classes.match(cases)
    for entry in classes:
        entry.use = entry.name not in leftOut
    names = lib.CaseFiles.write(cases, classes, folder)
    found = {c.id: (read_volume(c.image), case_labels(c)) for c in find_cases(folder / "images", folder / "labels")}
    return {name: found[name] for name in names}


def partial(labels):
    labels = labels.copy()
    labels[PARTIAL] = 255
    return labels


@pytest.mark.parametrize("axes", AXES_IJK_TO_RAS.values(), ids=AXES_IJK_TO_RAS.keys())
@pytest.mark.parametrize("transformed", [False, True], ids=["untransformed", "transformed"])
def test_labels_lie_on_the_voxels_of_the_volume(lib, nodes, tmp_path, axes, transformed):
    case = addCase(lib, nodes, axes=axes)
    if transformed:
        transform = nodes.addTransform().GetID()
        case.volumeNode.SetAndObserveTransformNodeID(transform)
        case.segmentationNode.SetAndObserveTransformNodeID(transform)
    image, labels = write(lib, [case], tmp_path)["CT"]
    assert same_geometry(image, labels, 1e-9)
    _voxels, origin, spacing, direction = lib.VolumeTransfer.volumeToArrays(case.volumeNode)
    assert np.allclose(image.origin, origin) and np.allclose(image.spacing, spacing)
    assert np.allclose(image.direction, direction)
    assert np.array_equal(image.array[0], nodes.slicer.util.arrayFromVolume(case.volumeNode))
    assert np.array_equal(labels.array[0], partial(inOrder(LABELS, [1, 5])))


def test_simpleitk_reads_the_same_geometry(lib, nodes, tmp_path):
    write(lib, [addCase(lib, nodes, axes=AXES_IJK_TO_RAS["oblique"])], tmp_path)
    image, labels = (sitk.ReadImage(str(tmp_path / part / "CT.nrrd")) for part in ("images", "labels"))
    assert image.GetOrigin() == labels.GetOrigin() and image.GetSpacing() == labels.GetSpacing()
    assert image.GetDirection() == labels.GetDirection() and labels.GetPixelID() == sitk.sitkUInt8


def test_scene_and_nodes_stay_as_they_are(lib, nodes, tmp_path):
    case = addCase(lib, nodes)
    scene = nodes.scene
    everything = [scene.GetNthNode(n) for n in range(scene.GetNumberOfNodes())]
    before = [(node.GetID(), node.GetMTime()) for node in everything]
    segmentation = case.segmentationNode.GetSegmentation().GetMTime()
    lib.Cases.fromScene()
    write(lib, [case], tmp_path)
    assert before == [(node.GetID(), node.GetMTime()) for node in everything]
    assert scene.GetNumberOfNodes() == len(everything)
    assert case.segmentationNode.GetSegmentation().GetMTime() == segmentation


def test_label_values_are_those_of_the_classes_in_every_case(lib, nodes, tmp_path):
    one = addCase(lib, nodes, "one")
    spleen, liver = {**SPLEEN, "id": 1}, {**LIVER, "id": 2}
    other = addCase(lib, nodes, "other", inOrder(LABELS, [5, 1]), (spleen, liver))
    found = write(lib, [one, other], tmp_path)
    expected = partial(inOrder(LABELS, [1, 5]))
    assert all(np.array_equal(found[name][1].array[0], expected) for name in ("one", "other"))


def test_class_that_is_left_out_is_background(lib, nodes, tmp_path):
    labels = write(lib, [addCase(lib, nodes)], tmp_path, leftOut=["liver"])["CT"][1].array[0]
    assert np.array_equal(labels, partial(inOrder(LABELS, [9, 5])))


def test_whole_segmentation_has_no_voxel_that_is_not_annotated(lib, nodes, tmp_path):
    case = addCase(lib, nodes)
    lib.Cases.setWhole(case.segmentationNode, True)
    assert np.array_equal(write(lib, [case], tmp_path)["CT"][1].array[0], inOrder(LABELS, [1, 5]))


def test_what_was_drawn_since_the_case_was_examined_is_written(lib, nodes, tmp_path):
    case = addCase(lib, nodes)
    lib.Cases.declareEmpty(case.segmentationNode, case.axis, [9])
    labels = write(lib, [case], tmp_path)["CT"][1].array[0]
    assert not labels[9].any() and (labels[8] == 255).all()


def test_colour_and_floating_point_images(lib, nodes, tmp_path):
    colours = np.random.default_rng(0).integers(0, 255, (*SHAPE, 3)).astype(np.uint8)
    floats = np.random.default_rng(0).normal(size=SHAPE)
    cases = [addCase(lib, nodes, name, voxels=voxels) for name, voxels in (("colours", colours), ("floats", floats))]
    found = write(lib, cases, tmp_path)
    assert np.array_equal(found["colours"][0].array, np.moveaxis(colours, -1, 0))
    assert np.array_equal(found["floats"][0].array[0], floats.astype(np.float32))


def test_names_of_files(lib, nodes, tmp_path):
    names = ["CT", "ct", "CT", "a/b: “ü” <c>", "...", "x" * 200]
    cases = [addCase(lib, nodes, name) for name in names]
    found = write(lib, cases, tmp_path)
    assert list(found) == ["CT", "ct_2", "CT_3", "a_b_ü_c", "case_5", "x" * 80]


def test_case_that_was_removed_or_has_a_problem_is_refused(lib, nodes, tmp_path):
    removed, empty = addCase(lib, nodes, "removed"), addCase(lib, nodes, "empty")
    nodes.scene.RemoveNode(removed.volumeNode)
    empty.segmentationNode.GetSegmentation().RemoveAllSegments()
    for case, words in ((removed, "removed from the scene"), (empty, "has no segment")):
        with pytest.raises(Exception, match=words) as caught:
            write(lib, [case], tmp_path)
        assert type(caught.value).__name__ == "TrainingDataError"
    assert list((tmp_path / "images").iterdir()) == []


@contextlib.contextmanager
def fullDisk(size):
    """No file grows beyond so many bytes; nor does the one to which pytest's output may go, so keep it short."""
    limits, handler = resource.getrlimit(resource.RLIMIT_FSIZE), signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handler)


@pytest.mark.parametrize("size", [0, 700], ids=["at once", "in the middle"])
def test_full_disk_is_noticed(lib, nodes, tmp_path, size):
    case = addCase(lib, nodes)
    with pytest.raises(Exception, match="could not be written") as caught, fullDisk(size):
        write(lib, [case], tmp_path)
    assert type(caught.value).__name__ == "OutputError" and "Free space" in caught.value.remedy
    assert list((tmp_path / "images").iterdir()) == []


def folderOf(path, labels, suffix=".nrrd", imageSuffix=".nrrd", **description):
    for part, end, array in (("imagesTr", imageSuffix, np.full(SHAPE, 7, np.int16)), ("labelsTr", suffix, labels)):
        (path / part).mkdir(parents=True)
        image = sitk.GetImageFromArray(array)
        image.SetSpacing((1, 2, 3))
        sitk.WriteImage(image, str(path / part / f"a{end}"))
    (path / "dataset.json").write_text(json.dumps({"labels": description}))
    return path


def test_folder_whose_values_fit_is_not_copied(lib, scene, tmp_path):
    source = folderOf(tmp_path / "data", inOrder(LABELS, [1, 5]), ".nii.gz", ".nii.gz", liver=1, spleen=2)
    image, labels = write(lib, lib.FolderCases.fromFolder(source), tmp_path)["a"]
    assert np.array_equal(labels.array[0], inOrder(LABELS, [1, 5])) and (image.array == 7).all()
    assert (tmp_path / "labels" / "a.nii.gz").samefile(source / "labelsTr" / "a.nii.gz")


@pytest.mark.parametrize("suffix", [".nrrd", ".nii.gz", ".mhd"])
def test_values_of_folders_and_scene_become_one(lib, nodes, tmp_path, suffix):
    stored = inOrder(LABELS, [5, 1])
    stored[9] = 3
    source = folderOf(tmp_path / "data", stored, suffix, suffix, spleen=1, Liver=2, ignore=3)
    case = addCase(lib, nodes)
    found = write(lib, [case, *lib.FolderCases.fromFolder(source)], tmp_path)
    expected = inOrder(LABELS, [1, 5])
    expected[9] = 255
    image, labels = found["a"]
    assert np.array_equal(labels.array[0], expected) and same_geometry(image, labels)
    assert np.array_equal(found["CT"][1].array[0], partial(inOrder(LABELS, [1, 5])))


def test_folder_with_a_value_without_name(lib, scene, tmp_path):
    source = folderOf(tmp_path / "data", LABELS, spleen=1)
    lib.FolderCases.fromFolder(source)[0].write(tmp_path_with_folders(tmp_path), "a", {"1": 2})
    (case,) = find_cases(tmp_path / "images", tmp_path / "labels")
    with pytest.raises(Exception, match="label value 5") as caught:
        case_labels(case)
    assert type(caught.value).__name__ == "ClassesError"


def tmp_path_with_folders(path):
    for name in ("images", "labels"):
        (path / name).mkdir()
    return path


def test_files_that_slicer_saved_are_written_as_the_scene_would_be(lib, nodes, tmp_path):
    case = addCase(lib, nodes, axes=AXES_IJK_TO_RAS["oblique"])
    lib.Cases.declareEmpty(case.segmentationNode, case.axis, [9])
    saved = tmp_path / "saved"
    saved.mkdir()
    for storage, node, name in (
        (nodes.slicer.vtkMRMLVolumeArchetypeStorageNode(), case.volumeNode, "CT.nrrd"),
        (nodes.slicer.vtkMRMLSegmentationStorageNode(), case.segmentationNode, "CT.seg.nrrd"),
    ):
        storage.SetFileName(str(saved / name))
        assert storage.WriteData(node)
    (tmp_path / "scene").mkdir()
    fromScene = write(lib, [case], tmp_path / "scene")["CT"]
    count = nodes.scene.GetNumberOfNodes()
    image, labels = write(lib, lib.FolderCases.fromFolder(saved), tmp_path)["CT"]
    assert nodes.scene.GetNumberOfNodes() == count
    assert np.array_equal(labels.array, fromScene[1].array) and same_geometry(image, labels, 1e-6)
    assert np.array_equal(image.array, fromScene[0].array)


def test_files_that_are_gone_or_damaged(lib, scene, tmp_path):
    source = folderOf(tmp_path / "data", LABELS, spleen=1, liver=5)
    (case,) = lib.FolderCases.fromFolder(source)
    (source / "labelsTr" / "a.nrrd").write_bytes(b"NRRD0004\n")
    with pytest.raises(Exception, match="is truncated or damaged") as caught:
        write(lib, [case], tmp_path)
    assert type(caught.value).__name__ == "InputFileError"
    (source / "imagesTr" / "a.nrrd").unlink()
    with pytest.raises(Exception, match="could not be copied"):
        write(lib, [case], tmp_path / "imagesTr")
