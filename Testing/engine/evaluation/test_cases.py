"""Which files on disk are cases, and to which part of a split each belongs."""

import json
from pathlib import Path

import pytest
from sam2adapt.evaluation.cases import Case, dataset_folders, find_cases, read_split, select
from sam2adapt.shared.errors import InputFileError, TrainingDataError


def touch(folder, *names) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        (folder / name).touch()


def pairs(root) -> list[tuple[str, str, str]]:
    return [(c.id, c.image.name, c.label.name) for c in find_cases(root / "images", root / "labels")]


def test_files_pair_by_name_whatever_their_format(tmp_path):
    touch(tmp_path / "images", "b.nrrd", "a.nii.gz", "c.png", "only_image.mha", "notes.txt", "d.e.nii", "f.jpg")
    touch(tmp_path / "labels", "a.seg.nrrd", "b.nii.gz", "c.png", "only_label.nii", "d.e.nii.gz", "f.png")
    assert pairs(tmp_path) == [
        ("a", "a.nii.gz", "a.seg.nrrd"),
        ("b", "b.nrrd", "b.nii.gz"),
        ("c", "c.png", "c.png"),
        ("d.e", "d.e.nii", "d.e.nii.gz"),
        ("f", "f.jpg", "f.png"),
    ]


def test_channel_suffix_of_nnunet(tmp_path):
    touch(tmp_path / "images", "la_001_0000.nii.gz", "odd_0000.nii.gz")
    touch(tmp_path / "labels", "la_001.nii.gz", "odd_0000.nii.gz")
    assert [case for case, _, _ in pairs(tmp_path)] == ["la_001", "odd_0000"]


def test_files_that_a_mac_leaves_are_no_cases(tmp_path):
    for part in ("images", "labels"):
        touch(tmp_path / part, "a.nii.gz", "._a.nii.gz", ".hidden.nii.gz")
    assert [case for case, _, _ in pairs(tmp_path)] == ["a"]


def test_nothing_pairs(tmp_path):
    touch(tmp_path / "images", "a.nii.gz")
    touch(tmp_path / "labels", "b.nii.gz")
    with pytest.raises(TrainingDataError, match="No file"):
        pairs(tmp_path)


def test_folder_is_missing(tmp_path):
    touch(tmp_path / "images", "a.nii.gz")
    with pytest.raises(InputFileError, match="labels"):
        pairs(tmp_path)


@pytest.mark.parametrize(
    "labels",
    [{"0": "background", "1": "anterior", "2": "posterior"}, {"background": 0, "anterior": 1, "posterior": 2}],
    ids=["MSD", "nnU-Net"],
)
def test_dataset_json(tmp_path, labels):
    (tmp_path / "dataset.json").write_text(json.dumps({"labels": labels, "file_ending": ".nii.gz"}))
    images, label_folder, classes = dataset_folders(tmp_path)
    assert (images, label_folder) == (tmp_path / "imagesTr", tmp_path / "labelsTr")
    assert classes == {1: "anterior", 2: "posterior"}


@pytest.mark.parametrize(
    "text",
    ["not json", "[]", "{}", '{"labels": [1, 2]}', '{"labels": {"whole": ["x"]}}', '{"labels": {"a": null}}', None],
)
def test_broken_dataset_json(tmp_path, text):
    if text is not None:
        (tmp_path / "dataset.json").write_text(text)
    with pytest.raises(TrainingDataError, match=r"dataset\.json"):
        dataset_folders(tmp_path)


def cases_named(*names) -> list[Case]:
    return [Case(name, Path(f"{name}_0000.nii.gz"), Path(f"{name}.nii.gz")) for name in names]


def test_split_entry_matches_by_its_beginning():
    cases = cases_named("p01_ed", "p01_es", "p02_ed", "p10_ed")
    split = {"train": ["p01", "p10_ed"], "val": ["p02_ed_0000.nii.gz"]}
    assert [case.id for case in select(cases, split, "train")] == ["p01_ed", "p01_es", "p10_ed"]
    assert [case.id for case in select(cases, split, "val")] == ["p02_ed"]


def test_the_longest_entry_decides():
    """Names without leading zeros: case 10 is for validation and must not be trained on."""
    cases = cases_named("p1", "p1_es", "p10", "p11", "p2")
    split = {"train": ["p1", "p2"], "val": ["p10"], "note": "p11"}
    assert [case.id for case in select(cases, split, "train")] == ["p1", "p1_es", "p11", "p2"]
    assert [case.id for case in select(cases, split, "val")] == ["p10"]


def test_split_entry_that_matches_nothing():
    with pytest.raises(TrainingDataError, match=r"'p3' .*2 such"):
        select(cases_named("p1", "p2"), {"train": ["p1", "p3", "p4"]}, "train")


def test_split_without_the_part():
    with pytest.raises(TrainingDataError, match="test"):
        select(cases_named("p1"), {"train": ["p1"], "val": []}, "test")


@pytest.mark.parametrize(
    "text", ["[1, 2", "[]", '{"train": ["a"]}', '{"train": "a", "val": []}', '{"train": [1], "val": []}']
)
def test_broken_split(tmp_path, text):
    (tmp_path / "split.json").write_text(text)
    with pytest.raises(TrainingDataError, match=r"split\.json"):
        read_split(tmp_path / "split.json")


def test_split_may_hold_more_than_parts(tmp_path):
    text = '{"train": ["a"], "val": ["b"], "test": ["c"], "train_sequences": [3, 4], "seed": 1, "note": "by sequence"}'
    (tmp_path / "split.json").write_text(text)
    assert read_split(tmp_path / "split.json") == {"train": ["a"], "val": ["b"], "test": ["c"]}


def test_missing_split(tmp_path):
    with pytest.raises(InputFileError, match=r"split\.json"):
        read_split(tmp_path / "split.json")


def test_two_images_that_claim_one_label_file_are_refused(tmp_path):
    for name in ("images/p1.nii.gz", "images/p1_0000.nii.gz", "labels/p1.nii.gz"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    with pytest.raises(TrainingDataError, match=r"several images, p1\.nii\.gz and p1_0000\.nii\.gz"):
        find_cases(tmp_path / "images", tmp_path / "labels")
