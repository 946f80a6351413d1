"""Batches: every study once, bad ones named and passed by, nothing done twice that is whole and unchanged."""

import os
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from batch_testing import (
    PATIENCE,
    bad_inputs,
    check_table,
    command,
    dicom,
    image,
    leftovers,
    manifest,
    noise,
    run,
    studies,
    times,
)
from sam2adapt.batch import segment_folder
from sam2adapt.batch.manifest import hidden_folder
from sam2adapt.cli.app import main
from sam2adapt.imaging.volume import read_labels, read_structures, read_volume
from sam2adapt.segmenting.predict import Options
from sam2adapt.shared.errors import CancelledError, ClassesError

pytest_plugins = ["batch_testing"]
pytestmark = pytest.mark.usefixtures("own_home")


def test_good_and_bad_studies_of_a_folder(model, tmp_path, capsys):
    source, output = tmp_path / "Größe 心", tmp_path / "Ausgabe ü"
    for number, name in enumerate(("p1/x.nii.gz", "p2/x.nii.gz", "p3/μ-Ω.nrrd")):
        image(source / name, noise(number))
    image(source / "p1" / "._x.nii.gz", noise())
    dicom(source / "dicom", "1.2.3.1", description="Thorax: 5/3")
    dicom(source / "dicom", "1.2.3.2", positions=range(4), description="Abdomen")
    words = bad_inputs(source / "bad")
    assert main(command(source, output, model)[1:]) == 2
    listed = manifest(output)["studies"]
    rows = {Path(row["input"]).relative_to(source).as_posix() + row["series"]: row for row in listed}
    outputs = {
        "p1/x.nii.gz": "p1/x", "p2/x.nii.gz": "p2/x", "p3/μ-Ω.nrrd": "p3/μ-Ω",
        "dicom1.2.3.1": "dicom/Thorax_ 5_3", "dicom1.2.3.2": "dicom/Abdomen",
    }  # fmt: skip
    assert rows.keys() == outputs.keys() | {f"bad/{name}" for name in words}
    for name, word in words.items():
        assert (rows[f"bad/{name}"]["status"], rows[f"bad/{name}"]["output"]) == ("failed", None)
        assert word in rows[f"bad/{name}"]["message"]
    for name, stem in outputs.items():
        assert rows[name]["output"] == f"{stem}.seg.nrrd"
        labels = read_labels(output / f"{stem}.seg.nrrd")
        for structure in rows[name]["structures"]:
            voxels = int((labels.array == structure["id"]).sum())
            assert structure["voxels"] == voxels
            assert structure["ml"] == pytest.approx(voxels * np.prod(labels.spacing) / 1000, abs=1e-3)
    assert any(s["voxels"] for row in rows.values() for s in row["structures"])
    assert read_labels(output / "dicom" / "Abdomen.seg.nrrd").size == (16, 16, 4)
    np.testing.assert_allclose(
        read_labels(output / "p3" / "μ-Ω.seg.nrrd").affine, read_volume(source / "p3" / "μ-Ω.nrrd").affine, atol=1e-5
    )
    assert manifest(output)["digest"].startswith("sha256:")
    assert manifest(output)["counts"] == {"done": 5, "failed": 5, "open": 0}
    printed = capsys.readouterr()
    assert "5 of 10 studies are segmented, 5 failed" in printed.out
    assert printed.out.count("failed: ") == 5
    assert "sam2adapt: 5 of 10 studies failed." in printed.err
    check_table(output)
    assert not [path for path in leftovers(output) if hidden_folder(output) not in path.parents]


def test_nothing_is_done_twice_and_what_changed_is_done_again(model, home_of_models, tmp_path):
    source, output = studies(tmp_path / "in", 4), tmp_path / "out"
    bad_inputs(source / "bad")
    assert run(source, output, model).now == 9
    first = times(output)
    again = run(source, output, model)
    assert (again.now, again.count("done"), again.count("failed")) == (5, 4, 5)  # what failed is tried again
    assert times(output) == first

    def redone(*names: str, using: Path = model, **changes) -> None:
        before = times(output)
        summary = run(source, output, using, **changes)
        assert summary.count("done") == 4
        changed = {Path(path).name for path, at in times(output).items() if before.get(path) != at}
        assert changed == {f"{name}.seg.nrrd" for name in names}

    image(source / "s00.nii.gz", noise(77))
    redone("s00")
    cut = (output / "s01.seg.nrrd").read_bytes()
    (output / "s01.seg.nrrd").write_bytes(cut[: len(cut) - 30])
    (output / "s02.seg.nrrd").unlink()
    redone("s01", "s02")
    corrected = read_labels(output / "s03.seg.nrrd")
    sitk.WriteImage(sitk.GetImageFromArray(np.zeros_like(corrected.array[0])), str(output / "s03.seg.nrrd"), True)
    redone()  # a correction that a user saved is whole and stays
    everything = [f"s{number:02}" for number in range(4)]
    redone(*everything, using=home_of_models / "b.safetensors")
    redone(*everything, using=home_of_models / "b.safetensors", options=Options(structures=["heart"]))
    assert [s["name"] for s in manifest(output)["studies"][0]["structures"]] == ["heart"]


@pytest.mark.parametrize(
    ("inputs", "output", "options", "word"),
    [
        (["in"], "in", [], "is in the output folder"),
        (["in"], ".", [], "is in the output folder"),
        (["in", "in/s00.nii.gz"], "out.nii.gz", [], "the name of a file"),
        (["in"], "out", ["--json", "x.json"], "'report' is an option for a single volume"),
        (["in"], "file/out", [], "cannot be"),
        (["in"], "file/out", ["--model", "nothing"], "No model 'nothing'"),
        (["list.csv"], "out", [], "no column 'input'"),
        (["nothing.csv"], "out", [], "does not exist"),
        (["in"], "out", ["--structures", "spleen"], "does not segment 'spleen'"),
    ],
)
def test_what_stops_a_batch_at_once(inputs, output, options, word, model, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    studies(tmp_path / "in", 2)
    (tmp_path / "file").write_text("in the way")
    (tmp_path / "list.csv").write_text("path\nin\n")
    assert main(["segment", *inputs, "-o", output, "--model", str(model), "--device", "cpu", *options]) == 2
    error = capsys.readouterr().err
    assert word in error or (output.startswith("file/") and "does not exist" in error), error
    assert "Traceback" not in error
    assert not list(tmp_path.rglob("*.seg.nrrd"))
    assert not hidden_folder(tmp_path / "in").exists()


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write everywhere")
def test_output_folder_without_write_permission(model, tmp_path, capsys):
    source = studies(tmp_path / "in", 1)
    (tmp_path / "out").mkdir(mode=0o500)
    assert main(command(source, tmp_path / "out", model)[1:]) == 2
    assert "cannot be written" in capsys.readouterr().err


def test_an_output_that_cannot_be_written_fails_alone(model, tmp_path):
    source, output = studies(tmp_path / "in" / "a", 1).parent, tmp_path / "out"
    studies(source / "b", 1)
    output.mkdir()
    (output / "a").write_text("in the way")
    summary = run(source, output, model)
    assert [row["status"] for row in summary.rows] == ["failed", "done"]
    assert "cannot be written" in summary.rows[0]["message"]


def test_a_defect_of_ours_in_one_study_stops_no_other(model, tmp_path, monkeypatch, caplog):
    source = studies(tmp_path / "in", 3)
    real = segment_folder.segment

    def broken(volume, *arguments):
        if volume.name == "s01":
            raise RuntimeError("a bug")
        return real(volume, *arguments)

    monkeypatch.setattr(segment_folder, "segment", broken)
    summary = run(source, tmp_path / "out", model)
    assert [row["status"] for row in summary.rows] == ["done", "failed", "done"]
    assert summary.rows[1]["message"] == "RuntimeError: a bug"
    assert "Traceback" in caplog.text


def test_the_next_is_read_and_the_last_written_during_the_network(model, tmp_path, monkeypatch):
    source = studies(tmp_path / "in", 5)
    read, written = [threading.Event() for _ in range(6)], [threading.Event() for _ in range(6)]
    begun = []
    real_read, real_segment = segment_folder.read_volume, segment_folder.segment
    real_write = segment_folder.write_labels

    def reading(path):
        begun.append(path)
        read[len(begun) - 1].set()
        return real_read(path)

    def segmenting(volume, *arguments):
        number = int(volume.name[1:])
        if number < 4:
            assert read[number + 1].wait(PATIENCE), "the next was not read"
        if number:
            assert written[number - 1].wait(PATIENCE), "the last was not written"
        assert len(begun) <= number + 2, "more than the next was read"
        return real_segment(volume, *arguments)

    def writing(path, *arguments, **options):
        written[int(path.name[1:3])].set()
        real_write(path, *arguments, **options)

    for name, function in (("read_volume", reading), ("segment", segmenting), ("write_labels", writing)):
        monkeypatch.setattr(segment_folder, name, function)
    summary = run(source, tmp_path / "out", model)
    assert summary.count("done") == 5, [row["message"] for row in summary.rows]


def test_cancel_keeps_what_is_done(model, tmp_path):
    source, output, done = studies(tmp_path / "in", 5), tmp_path / "out", []
    with pytest.raises(CancelledError):
        run(source, output, model, finished=done.append, cancelled=lambda: len(done) >= 2)
    counts = manifest(output)["counts"]
    assert counts["done"] == len(done) == len(times(output)) >= 2
    assert counts["open"] == 5 - len(done) > 0
    assert not list(output.rglob("*.lock"))
    progress = []
    before = times(output)
    summary = run(source, output, model, progress=lambda *place: progress.append(place[:2]))
    assert summary.now == counts["open"]
    assert progress[-1] == (5, 5)
    assert progress == sorted(progress)
    assert before.items() <= times(output).items()


def test_structure_that_the_model_lacks(model, tmp_path):
    """Before the search for studies, so that no long search is for nothing."""
    for names in (["spleen"], []):
        with pytest.raises(ClassesError):
            run(studies(tmp_path / "in", 3), tmp_path / "out", model, options=Options(structures=names))
    assert not (tmp_path / "out").exists()


def test_outputs_hold_the_structures_that_were_asked_for(model, tmp_path):
    source, output = studies(tmp_path / "in", 1), tmp_path / "out"
    run(source, output, model, options=Options(structures=["HEART "]))
    assert [structure.name for structure in read_structures(output / "s00.seg.nrrd")] == ["heart"]
    assert manifest(output)["settings"]["structures"] == ["heart"]
    assert run(source, output, model, options=Options(structures=["heart", "Heart"])).now == 0


@pytest.mark.skipif(sys.platform != "linux", reason="names that are no UTF-8 exist on Linux")
def test_name_that_is_no_utf8_fails_alone(model, tmp_path):
    source, output = studies(tmp_path / "in", 2), tmp_path / "out"
    os.rename(source / "s00.nii.gz", os.fsencode(source) + b"/\xff.nii.gz")
    ended = subprocess.run([sys.executable, "-m", *command(source, output, model)], capture_output=True, check=False)
    assert ended.returncode == 2, ended.stderr.decode()  # SimpleITK would end the process
    assert [row["status"] for row in manifest(output)["studies"]] == ["done", "failed"]
    assert "not valid UTF-8" in manifest(output)["studies"][1]["message"]
    assert run(source, output, model).now == 1


def test_damaged_records_are_written_anew(model, tmp_path):
    source, output = studies(tmp_path / "in", 3), tmp_path / "out"
    run(source, output, model)
    for path, content in zip(hidden_folder(output).glob("*.json"), (b"", b"[]", b"\xff"), strict=True):
        path.write_bytes(content)
    summary = run(source, output, model)
    assert (summary.now, summary.count("done")) == (3, 3)


def test_inputs_that_are_added_leave_the_others_as_they_are(model, tmp_path):
    first, second, output = studies(tmp_path / "a", 1), studies(tmp_path / "b", 1), tmp_path / "out"
    run([first], output, model)
    before = times(output)
    assert run([first, second], output, model).now == 1  # the outputs of both now have another shared folder
    image(first / "s00.nrrd", noise(5))  # of the same short name
    assert run([first, second], output, model).now == 1
    assert before.items() <= times(output).items()
    assert len(times(output)) == 3


def test_another_batch_in_the_same_folder_overwrites_nothing(model, tmp_path):
    first, second, output = studies(tmp_path / "a", 1), studies(tmp_path / "b", 1), tmp_path / "out"
    run(first, output, model)
    before = times(output)
    assert run(second, output, model).rows[0]["output"] == "s00.nii.gz.seg.nrrd"
    assert before.items() <= times(output).items()
    first.rename(tmp_path / "moved")
    assert run(tmp_path / "moved", output, model).rows[0]["output"] == "s00.seg.nrrd"


def test_disk_that_is_full_for_one_study(model, tmp_path):
    """The largest output does not fit; the others, the records and the manifest do."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=56k", "tmpfs", str(disk)]
    if sys.platform != "linux" or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("no small disk can be mounted here")
    try:
        source = studies(tmp_path / "in", 3)
        image(source / "s01.nii.gz", noise(1, (40, 200, 200)))
        run(source, disk / "out", model)
        rows = manifest(disk / "out")["studies"]
        assert [row["status"] for row in rows] == ["done", "failed", "done"]
        assert "cannot be written" in rows[1]["message"]
        assert not list((disk / "out").glob(".*s01*"))
    finally:
        subprocess.run(["umount", str(disk)], check=True)
