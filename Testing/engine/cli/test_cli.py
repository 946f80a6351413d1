"""The command line: the main job on real input, and every bad input ends with status 2, a sentence and a remedy."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
import slicerio
import torch
from cards import model_card
from conftest import noise
from sam2adapt.cli.app import _parser, main
from sam2adapt.cli.options import request_of
from sam2adapt.imaging.terminology import describe
from sam2adapt.imaging.volume import read_labels, read_structures, read_volume
from sam2adapt.modelfiles.bundle import write_bundle
from sam2adapt.network.weights import load_base, random_base, write_base
from sam2adapt.requests.train import plan_for
from sam2adapt.segmenting.model import build_network
from sam2adapt.shared import files
from sam2adapt.shared.requests.actions import Train

CHEST = Path(str(slicerio.get_testdata_file("CTChest4.nrrd")))
STRUCTURES = [describe(1, "right lung"), describe(2, "left lung")]


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Path:
    """A CT model of the nano configuration with random weights; its base lies in the home folder of the module."""
    home = tmp_path_factory.mktemp("home")
    (home / "bases").mkdir()
    base = home / "bases" / "nano.safetensors"
    write_base(base, "nano", random_base("nano", seed=11)[0], {})
    network, identity = load_base(str(base))
    card = model_card(
        STRUCTURES,
        identity,
        name="test-ct",
        slices={
            "axis": "axial",
            "spacing": [6.0, 6.0],
            "size": None,
            "normalization": {"kind": "window", "low": -1000.0, "high": 400.0},
        },
        network={"peg": "add", "train_upscaling": True},
    )
    tensors = build_network(card, network)[0].trained_state()
    # At step 0 all class maps are equal and the background wins everywhere.
    tensors["head.weight"] = torch.randn(tensors["head.weight"].shape, generator=torch.Generator().manual_seed(2))
    write_bundle(home / "test-ct.safetensors", card, tensors)
    return home / "test-ct.safetensors"


@pytest.fixture(autouse=True)
def own_home(model, monkeypatch):
    monkeypatch.setenv("SAM2ADAPT_HOME", str(model.parent))
    assert files.home() == model.parent


def image(path: Path, array: np.ndarray, spacing=(1.0, 1.0, 3.0)) -> Path:
    out = sitk.GetImageFromArray(array, isVector=False)
    out.SetSpacing(spacing[: out.GetDimension()] + (1.0,) * (out.GetDimension() - 3))
    sitk.WriteImage(out, str(path))
    return path


def segment(model: Path, source: Path, output: Path, *options: str) -> int:
    return main(["segment", str(source), "-o", str(output), "--model", str(model), "--device", "cpu", *options])


def test_segment_writes_named_coded_segments_on_the_inputs_grid(model, tmp_path, capsys):
    output = tmp_path / "out.seg.nrrd"
    assert segment(model, CHEST, output, "--json", str(tmp_path / "out.json")) == 0
    volume, labels = read_volume(CHEST), read_labels(output)
    assert labels.size == volume.size
    np.testing.assert_allclose(labels.affine, volume.affine, atol=1e-5)
    assert [s.name for s in read_structures(output)] == ["right lung", "left lung"]
    assert "39607008" in read_structures(output)[0].terminology  # SNOMED CT: lung
    report = json.loads((tmp_path / "out.json").read_text("utf-8"))
    for structure in report["structures"]:
        assert structure["voxels"] == int((labels.array == structure["id"]).sum())
    assert report["slices"] == 34
    assert "slices in" in capsys.readouterr().out


def test_real_process_and_plain_progress_lines(model, tmp_path):
    command = [sys.executable, "-m", "sam2adapt", "segment", CHEST, "-o", tmp_path / "a.nii.gz", "--model", model]
    result = subprocess.run(
        [*map(str, command), "--structures", "Left Lung"], capture_output=True, encoding="utf-8", check=False
    )
    assert result.returncode == 0, result.stderr
    assert "Segmenting: 34 of 34 slices" in result.stderr
    assert "\r" not in result.stderr
    assert set(np.unique(read_labels(tmp_path / "a.nii.gz").array)) <= {0, 2}


def test_help_and_errors_come_without_torch(model, tmp_path):
    code = (
        "import sys; from sam2adapt.cli.app import main\n"
        "status = main(['models'])\n"
        "assert 'torch' not in sys.modules, 'torch was imported'\nsys.exit(status)"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, encoding="utf-8", check=False)
    assert result.returncode == 0, result.stderr


def test_prediction_starts_without_the_libraries_of_training():
    code = (
        "import sys; import sam2adapt.segmenting.predict, sam2adapt.segmenting.model\n"
        "sys.exit(len({'monai', 'matplotlib', 'torchvision'} & sys.modules.keys()))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_evaluate_of_a_perfect_prediction(model, tmp_path, capsys):
    for part in ("images", "labels"):
        (tmp_path / part).mkdir()
    sitk.WriteImage(sitk.ReadImage(str(CHEST)), str(tmp_path / "images" / "chest.nrrd"))
    assert segment(model, CHEST, tmp_path / "labels" / "chest.nrrd") == 0
    found = set(np.unique(read_labels(tmp_path / "labels" / "chest.nrrd").array)) - {0}
    arguments = ["--images", str(tmp_path / "images"), "--labels", str(tmp_path / "labels"), "--device", "cpu"]
    status = main(
        [
            "evaluate",
            "--model",
            str(model),
            *arguments,
            "--json",
            str(tmp_path / "e.json"),
            "--csv",
            str(tmp_path / "e.csv"),
        ]
    )
    assert status == 0
    result = json.loads((tmp_path / "e.json").read_text("utf-8"))
    names = [s.name for s in STRUCTURES if s.id in found]
    assert names
    assert all(result["dice"][name] == 1.0 and result["hd95"][name] == 0.0 for name in names)
    assert result["cases"][0]["id"] == "chest"
    assert len((tmp_path / "e.csv").read_text("utf-8").splitlines()) == 3


def bad_inputs(tmp_path: Path) -> dict[str, tuple[Path, str]]:
    """Inputs that cannot be segmented, each with a word of the sentence that must say so."""
    with_nan = noise(4, 20, 20).astype(np.float32)
    with_nan[1, 2, 3] = np.nan
    infinite = noise(4, 20, 20).astype(np.float32)
    infinite[1, 2, 3] = np.inf
    (tmp_path / "text.nii.gz").write_text("this is no image")
    (tmp_path / "nodicom").mkdir()
    (tmp_path / "nodicom" / "readme.txt").write_text("nothing here")
    colour = np.random.default_rng(0).integers(0, 255, (30, 40, 3)).astype(np.uint8)
    sitk.WriteImage(sitk.GetImageFromArray(colour, isVector=True), str(tmp_path / "colour.png"))
    return {
        "missing": (tmp_path / "nothing.nii.gz", "nothing.nii.gz"),
        "unreadable": (tmp_path / "text.nii.gz", "cannot be read"),
        "no DICOM": (tmp_path / "nodicom", "DICOM"),
        "4-D": (image(tmp_path / "time.nii.gz", noise(3, 4, 20, 20)), "3 time points"),
        "NaN": (image(tmp_path / "nan.nii.gz", with_nan), "1 NaN"),
        "NaN, not packed": (image(tmp_path / "nan.nii", with_nan), "1 NaN"),
        "NaN in NRRD": (image(tmp_path / "nan.nrrd", with_nan), "1 NaN"),
        "infinite": (image(tmp_path / "inf.nii.gz", infinite), "1 infinite"),
        "constant": (image(tmp_path / "constant.nii.gz", np.full((4, 20, 20), 7, np.int16)), "constant"),
        "1x1": (image(tmp_path / "line.nii.gz", noise(9, 1, 1)), "1 x 1"),
        "colour": (tmp_path / "colour.png", "colour"),
        "MR": (image(tmp_path / "mr.nii.gz", np.abs(noise(4, 20, 20))), "grey levels of MR"),
    }


@pytest.mark.parametrize(
    "case",
    [
        "missing",
        "unreadable",
        "no DICOM",
        "4-D",
        "NaN",
        "NaN, not packed",
        "NaN in NRRD",
        "infinite",
        "constant",
        "1x1",
        "colour",
        "MR",
    ],
)
def test_bad_input(case, model, tmp_path, capsys):
    source, word = bad_inputs(tmp_path)[case]
    assert segment(model, source, tmp_path / "out.seg.nrrd") == 2
    assert_refused(capsys, word)
    assert not list(tmp_path.glob("*out.seg*"))


def test_two_series_in_one_folder(model, tmp_path, capsys):
    folder = tmp_path / "dicom"
    folder.mkdir()
    writer = sitk.ImageFileWriter()
    writer.KeepOriginalImageUIDOn()
    for series in (1, 2):
        for k in range(3):
            piece = sitk.GetImageFromArray(noise(1, 16, 16))
            piece.SetOrigin((0, 0, 3.0 * k))
            tags = {
                "0008|0060": "CT", "0020|000e": f"1.2.3.{series}", "0020|000d": "1.2.3", "0020|0013": str(k),
                "0020|0032": f"0\\0\\{3 * k}", "0020|0037": "1\\0\\0\\0\\1\\0", "0008|0018": f"1.2.3.{series}.{k}",
            }  # fmt: skip
            for tag, value in tags.items():
                piece.SetMetaData(tag, value)
            writer.SetFileName(str(folder / f"{series}{k}.dcm"))
            writer.Execute(piece)
    assert segment(model, folder, tmp_path / "out.nrrd") == 2
    assert_refused(capsys, "1.2.3.1")
    assert segment(model, folder, tmp_path / "out.nrrd", "--series", "1.2.3.2") == 0
    assert read_labels(tmp_path / "out.nrrd").size == (16, 16, 3)


@pytest.mark.parametrize(
    ("options", "word"),
    [
        (["--structures", "spleen"], "does not segment 'spleen'"),
        (["--roi", "0,500,0,5,0,5"], "is not inside the volume"),
        (["--device", "cuda:77"], "cuda:77"),
        (["--device", "abacus"], "no device 'abacus'"),
    ],
)
def test_bad_options(options, word, model, tmp_path, capsys):
    assert segment(model, CHEST, tmp_path / "out.nrrd", *options) == 2
    assert_refused(capsys, word)


@pytest.mark.parametrize(
    ("output", "word"), [("nowhere/out.nrrd", "does not exist"), ("out.xyz", "suffix"), ("out", "suffix")]
)
def test_outputs_that_cannot_be_written(output, word, model, tmp_path, capsys):
    assert segment(model, CHEST, tmp_path / output) == 2
    assert_refused(capsys, word)


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write everywhere")
def test_folder_without_write_permission(model, tmp_path, capsys):
    tmp_path.chmod(0o500)
    assert segment(model, CHEST, tmp_path / "out.nrrd") == 2
    tmp_path.chmod(0o700)
    assert_refused(capsys, "cannot be written")


def test_training_into_a_folder_that_cannot_be_made(tmp_path, capsys):
    arguments = training_folder(tmp_path)
    (tmp_path / "file").write_text("in the way")
    assert main(["train", *arguments, "-o", str(tmp_path / "file" / "m.safetensors")]) == 2
    assert_refused(capsys, "is not a folder")
    assert main(["train", *arguments, "-o", str(tmp_path / "m.pt")]) == 2
    assert_refused(capsys, "safetensors")


def test_unknown_model(tmp_path, capsys):
    assert segment(Path("torso-cd"), CHEST, tmp_path / "out.nrrd") == 2
    assert_refused(capsys, "torso-cd")


def test_missing_base_weights_say_which_file_from_where_and_its_size(tmp_path, capsys):
    data = training_folder(tmp_path)
    assert main(["train", *data, "--base", "tiny", "-o", str(tmp_path / "m.safetensors")]) == 2
    error = assert_refused(capsys, "sam2.1_hiera_tiny.pt")
    assert "156" in error
    assert "dl.fbaipublicfiles.com" in error
    assert "download it (sam2adapt models download tiny)." in error


def training_folder(tmp_path: Path, values=(0, 1, 2), label_shape=(4, 20, 20)) -> list[str]:
    for part in ("images", "labels"):
        (tmp_path / part).mkdir(exist_ok=True)
    labels = np.random.default_rng(1).choice(values, label_shape).astype(np.uint8)
    for name in ("a", "b"):
        image(tmp_path / "images" / f"{name}.nii.gz", noise(4, 20, 20))
        image(tmp_path / "labels" / f"{name}.nii.gz", labels)
    parts = ["--images", str(tmp_path / "images"), "--labels", str(tmp_path / "labels")]
    return [*parts, "--classes", "1=right lung,2=left lung", "--epochs", "1", "--device", "cpu"]


@pytest.mark.parametrize(
    ("values", "shape", "classes", "word"),
    [
        ((0, 1, 2, 7), (4, 20, 20), None, "label value 7"),
        ((0, 1), (4, 20, 20), None, "No training label holds a voxel of 'left lung'"),
        ((0, 1, 2), (4, 20, 24), None, "voxel grid"),
        ((0, 1, 2), (4, 20, 20), "1=a,1=b", "twice"),
        ((0, 1, 2), (4, 20, 20), "lung", "not a label value"),
        ((0, 1, 2), (4, 20, 20), "255=everything", "255 is not a label value"),
        ((0, 255), (4, 20, 20), "1=lung", "give masks of 0 and 255"),
    ],
)
def test_training_data_that_do_not_fit(values, shape, classes, word, tmp_path, capsys):
    arguments = training_folder(tmp_path, values, shape)
    if classes:
        arguments[arguments.index("--classes") + 1] = classes
    assert main(["train", *arguments, "-o", str(tmp_path / "m.safetensors")]) == 2
    assert_refused(capsys, word)
    assert not (tmp_path / "m.safetensors").exists()


def test_empty_training_set(tmp_path, capsys):
    for part in ("images", "labels"):
        (tmp_path / part).mkdir()
    folders = ["--images", str(tmp_path / "images"), "--labels", str(tmp_path / "labels")]
    assert main(["train", *folders, "--classes", "1=a", "-o", str(tmp_path / "m.safetensors")]) == 2
    assert_refused(capsys, "has a label of the same name")


@pytest.mark.parametrize(
    ("split", "word"),
    [("no json", "not JSON"), ('{"train": ["a"]}', "two lists"), ('{"train": ["a"], "val": ["z"]}', "'z'")],
)
def test_bad_split(split, word, tmp_path, capsys):
    arguments = training_folder(tmp_path)
    (tmp_path / "split.json").write_text(split)
    status = main(["train", *arguments, "--split", str(tmp_path / "split.json"), "-o", str(tmp_path / "m.safetensors")])
    assert status == 2
    assert_refused(capsys, word)


def test_unknown_method_and_setting(tmp_path, capsys):
    arguments = training_folder(tmp_path)
    assert main(["train", *arguments, "--method", "magic", "-o", str(tmp_path / "m.safetensors")]) == 2
    assert_refused(capsys, "no method 'magic'")
    assert main(["train", *arguments, "--set", "rate=3", "-o", str(tmp_path / "m.safetensors")]) == 2
    assert_refused(capsys, "ratio")


def test_preset_asks_for_its_own_base(tmp_path, capsys):
    arguments = training_folder(tmp_path)
    assert main(["train", *arguments, "--preset", "fast", "-o", str(tmp_path / "m.safetensors")]) == 2
    assert_refused(capsys, "sam2.1_hiera_tiny.pt")
    assert main(["train", *arguments, "--preset", "slow", "-o", str(tmp_path / "m.safetensors")]) == 2
    assert_refused(capsys, "no preset 'slow'")


def test_flips_that_are_no_axes(tmp_path, capsys):
    arguments = training_folder(tmp_path)
    assert main(["train", *arguments, "--flips", "diagonal", "-o", str(tmp_path / "m.safetensors")]) == 2
    assert_refused(capsys, "diagonal")


def train_options(*options: str) -> Train:
    """The request of a command."""
    words = ["train", "--images", "a", "--labels", "b", "-o", "m.safetensors", *options]
    return request_of(_parser().parse_args(words), Train)


def test_classes_of_the_command_line():
    classes = train_options("--classes", "1=right ventricle, 2 = myocardium").classes
    assert classes == [{"id": 1, "name": "right ventricle"}, {"id": 2, "name": "myocardium"}]


def assert_refused(capsys, word: str) -> str:
    """One sentence with the word and one remedy on standard error, no traceback."""
    error = capsys.readouterr().err
    assert word in error, error
    assert "Traceback" not in error
    lines = error[error.index("sam2adapt: ") :].strip().splitlines()
    assert len(lines) >= 2, error
    return error


@pytest.mark.parametrize(
    ("options", "rate"),
    [
        ([], 3e-3), (["--preset", "nano"], 3e-3), (["--learning-rate", "1e-4"], 1e-4), (["--base", "tiny"], 1e-3),
        (["--preset", "fast"], 1e-3), (["--init", "torso-ct"], 1e-3),
    ],
)  # fmt: skip
def test_learning_rate_suits_the_base(options, rate):
    """What was measured on nano is said of nothing else, and a trained model is changed with care."""
    assert plan_for(train_options(*options), [], [describe(1, "right lung")]).settings.learning_rate == rate


def test_preset_nano_trains_all_that_was_measured():
    """Without a preset, a model on nano trains the upscaling, and so did those that the benchmarks measured."""
    assert plan_for(train_options("--preset", "nano"), [], [describe(1, "right lung")]).train_upscaling
