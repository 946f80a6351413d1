"""Labels from where people have them: pairs, names, colours and codes, and what is said of all that does not fit."""

import gzip
import json
import shutil
import struct
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import slicerio

sys.path.insert(0, str(Path(__file__).parents[1] / "imaging"))
from conftest import blobs
from file_samples import AFFINE, RAS
from sam2adapt.evaluation.cases import Case, as_classes_of, case_labels, find_cases, named_cases, occurring
from sam2adapt.evaluation.evaluate import evaluate
from sam2adapt.evaluation.metrics import aggregate, case_metrics
from sam2adapt.imaging.terminology import describe
from sam2adapt.imaging.volume import read_labels, read_volume, write_volume
from sam2adapt.shared.errors import ClassesError, InputFileError, TrainingDataError
from sam2adapt.shared.labels.label_names import label_table

SEGMENTATIONS = Path(slicerio.__file__).parent / "data"
VALUES = np.zeros((4, 8, 8), np.uint8)
VALUES[:, :4], VALUES[:, 4:, :4], VALUES[1] = 1, 2, 3


def save(path: Path, array: np.ndarray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save((nib.MGHImage if path.suffix == ".mgz" else nib.Nifti1Image)(array.T, RAS @ AFFINE), path)
    return path


def dataset(
    root: Path,
    labels: dict | None = None,
    values: np.ndarray = VALUES,
    names=("a", "b"),
    folders=("imagesTr", "labelsTr"),
    suffix: str = ".nii.gz",
    channel: str = "",
) -> Path:
    for name in names:
        save(root / folders[0] / f"{name}{channel}{suffix}", np.arange(256, dtype=np.int16).reshape(4, 8, 8))
        save(root / folders[1] / f"{name}{suffix}", values)
    if labels is not None:
        (root / "dataset.json").write_text(json.dumps({"labels": labels}))
    return root


def classes(structures) -> dict[int, str]:
    return {structure.id: structure.name for structure in structures}


@pytest.mark.parametrize("channel", ["", "_0000"])
@pytest.mark.parametrize(
    "labels", [{"0": "background", "1": "liver", "2": "spleen", "3": "cyst"},
               {"background": 0, "liver": 1, "spleen": 2, "cyst": 3}], ids=["MSD, nnU-Net 1", "nnU-Net 2"],
)  # fmt: skip
def test_msd_and_nnunet(tmp_path, labels, channel):
    cases, structures = named_cases(dataset(tmp_path, labels, channel=channel), None)
    assert [case.id for case in cases] == ["a", "b"] and classes(structures) == {1: "liver", 2: "spleen", 3: "cyst"}
    assert all(case.values is None for case in cases)
    assert structures[0].terminology == describe(1, "liver").terminology


def test_what_nnunet_ignores_is_not_annotated(tmp_path):
    root = dataset(tmp_path, {"background": 0, "liver": 1, "spleen": 2, "ignore": 3})
    for names in (None, {1: "liver", 2: "spleen"}):
        cases, structures = named_cases(root, None, names)
        assert classes(structures) == {1: "liver", 2: "spleen"}
        np.testing.assert_array_equal(case_labels(cases[0]).array[0], np.where(VALUES == 3, 255, VALUES))


@pytest.mark.parametrize(("value", "kind"), [(1035, np.int16), (255, np.uint8), (14175, np.int32)])
def test_values_that_no_model_can_have_are_numbered_anew(tmp_path, value, kind):
    said, values = [], np.where(VALUES == 3, value, VALUES.astype(np.int32)).astype(kind)
    cases, structures = named_cases(
        dataset(tmp_path, {"liver": 1, "spleen": 2, "insula": value}, values), None, say=said.append
    )
    assert classes(structures) == {1: "liver", 2: "spleen", 3: "insula"}
    np.testing.assert_array_equal(case_labels(cases[0]).array[0], VALUES)
    assert "renumbered" in said[0] and "3 = insula" in said[0]


def test_regions_that_overlap_are_refused_by_name_and_the_remedy_works(tmp_path):
    labels = {"background": 0, "whole tumour": [1, 2, 3], "core": [2, 3], "enhancing": 3}
    root = dataset(tmp_path, labels)
    with pytest.raises(ClassesError, match=r"regions that overlap \('whole tumour' = 1 \+ 2 \+ 3, 'core'") as caught:
        named_cases(root, None)
    assert caught.value.setting == ("classes",)
    names = dict(part.split("=") for part in caught.value.value.split(","))
    _, structures = named_cases(root, None, {int(value): name for value, name in names.items()})
    assert classes(structures) == {1: "name of 1", 2: "name of 2", 3: "name of 3"}


def test_regions_that_do_not_overlap_are_trained(tmp_path):
    cases, structures = named_cases(dataset(tmp_path, {"background": 0, "organs": [1, 2], "cyst": [3]}), None)
    assert classes(structures) == {1: "organs", 3: "cyst"}
    np.testing.assert_array_equal(case_labels(cases[0]).array[0], np.where(VALUES == 2, 1, VALUES))


CARET = """<?xml version="1.0" encoding="UTF-8"?><CaretExtension><Date><![CDATA[2013-07-14T05:45:09]]></Date>
<VolumeInformation Index="0"><LabelTable>
<Label Key="1" Red="0.5" Green="0.25" Blue="1" Alpha="1"><![CDATA[liver]]></Label>
<Label Key="2" Red="0" Green="1" Blue="0" Alpha="1"><![CDATA[spleen]]></Label>
<Label Key="3" Red="0" Green="1" Blue="1" Alpha="1"><![CDATA[cyst]]></Label>
<Label Key="9" Red="0" Green="1" Blue="1" Alpha="1"><![CDATA[nowhere]]></Label>
</LabelTable><StudyMetaDataLinkSet></StudyMetaDataLinkSet><VolumeType><![CDATA[Label]]></VolumeType>
</VolumeInformation></CaretExtension>"""
SNAP = """################################################
# ITK-SnAP Label Description File
################################################
    0     0    0    0        0  0  0    "Clear Label"
    1   128   64  255        1  1  1    "liver"
    2     0  255    0        1  1  1    "spleen"
    3     0  255  255        1  1  1    "cyst"
    9     0  255  255        1  1  1    "nowhere"
"""
LUT = """#No. Label Name: R G B A
0 Unknown 0 0 0 0
1 liver 128 64 255 0
2 spleen 0 255 0 0
3 cyst 0 255 255 0
9 nowhere 1 1 1 0
"""
BIDS = "index\tname\tcolor\n0\tbackground\t#000000\n1\tliver\t#8040ff\n2\tspleen\t#00ff00\n"
BIDS += "3\tcyst\t#00ffff\n9\tnowhere\t#00ffff\n"


def with_caret(root: Path) -> None:
    for path in (root / "labels").iterdir():
        image = nib.load(path)
        image = nib.Nifti1Image(np.asarray(image.dataobj), image.affine)
        image.header.extensions.append(nib.nifti1.Nifti1Extension(0, CARET.encode()))
        nib.save(image, path)


SOURCES = {
    "TotalSegmentator": with_caret,
    "ITK-SNAP": lambda root: (root / "labels" / "names.label").write_text(SNAP),
    "ITK-SNAP beside": lambda root: [(root / "labels" / f"{n}.txt").write_text(SNAP) for n in "ab"],
    "FreeSurfer": lambda root: (root / "FreeSurferColorLUT.txt").write_text(LUT),
    "Slicer's colour table": lambda root: (root / "labels" / "Slicer.ctbl").write_text(LUT),
    "BIDS": lambda root: (root / "desc-organs_dseg.tsv").write_text(BIDS),
    "BIDS beside": lambda root: [(root / "labels" / f"{n}.tsv").write_text(BIDS) for n in "ab"],
}


@pytest.mark.parametrize("suffix", [".nii.gz", ".mgz"])
@pytest.mark.parametrize("source", SOURCES)
def test_names_and_colours_are_found(tmp_path, source, suffix):
    if source == "TotalSegmentator" and suffix == ".mgz":
        pytest.skip("a table of NIfTI headers")
    SOURCES[source](dataset(tmp_path, folders=("images", "labels"), suffix=suffix))
    cases, structures = named_cases(tmp_path / "images", tmp_path / "labels")
    assert classes(structures) == {1: "liver", 2: "spleen", 3: "cyst"}  # not what no file shows
    assert structures[0].color == pytest.approx((0.5, 0.25, 1), abs=5e-3)
    np.testing.assert_array_equal(case_labels(cases[0]).array[0], VALUES)


def test_colour_table_that_comes_with_freesurfer(tmp_path, monkeypatch):
    (tmp_path / "freesurfer").mkdir()
    (tmp_path / "freesurfer" / "FreeSurferColorLUT.txt").write_text("17 Left-Hippocampus 220 216 20 0\n")
    monkeypatch.setenv("FREESURFER_HOME", str(tmp_path / "freesurfer"))
    dataset(
        tmp_path / "data",
        values=np.where(VALUES == 1, 17, 0).astype(np.int32),
        folders=("images", "labels"),
        suffix=".mgz",
    )
    _, structures = named_cases(tmp_path / "data" / "images", tmp_path / "data" / "labels")
    assert classes(structures) == {17: "Left-Hippocampus"}


def color_table(folder: Path, version: int) -> bytes:
    """The colour table of ``SNAP`` as it stands in FreeSurfer's files; version 2 as nibabel writes it."""
    names, colors = ["Unknown", "liver", "spleen", "cyst"], [[0, 0, 0], [128, 64, 255], [9, 8, 7], [1, 2, 3]]
    if version == 2:
        table = np.array([[*color, 0, 0] for color in colors], np.int32)
        nib.freesurfer.write_annot(folder / "a.annot", np.arange(4), table, names, fill_ctab=True)
        return (folder / "a.annot").read_bytes()[4 + 4 * 8 :]  # behind the vertices, with the tag
    data = struct.pack(">3i", 1, 4, 5) + b"a.txt"
    for name, color in zip(names, colors, strict=True):
        data += struct.pack(">i", len(name) + 1) + name.encode() + b"\0" + struct.pack(">4i", *color, 0)
    return data


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize("suffix", [".mgz", ".mgh"])
def test_colour_table_in_a_file_of_freesurfer(tmp_path, version, suffix):
    """After the voxels: five floats, the command line as a tag, then the table."""
    dataset(tmp_path, folders=("images", "labels"), suffix=".mgz")
    command = struct.pack(">iq", 3, 8) + b"mri_vol\0"
    after = struct.pack(">5f", 0, 0, 0, 0, 0) + command + color_table(tmp_path, version)
    for name in "ab":
        path = tmp_path / "labels" / f"{name}.mgz"
        data = gzip.decompress(path.read_bytes())[: 284 + VALUES.size] + after
        path.unlink()
        path.with_suffix(suffix).write_bytes(gzip.compress(data) if suffix == ".mgz" else data)
    cases, structures = named_cases(tmp_path / "images", tmp_path / "labels")
    assert classes(structures) == {1: "liver", 2: "spleen", 3: "cyst"}
    assert structures[0].color == pytest.approx((0.5, 0.25, 1), abs=5e-3)
    np.testing.assert_array_equal(case_labels(cases[0]).array[0], VALUES)
    path.with_suffix(suffix).write_bytes(data[:-9])
    with pytest.raises(InputFileError, match=r"b\.mg.. are damaged: they end too early"):
        named_cases(tmp_path / "images", tmp_path / "labels")


@pytest.mark.parametrize("suffix", [".nii.gz", ".mgz"])
def test_damaged_compression_is_no_table(tmp_path, suffix):
    """Reading the voxels says what is wrong, in a sentence; looking for names must not end in a traceback."""
    path = tmp_path / f"a{suffix}"
    packed = bytearray(gzip.compress(bytes(range(256)) * 40))
    packed[10] ^= 0xFF
    path.write_bytes(packed)
    assert label_table(path) is None
    with pytest.raises(InputFileError):
        read_labels(path)


def test_names_that_nothing_says_are_left_to_the_user(tmp_path):
    dataset(tmp_path, folders=("images", "labels"))
    assert named_cases(tmp_path / "images", tmp_path / "labels")[1] == []
    (tmp_path / "labels" / "a.txt").write_text(SNAP)
    with pytest.raises(ClassesError, match="another case"):
        named_cases(tmp_path / "images", tmp_path / "labels")


def segmentations(folder: Path, *names: str) -> Path:
    folder.mkdir(exist_ok=True)
    for number, name in enumerate(names):
        shutil.copy(SEGMENTATIONS / "CTChest4.nrrd", folder / f"c{number}.nrrd")
        shutil.copy(SEGMENTATIONS / name, folder / f"c{number}.seg.nrrd")
    return folder


def test_one_folder_of_images_and_segmentations(tmp_path):
    folder = segmentations(tmp_path / "f", "Segmentation.seg.nrrd", "Segmentation.seg.nrrd")
    cases, structures = named_cases(folder, folder)
    assert [(c.image.name, c.label.name) for c in cases] == [(f"c{n}.nrrd", f"c{n}.seg.nrrd") for n in (0, 1)]
    assert read_volume(cases[0].image).array.min() < -900, "an image, not its labels"
    known = slicerio.read_segmentation(str(SEGMENTATIONS / "Segmentation.seg.nrrd"))["segments"]
    assert {s.name for s in structures} <= {segment["name"] for segment in known} and structures


@pytest.mark.parametrize("overlap", ["first", "last", "refuse"])
def test_overlapping_segments(overlap):
    path = SEGMENTATIONS / "SegmentationOverlapping.seg.nrrd"
    segmentation = slicerio.read_segmentation(str(path))
    layers = (
        np.moveaxis(segmentation["voxels"], 0, -1)
        if segmentation["voxels"].ndim == 4
        else segmentation["voxels"][..., None]
    )
    masks = [(s["name"], (layers[..., s.get("layer", 0)] == s["labelValue"])) for s in segmentation["segments"]]
    both = {(a, b): int((x & y).sum()) for i, (a, x) in enumerate(masks) for b, y in masks[i + 1 :] if (x & y).any()}
    assert both, "the sample has overlapping segments"
    if overlap == "refuse":
        with pytest.raises(ClassesError, match="segments overlap"):
            read_labels(path, overlap=overlap)
        return
    labels = read_labels(path, overlap=overlap)
    for (earlier, later), count in both.items():
        loser, winner = (earlier, later) if overlap == "last" else (later, earlier)
        assert any(f"'{loser}'" in note and f"'{winner}' ({count})" in note for note in labels.notes), labels.notes


@pytest.mark.parametrize("same", [False, True], ids=["two folders", "one folder"])
@pytest.mark.parametrize("end", ["_seg", "-label", "_mask"])
def test_labels_with_an_ending_pair_and_what_has_no_partner_is_said(tmp_path, end, same):
    images, labels = tmp_path / "f", tmp_path / ("f" if same else "l")
    for name in ("c0", "c1", "c2"):
        save(images / f"{name}.nii.gz", VALUES)
    for name in ("c0", "c1"):
        save(labels / f"{name}{end}.nii.gz", VALUES)
    said = []
    found = find_cases(images, labels, say=said.append)
    assert [(case.id, case.label.name) for case in found] == [(n, f"{n}{end}.nii.gz") for n in ("c0", "c1")]
    assert said == ["1 image without label left out: c2.nii.gz."]


def test_channels_are_said_and_can_be_chosen(tmp_path):
    dataset(tmp_path, folders=("images", "labels"), channel="_0000")
    for name in ("a", "b"):
        save(tmp_path / "images" / f"{name}_0001.nii.gz", VALUES)
    said = []
    found = find_cases(tmp_path / "images", tmp_path / "labels", say=said.append)
    assert [case.image.name for case in found] == ["a_0000.nii.gz", "b_0000.nii.gz"]
    assert len(said) == 1 and "Channel 1 (_0001) of 2 cases is left out" in said[0]
    found = find_cases(tmp_path / "images", tmp_path / "labels", 1)
    assert [case.image.name for case in found] == ["a_0001.nii.gz", "b_0001.nii.gz"]
    with pytest.raises(TrainingDataError, match="there are channels 0, 1") as caught:
        find_cases(tmp_path / "images", tmp_path / "labels", 2)
    assert (caught.value.setting, caught.value.value) == (("channel",), "0")


def test_the_label_of_the_very_name_is_the_image_s(tmp_path):
    save(tmp_path / "i" / "A.nii.gz", VALUES)
    save(tmp_path / "l" / "A.nii.gz", VALUES)
    save(tmp_path / "l" / "A.nii", VALUES[::-1] * 0)
    said = []
    (case,) = find_cases(tmp_path / "i", tmp_path / "l", say=said.append)
    np.testing.assert_array_equal(case_labels(case).array[0], VALUES)
    assert len(said) == 1 and "A.nii' is left out" in said[0]
    (tmp_path / "i" / "A.nii.gz").rename(tmp_path / "i" / "A.mha")
    with pytest.raises(TrainingDataError, match=r"several label files, A\.nii and A\.nii\.gz"):
        find_cases(tmp_path / "i", tmp_path / "l")


def test_image_never_equals_label(tmp_path):
    save(tmp_path / "a.nii.gz", VALUES)
    with pytest.raises(TrainingDataError, match="No file"):
        find_cases(tmp_path, tmp_path)


def test_structures_of_a_table_that_no_label_shows(tmp_path):
    case = Case("a", Path("a"), save(tmp_path / "a.nii.gz", VALUES))
    structures, said = [describe(1, "liver"), describe(8, "heart"), describe(9, "aorta")], []
    assert classes(occurring(structures, {8}, [case], said.append)) == {1: "liver", 9: "aorta"}
    assert "'heart'" in said[0]


def test_names_decide_which_class_of_a_model_a_label_is(tmp_path):
    case = Case("a", Path("a"), save(tmp_path / "a.nii.gz", VALUES))
    named = [describe(1, "Spleen"), describe(2, "liver"), describe(3, "cyst")]
    model = [describe(1, "liver"), describe(5, "spleen"), describe(7, "cyst")]
    (translated,) = as_classes_of(model, [case], named)
    np.testing.assert_array_equal(case_labels(translated).array[0], np.array([0, 5, 1, 7])[VALUES])
    assert as_classes_of(model[:2], [case], named) == [case]


def test_evaluation_of_masks_of_0_and_255_is_explained(make_model, tmp_path):
    volume = blobs(size=(40, 30, 3))
    write_volume(tmp_path / "image.nii.gz", volume)
    write_volume(tmp_path / "label.nii.gz", volume.with_array(((volume.array[0] > 0) * 255).astype(np.uint8)))
    with pytest.raises(ClassesError, match="holds a voxel of a class of the model") as caught:
        evaluate(make_model(), [Case("a", tmp_path / "image.nii.gz", tmp_path / "label.nii.gz")])
    assert "masks of 0 and 255" in caught.value.remedy and str(tmp_path) in caught.value.message


def test_cases_without_a_distance_are_counted():
    """One perfect, one missed, one invented: HD95 and ASSD are those of one case of three."""
    some, none = np.zeros((3, 8, 8), np.uint8), np.zeros((3, 8, 8), np.uint8)
    some[:, 2:5, 2:5] = 1
    cases = {"perfect": (some, some), "missed": (none, some), "invented": (some, none), "empty": (none, none)}
    found = aggregate(
        {name: case_metrics(*pair, [1], (1, 1, 1)) for name, pair in cases.items()}, [describe(1, "liver")]
    )
    assert found["hd95"]["liver"] == found["assd"]["liver"] == 0.0
    assert found["left_out"] == {"mean": 2, "liver": 2}
