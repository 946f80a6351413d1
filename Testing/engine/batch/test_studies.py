"""What a batch is made of: files, folders, lists and DICOM series, each under a name of its own."""

import json
import os
from pathlib import Path

import pytest
from batch_testing import dicom, image, noise
from dicom_samples import dose_dataset, save, structure_set_dataset, write_series
from sam2adapt.batch import segment_folder, studies
from sam2adapt.shared.errors import SeriesError


def test_what_a_batch_is_made_of(tmp_path):
    def found(*inputs: Path) -> dict[str, tuple]:
        made = segment_folder.find_studies(inputs, tmp_path / "data" / "out")
        assert len({study.name.casefold() for study in made}) == len(made)
        return {study.name: study for study in made}

    data = tmp_path / "data"
    image(data / "a" / "x.nii.gz", noise())
    image(data / "a" / "x.nrrd", noise())
    image(data / "b" / "x.nii.gz", noise())
    image(data / "b" / "labels.seg.nrrd", noise())
    image(data / "out" / "old.nii.gz", noise())
    (data / "a" / "notes.txt").write_text("no image")
    assert list(found(data)) == ["a/x.nii.gz", "a/x.nrrd", "b/x"]
    files = [data / "a" / "x.nii.gz", data / "b" / "x.nii.gz"]
    assert list(found(*files, files[0])) == ["a/x", "b/x"]
    assert list(found(files[0])) == ["x"]
    for text in ("id,Input\n1,a/x.nii.gz\n2,b\n", "id;input\n1;a/x.nii.gz\n2;b\n"):
        (data / "list.csv").write_text(text, encoding="utf-8-sig")
        assert list(found(data / "list.csv")) == ["a/x", "b/x"]
    missing = found(data / "nothing.nii.gz", tmp_path / "data" / "a" / "x.nrrd")
    assert not missing["nothing"].problem  # reading it will say what is wrong
    (tmp_path / "empty").mkdir()
    assert "no image" in found(tmp_path / "empty")["empty"].problem.message


def test_dicom_series_are_split_and_put_together(tmp_path):
    scan = tmp_path / "scan"
    dicom(scan / "1", "1.5.1", range(2))
    dicom(scan / "2", "1.5.1", range(2, 5))
    dicom(scan / "2", "1.5.2", range(3), description="lung")
    dicom(scan / "3", "1.5.3")
    damaged = scan / "3" / "1.5.3-2.dcm"
    damaged.write_bytes(damaged.read_bytes()[:700])
    made = {study.name: study for study in segment_folder.find_studies([scan], tmp_path / "out")}
    assert {name: len(study.files) for name, study in made.items()} == {"1": 5, "2": 3, "3": 2, "3/1.5.3-2": 0}
    assert "damaged" in made["3/1.5.3-2"].problem.message
    assert segment_folder.read_series_files(made["1"].files).size == (16, 16, 5)


def test_what_shows_no_anatomy_is_no_study(tmp_path, caplog):
    """A dose, a segmentation and a structure set beside a CT are named and not segmented."""
    folder = write_series(tmp_path / "ct", indices=range(3))
    save(dose_dataset(), folder / "dose.dcm")
    save(structure_set_dataset(), folder / "rt.dcm")
    (study,) = segment_folder.find_studies([folder], tmp_path / "out")
    assert len(study.files) == 3 and study.problem is None
    assert f"2 DICOM files show no anatomy and are left out: {folder}/dose.dcm (RT Dose)" in caplog.text


def test_studies_travel_to_other_processes_as_json(tmp_path):
    problem = SeriesError("It is damaged.", "Get it again.", setting=("a", "b"), value="c")
    for study in (
        studies.Study(tmp_path / "a", "a", size=3, fingerprint="0f"),
        studies.Study(tmp_path / "no utf-8 \udcff", "b", "1.2.3", ("1.dcm", "\udcfe.dcm"), description="lung"),
        studies.Study(tmp_path / "c", problem=problem),
    ):
        read = studies.Study.from_json(json.loads(json.dumps(study.to_json())))
        assert vars(read) | {"problem": None} == vars(study) | {"problem": None}
        assert type(read.problem) is type(study.problem)
        assert getattr(read.problem, "__dict__", None) == getattr(study.problem, "__dict__", None)


@pytest.mark.parametrize("output", ["out", "other"])
def test_outputs_of_batches_are_no_inputs(output, tmp_path):
    data = image(tmp_path / "data" / "x.nii.gz", noise()).parent
    image(data / "out" / "x.nii.gz", noise())  # label maps, as --format .nii.gz writes them
    studies.hidden_folder(data / "out").mkdir()
    (tmp_path / "link").symlink_to(data)
    for folder in (data, tmp_path / "link"):
        assert [study.source.parent for study in segment_folder.find_studies([folder], data / output)] == [folder]


def test_folder_that_may_not_be_read_is_told(tmp_path, monkeypatch):
    image(tmp_path / "in" / "x.nii.gz", noise())
    image(tmp_path / "in" / "secret" / "y.nii.gz", noise())
    real = os.scandir

    def scandir(path="."):
        if Path(path).name == "secret":
            raise PermissionError(13, "Permission denied", str(path))
        return real(path)

    monkeypatch.setattr(os, "scandir", scandir)
    found = {study.name: study.problem for study in segment_folder.find_studies([tmp_path / "in"], tmp_path / "out")}
    assert found.keys() == {"x", "secret"}
    assert "secret' cannot be read: Permission denied." in found["secret"].message
