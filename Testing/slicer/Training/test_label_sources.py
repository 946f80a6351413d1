"""Labels in the panel and the console: pairs, names and overlaps as the engine sees them."""

import gzip
import json
import struct

import numpy as np
import pytest
import SimpleITK as sitk
from example_nodes import LIVER, SPLEEN
from sam2adapt.evaluation.cases import case_labels, find_cases
from test_training_cases import SHAPE, drawnOn

CARET = (
    '<CaretExtension><VolumeInformation Index="0"><LabelTable><Label Key="1" Red="0.5" Green="0" Blue="1" Alpha="1">'
    '<![CDATA[liver]]></Label><Label Key="9" Red="0" Green="1" Blue="0" Alpha="1"><![CDATA[nowhere]]></Label>'
    "</LabelTable></VolumeInformation></CaretExtension>"
)


def save(path, array):
    path.parent.mkdir(parents=True, exist_ok=True)
    sitk.WriteImage(sitk.GetImageFromArray(array), str(path))
    return path


def withCaret(path):
    """As TotalSegmentator writes it: an extension of code 0 between header and voxels."""
    data = bytearray(gzip.decompress(path.read_bytes()))
    content = CARET.encode().ljust(-(-(len(CARET) + 8) // 16) * 16 - 8, b"\0")
    struct.pack_into("<f", data, 108, 352 + 8 + len(content))
    extension = b"\1\0\0\0" + struct.pack("<ii", 8 + len(content), 0) + content
    path.write_bytes(gzip.compress(bytes(data[:348]) + extension + bytes(data[352:])))


def test_names_in_the_header_of_a_nifti_file(lib, scene, tmp_path):
    save(tmp_path / "images" / "a.nii.gz", np.zeros(SHAPE, np.int16))
    withCaret(save(tmp_path / "labels" / "a.nii.gz", (drawnOn([2]) == 1).astype(np.uint8)))
    (case,) = lib.FolderCases.fromFolder(tmp_path)
    assert [(s.name, s.color) for s in case.segments()] == [("liver", (0.5, 0, 1)), ("nowhere", (0, 1, 0))]
    # The panel reads no voxels: the engine leaves out what no label shows.
    assert [entry.toJson()["optional"] for entry in lib.Classes.match([case])] == [True, True]


def test_names_given_for_plain_label_maps(lib, scene, tmp_path):
    save(tmp_path / "images" / "a.nrrd", np.zeros(SHAPE, np.int16))
    save(tmp_path / "labels" / "a.nrrd", drawnOn([2]))
    (case,) = lib.FolderCases.fromFolder(tmp_path)
    assert case.problems
    case.nameLabels({1: "liver", 5: "spleen"})
    assert not case.problems and [s.name for s in case.segments()] == ["liver", "spleen"]


@pytest.mark.parametrize("value", [1035, 255])
def test_label_files_are_handed_over_as_they_are_with_what_their_values_become(lib, scene, tmp_path, value):
    source, labels = tmp_path / "data", np.where(drawnOn([2]) == 1, value, 0).astype(np.int16)
    labels[9] = 3
    save(source / "imagesTr" / "a.nii.gz", np.zeros(SHAPE, np.int16))
    save(source / "labelsTr" / "a.nii.gz", labels)
    save(source / "labelsTr" / "a.nii", np.zeros(SHAPE, np.int16))  # beside it, and of no concern
    (source / "dataset.json").write_text(json.dumps({"labels": {"background": 0, "liver": value, "ignore": 3}}))
    cases = lib.FolderCases.fromFolder(source)
    assert any("a.nii' is left out" in note for note in cases[0].notes)
    lib.CaseFiles.write(cases, lib.Classes.match(cases), tmp_path)
    assert (tmp_path / "labels" / "a.nii.gz").samefile(source / "labelsTr" / "a.nii.gz")
    (case,) = find_cases(tmp_path / "images", tmp_path / "labels")
    expected = np.where(labels == value, 1, 0)
    expected[9] = 255
    np.testing.assert_array_equal(case_labels(case).array[0], expected)


def test_pairs_of_header_and_voxels_stay_together(lib, scene, tmp_path):
    for part, array in (("images", np.zeros(SHAPE, np.int16)), ("labels", drawnOn([2]))):
        save(tmp_path / "data" / part / "a.hdr", array)
    (tmp_path / "data" / "labels" / "a.txt").write_text('1 255 0 0 1 1 1 "liver"\n5 0 255 0 1 1 1 "spleen"\n')
    cases = lib.FolderCases.fromFolder(tmp_path / "data")
    lib.CaseFiles.write(cases, lib.Classes.match(cases), tmp_path)
    (case,) = find_cases(tmp_path / "images", tmp_path / "labels")
    found, stored = case_labels(case).array[0], drawnOn([2])
    np.testing.assert_array_equal(found, np.array([0, 1, 0, 0, 0, 2])[stored])


def overlapping(lib, nodes):
    volumeNode = nodes.addVolume(np.zeros(SHAPE, np.int16), name="CT")
    first, second = np.zeros(SHAPE, np.uint8), np.zeros(SHAPE, np.uint8)
    first[2, 1:5, 1:5], second[2, 3:6, 3:6] = LIVER["id"], SPLEEN["id"]
    segmentationNode = lib.LabelImport.importLabels(volumeNode, first, [LIVER])
    lib.LabelImport.importLabels(volumeNode, second, [SPLEEN], segmentationNode, "add")
    return volumeNode, segmentationNode


@pytest.mark.parametrize(("overlap", "loser", "winner", "voxels"), [
    ("last", "liver", "spleen", [12, 9]), ("first", "spleen", "liver", [16, 5])])  # fmt: skip
def test_overlapping_segments_are_said_with_voxel_counts(lib, nodes, overlap, loser, winner, voxels):
    case = lib.Cases.SceneCase(*overlapping(lib, nodes), overlap=overlap)
    assert not case.problems
    assert [segment.voxels for segment in case.segments()] == voxels
    assert any(f"4 voxels of '{loser}' count as '{winner}' (4)." in note for note in case.notes), case.notes


def test_overlapping_segments_can_be_refused(lib, nodes):
    case = lib.Cases.SceneCase(*overlapping(lib, nodes), overlap="refuse")
    assert [type(problem).__name__ for problem in case.problems] == ["ClassesError"]
    assert "segments overlap" in case.problems[0].message
