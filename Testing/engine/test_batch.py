"""Batches: every study once, bad ones named and passed by, nothing done twice, several processes on one list."""

import csv
import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
import torch
from conftest import model_card
from sam2adapt import batch
from sam2adapt.batch import Summary, segment_folder
from sam2adapt.batch_manifest import Records, begin_run, hidden_folder
from sam2adapt.bundle import write_bundle
from sam2adapt.cli import main
from sam2adapt.errors import CancelledError, ClassesError
from sam2adapt.model import build_network
from sam2adapt.network.weights import load_base, random_base, write_base
from sam2adapt.predict import Options
from sam2adapt.volume import read_labels, read_volume

PATIENCE = 120  # seconds after which a test that waits for another process or thread fails


@pytest.fixture(scope="module")
def home_of_models(tmp_path_factory) -> Path:
    """A home folder with two CT models of the nano configuration with random weights: ``a`` and ``b``."""
    home = tmp_path_factory.mktemp("home")
    (home / "bases").mkdir()
    base = home / "bases" / "nano.safetensors"
    write_base(base, "nano", random_base("nano", seed=11)[0], {})
    for seed, name in enumerate("ab"):
        network, identity = load_base(str(base))
        card = model_card(base=identity, name=name)
        tensors = build_network(card, network)[0].trained_state()
        head = tensors["head.weight"]
        tensors["head.weight"] = torch.randn(head.shape, generator=torch.Generator().manual_seed(seed))
        write_bundle(home / f"{name}.safetensors", card, tensors)
    return home


@pytest.fixture(autouse=True)
def own_home(home_of_models, monkeypatch):
    monkeypatch.setenv("SAM2ADAPT_HOME", str(home_of_models))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")


@pytest.fixture
def model(home_of_models) -> Path:
    return home_of_models / "a.safetensors"


def image(path: Path, array: np.ndarray, vector: bool = False) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    out = sitk.GetImageFromArray(array, isVector=vector)
    if not vector:
        out.SetSpacing((1.5, 1.5, 3.0, 1.0)[: out.GetDimension()])
    sitk.WriteImage(out, str(path))
    return path


def noise(seed: int = 0, shape=(4, 24, 20)) -> np.ndarray:
    return np.random.default_rng(seed).integers(-1000, 400, shape).astype(np.int16)


def dicom(folder: Path, uid: str, positions=range(3), description: str = "") -> None:
    folder.mkdir(parents=True, exist_ok=True)
    writer = sitk.ImageFileWriter()
    writer.KeepOriginalImageUIDOn()
    for k in positions:
        piece = sitk.GetImageFromArray(noise(k, (1, 16, 16)))
        tags = {
            "0008|0060": "CT", "0020|000e": uid, "0020|000d": "1.2.3", "0008|103e": description,
            "0020|0032": f"0\\0\\{3 * k}", "0020|0037": "1\\0\\0\\0\\1\\0", "0008|0018": f"{uid}.{k}",
        }  # fmt: skip
        for tag, value in tags.items():
            piece.SetMetaData(tag, value)
        writer.SetFileName(str(folder / f"{uid}-{k}.dcm"))
        writer.Execute(piece)


def bad_inputs(folder: Path) -> dict[str, str]:
    """Five files that cannot be segmented, by name, with a word of the sentence that must say so."""
    folder.mkdir(parents=True)
    whole = image(folder / "whole.nii.gz", noise()).read_bytes()
    (folder / "whole.nii.gz").unlink()
    (folder / "truncated.nii.gz").write_bytes(whole[: len(whole) // 2])
    (folder / "text.nii.gz").write_text("this is no image")
    with_nan = noise().astype(np.float32)
    with_nan[1, 2, 3] = np.nan
    image(folder / "nan.nii.gz", with_nan)
    image(folder / "time.nii.gz", noise(shape=(3, 4, 20, 20)))
    image(folder / "colour.png", np.random.default_rng(0).integers(0, 255, (30, 40, 3)).astype(np.uint8), vector=True)
    return {
        "truncated.nii.gz": "truncated", "text.nii.gz": "no image", "nan.nii.gz": "1 NaN",
        "time.nii.gz": "3 time points", "colour.png": "colour",
    }  # fmt: skip


def studies(folder: Path, count: int, shape=(4, 24, 20)) -> Path:
    for number in range(count):
        image(folder / f"s{number:02}.nii.gz", noise(number, shape))
    return folder


def manifest(output: Path) -> dict:
    return json.loads((output / "manifest.json").read_text(encoding="utf-8"))


def without_times(output: Path) -> dict:
    content = manifest(output)
    return content | {"studies": [{k: v for k, v in row.items() if k != "seconds"} for row in content["studies"]]}


def times(output: Path) -> dict[str, int]:
    return {str(path): path.stat().st_mtime_ns for path in output.rglob("*.seg.nrrd")}


def leftovers(output: Path) -> list[Path]:
    return [*output.rglob("*.lock"), *(path for path in output.rglob(".*") if path.is_file())]


def run(inputs, output: Path, model: Path, **changes) -> Summary:
    return segment_folder(inputs, output, model, device="cpu", **changes)


def command(inputs: Path, output: Path, model: Path) -> list[str]:
    return ["sam2adapt", "segment", str(inputs), "-o", str(output), "--model", str(model), "--device", "cpu"]


def wait_for(condition) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def records(output: Path) -> int:
    return len(list(hidden_folder(output).glob("*.json")))


def recorded(output: Path) -> dict[str, int]:
    """Times of the outputs that have a record."""
    outputs = (json.loads(path.read_text())["output"] for path in hidden_folder(output).glob("*.json"))
    return {name: (output / name).stat().st_mtime_ns for name in outputs}


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


def check_table(output: Path) -> None:
    """The CSV says what the JSON says."""
    content = manifest(output)
    with (output / "manifest.csv").open(encoding="utf-8-sig", newline="") as file:
        table = list(csv.DictReader(file))
    assert len(table) == len(content["studies"])
    for line, row in zip(table, content["studies"], strict=True):
        assert (line["input"], line["output"], line["message"]) == (row["input"], row["output"] or "", row["message"])
        assert (line["model"], line["digest"]) == (content["model"], content["digest"])
        assert float(line["seconds"]) == pytest.approx(sum(row["seconds"].values()), abs=1e-3)
        for structure in row["structures"]:
            assert float(line[f"{structure['name']} (mL)"]) == structure["ml"]


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


def test_what_a_batch_is_made_of(tmp_path):
    def found(*inputs: Path) -> dict[str, tuple]:
        made = batch.find_studies(inputs, tmp_path / "data" / "out")
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
    made = {study.name: study for study in batch.find_studies([scan], tmp_path / "out")}
    assert {name: len(study.files) for name, study in made.items()} == {"1": 5, "2": 3, "3": 2, "3/1.5.3-2": 0}
    assert "damaged" in made["3/1.5.3-2"].problem.message
    assert batch.read_series_files(made["1"].files).size == (16, 16, 5)


@pytest.mark.parametrize(
    ("inputs", "output", "options", "word"),
    [
        (["in"], "in", [], "lies in the output folder"),
        (["in"], ".", [], "lies in the output folder"),
        (["in", "in/s00.nii.gz"], "out.nii.gz", [], "the name of one file"),
        (["in"], "out", ["--json", "x.json"], "--json is for a single volume"),
        (["in"], "file/out", [], "cannot be"),
        (["in"], "file/out", ["--model", "nothing"], "No model 'nothing'"),
        (["list.csv"], "out", [], "no column 'input'"),
        (["nothing.csv"], "out", [], "cannot be read"),
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
    real = batch.segment

    def broken(volume, *arguments):
        if volume.name == "s01":
            raise RuntimeError("a bug")
        return real(volume, *arguments)

    monkeypatch.setattr(batch, "segment", broken)
    summary = run(source, tmp_path / "out", model)
    assert [row["status"] for row in summary.rows] == ["done", "failed", "done"]
    assert summary.rows[1]["message"] == "RuntimeError: a bug"
    assert "Traceback" in caplog.text


def test_the_next_is_read_and_the_last_written_during_the_network(model, tmp_path, monkeypatch):
    source = studies(tmp_path / "in", 5)
    read, written = [threading.Event() for _ in range(6)], [threading.Event() for _ in range(6)]
    begun = []
    real_read, real_segment, real_write = batch.read_volume, batch.segment, batch.write_labels

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

    def writing(path, *arguments):
        written[int(path.name[1:3])].set()
        real_write(path, *arguments)

    for name, function in (("read_volume", reading), ("segment", segmenting), ("write_labels", writing)):
        monkeypatch.setattr(batch, name, function)
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
    summary = run(source, output, model, progress=lambda *place: progress.append(place))
    assert summary.now == counts["open"]
    assert progress[-1] == (5, 5)
    assert progress == sorted(progress)
    assert before.items() <= times(output).items()


def test_structure_that_the_model_lacks(model, tmp_path):
    with pytest.raises(ClassesError):
        run(studies(tmp_path / "in", 3), tmp_path / "out", model, options=Options(structures=["spleen"]))
    assert manifest(tmp_path / "out")["counts"]["failed"] == 0


@pytest.mark.parametrize("name", ["SIGKILL", "SIGTERM"])
@pytest.mark.skipif(os.name == "nt", reason="Windows has one way to end a process")
def test_killed_in_the_middle_and_continued(name, model, tmp_path):
    source, output, whole = studies(tmp_path / "in", 8, (40, 64, 64)), tmp_path / "out", tmp_path / "whole"
    process = subprocess.Popen([sys.executable, "-m", *command(source, output, model)], stderr=subprocess.PIPE)
    wait_for(lambda: records(output) >= 2)
    process.send_signal(getattr(signal, name))
    error = process.communicate(timeout=PATIENCE)[1].decode()
    before, done = recorded(output), records(output)
    assert 2 <= done < 8
    if name == "SIGKILL":
        assert not (output / "manifest.json").exists()
        assert list(output.rglob("*.lock"))
        half = output / ".01234567s07.seg.nrrd"  # as the writer names what is not whole yet
        half.write_bytes(b"NRRD0004")
    else:
        assert process.returncode == 2
        assert "The batch was stopped." in error
        assert manifest(output)["counts"] == {"done": done, "failed": 0, "open": 8 - done}
        assert not list(output.rglob("*.lock"))
    summary = run(source, output, model)
    assert summary.now == 8 - done
    assert before.items() <= recorded(output).items()
    assert len(times(output)) == 8
    run(source, whole, model)
    assert without_times(output) == without_times(whole)
    assert not [path for path in leftovers(output) if hidden_folder(output) not in path.parents]
    assert not list(output.rglob("*.lock"))


def test_study_in_which_a_process_died_comes_last(model, tmp_path):
    source, output, order = studies(tmp_path / "in", 3), tmp_path / "out", []
    first = batch.find_studies([source], output)[0]
    dead = Records(output, {}, begin_run(output, False), ".seg.nrrd")
    assert dead.claim(first)
    for lock in dead._held.values():
        lock.release()  # as the system does when a process dies; the file stays
    run(source, output, model, finished=lambda record: order.append(record["output"]))
    assert order == ["s01.seg.nrrd", "s02.seg.nrrd", "s00.seg.nrrd"]


HOLDER = """
import sys, time
from pathlib import Path
from sam2adapt.batch_inputs import find_studies
from sam2adapt.batch_manifest import Records, begin_run
output = Path(sys.argv[2])
records = Records(output, {}, begin_run(output, False), ".seg.nrrd")
assert records.claim(find_studies([Path(sys.argv[1])], output)[1])
print("claimed", flush=True)
time.sleep(1000)
"""


def test_study_of_a_process_that_dies_is_done_by_another(model, tmp_path):
    source, output = studies(tmp_path / "in", 3), tmp_path / "out"
    holder = subprocess.Popen([sys.executable, "-c", HOLDER, source, output], stdout=subprocess.PIPE)
    assert holder.stdout.readline() == b"claimed\n"
    results = []
    worker = threading.Thread(target=lambda: results.append(run(source, output, model)))
    worker.start()
    wait_for(lambda: records(output) == 2)
    assert sorted(Path(path).name[:3] for path in times(output)) == ["s00", "s02"]
    assert worker.is_alive()
    holder.kill()
    worker.join(PATIENCE)
    assert results[0].count("done") == 3
    holder.communicate()


def torchrun(arguments: list[str], *options: str) -> list[str]:
    return [sys.executable, "-m", "torch.distributed.run", "--standalone", *options, "-m", *arguments]


def test_two_processes_make_one_manifest(model, tmp_path):
    source, output, alone = studies(tmp_path / "in", 6), tmp_path / "out", tmp_path / "alone"
    bad_inputs(source / "bad")
    dicom(source / "dicom", "1.2.3.1")
    dicom(source / "dicom", "1.2.3.2", range(1))
    damaged = source / "dicom" / "1.2.3.2-0.dcm"
    damaged.write_bytes(damaged.read_bytes()[:700])
    result = subprocess.run(
        torchrun(command(source, output, model), "--nproc-per-node", "2"), capture_output=True, text=True, check=False
    )
    assert result.returncode == 1, result.stderr  # torchrun's own word for a process that ended with 2
    assert result.stdout.count("studies are segmented") == 1
    assert "exitcode  : 2" in result.stderr
    assert "7 of 13 studies are segmented, 6 failed" in result.stdout
    run(source, alone, model)
    assert without_times(output) == without_times(alone)
    check_table(output)
    for path in alone.rglob("*.seg.nrrd"):
        other = output / path.relative_to(alone)
        assert np.array_equal(read_labels(other).array, read_labels(path).array)


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="finds the processes in Linux's /proc")
def test_a_process_that_dies_under_torchrun_loses_its_study_only(model, tmp_path):
    source, output, alone = studies(tmp_path / "in", 12, (40, 64, 64)), tmp_path / "out", tmp_path / "alone"
    agent = subprocess.Popen(
        torchrun(command(source, output, model), "--nproc-per-node", "2", "--max-restarts", "1"),
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    wait_for(lambda: records(output) >= 2)
    kept = {path: path.stat().st_mtime_ns for path in hidden_folder(output).glob("*.json")}
    children = Path(f"/proc/{agent.pid}/task/{agent.pid}/children").read_text().split()
    os.kill(int(children[-1]), signal.SIGKILL)
    out, error = agent.communicate(timeout=PATIENCE)
    assert agent.returncode == 0, error
    assert "12 of 12 studies are segmented, 0 failed" in out
    assert kept.items() <= {path: path.stat().st_mtime_ns for path in hidden_folder(output).glob("*.json")}.items()
    run(source, alone, model)
    assert without_times(output) == without_times(alone)
