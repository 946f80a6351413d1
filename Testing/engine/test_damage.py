"""Files that cannot be used, through every entrance: the same sentence, a remedy, no traceback, and nothing lost.

Each image lies beside a good one, each label map beside good images, so that an entrance that goes on must do the rest.
"""

import gzip
import json
import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from dicom_samples import write_series
from PIL import Image
from sam2adapt.cli.app import main
from sam2adapt.imaging.volume import read_labels
from serve_client import Client

SHAPE = (20, 18, 7)  # voxels along I, J, K
AFFINE = np.diag([-2.0, -2.0, 5.0, 1.0])


def chest(seed: int = 0) -> np.ndarray:
    """A CT of two bright boxes in air."""
    array = np.random.default_rng(seed).normal(-950, 20, SHAPE).astype(np.int16)
    array[2:9, 3:9, 1:5] += 1000
    array[11:18, 8:14, 2:6] += 900
    return array


def truth() -> np.ndarray:
    labels = np.zeros(SHAPE, np.uint8)
    labels[2:9, 3:9, 1:5], labels[11:18, 8:14, 2:6] = 1, 7
    return labels


def nifti(path: Path, array: np.ndarray, affine: np.ndarray = AFFINE) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(array, affine), path)
    return path


def cut(path: Path) -> Path:
    data = path.read_bytes()
    path.write_bytes(data[: len(data) * 2 // 3])
    return path


def short(path: Path) -> Path:
    """A gzip stream that is whole, of a file that is not."""
    path.write_bytes(gzip.compress(gzip.decompress(nifti(path, chest()).read_bytes())[:-500]))
    return path


def with_nan(path: Path) -> Path:
    array = chest().astype(np.float32)
    array[1, 2, 3] = np.nan
    return nifti(path, array)


def sheared() -> np.ndarray:
    affine = AFFINE.copy()
    affine[1, 2] = 2.0
    return affine


def rgb(path: Path) -> Path:
    values = np.random.default_rng(0).integers(0, 255, (*SHAPE, 3)).astype(np.uint8)
    return nifti(path, values.view([("R", "u1"), ("G", "u1"), ("B", "u1")])[..., 0])


def jpeg(path: Path) -> Path:
    Image.fromarray(truth()[:, :, 2]).save(path)
    return path


def sparse() -> np.ndarray:
    """The truth in every second slice, 255 between."""
    labels = truth()
    labels[:, :, 1::2] = 255
    return labels


def moved(millimetres: float) -> np.ndarray:
    affine = AFFINE.copy()
    affine[0, 3] += millimetres
    return affine


def renamed(array: np.ndarray) -> Callable[[Path], Path]:
    return lambda path: nifti(path.parent / "a name of UTF-8.nii.gz", array).rename(path)


@dataclass(frozen=True)
class Damage:
    """A file that cannot be used.

    :ivar make: writes it. :ivar says: what the sentence must say. :ivar name: of the file.
    :ivar entrances: those that refuse it, if not all do.
    """

    make: Callable[[Path], Path]
    says: str
    name: str = "b.nii.gz"
    entrances: tuple[str, ...] = ()


NOT_UTF8 = os.fsdecode(b"b\xff.nii.gz")
TWO_THIRDS = "is truncated or damaged"
IMAGES = {
    "truncated": Damage(lambda path: cut(nifti(path, chest())), TWO_THIRDS),
    "too short": Damage(short, r"is truncated or damaged: its header declares 20 x 18 x 7 voxels of int16"),
    "no image": Damage(lambda path: path.write_text("no image") and path, "it is damaged or no image"),
    "empty": Damage(lambda path: path.write_bytes(b"") or path, "is empty"),
    "NaN": Damage(with_nan, r"has 1 NaN and 0 infinite voxels of 2520"),
    "constant": Damage(lambda path: nifti(path, np.full(SHAPE, 7, np.int16)), "is constant: all its voxels are 7"),
    "4-D": Damage(lambda path: nifti(path, np.stack([chest()] * 3, 3)), "is a 4-D volume of 3 time points or channels"),
    "sheared": Damage(lambda path: nifti(path, chest(), sheared()), "axes .sform, code 2. that are not at right"),
    "complex": Damage(lambda path: nifti(path, chest().astype(np.complex64)), "unsupported type: complex"),
    "colour": Damage(rgb, "is a colour image and model 'test' was trained on CT",
                     entrances=("segment", "batch", "rank", "evaluate")),
    "MR": Damage(lambda path: nifti(path, np.abs(chest())), "has the grey levels of MR and model 'test' was trained",
                 entrances=("segment", "batch", "rank")),
    "not UTF-8": Damage(renamed(chest()), r"The name of '.*b.+\.nii\.gz' is not valid UTF-8", NOT_UTF8),
}  # fmt: skip
LABELS = {
    "truncated": Damage(lambda path: cut(nifti(path, truth())), TWO_THIRDS),
    "empty file": IMAGES["empty"],
    "fractions": Damage(lambda path: nifti(path, truth() * np.float32(0.37)), "values that are not whole numbers"),
    "NaN": Damage(with_nan, "values that are not whole numbers"),
    "negative": Damage(lambda path: nifti(path, truth().astype(np.int16) - 1), "has the value -1, which is no label"),
    "colour": Damage(rgb, "is in colour, not a label image"),
    "4-D": Damage(lambda path: nifti(path, np.stack([truth()] * 2, 3)), "is a 4-D volume of 2 time points or channels"),
    "moved": Damage(lambda path: nifti(path, sparse(), moved(30)),
                    r"does not lie on the voxel grid of '.*b.nii.gz': origin \(0 0 0\) against \(-30 0 0\)"),
    "other size": Damage(lambda path: nifti(path, sparse()[:, :, :5]),
                         r"does not lie on the voxel grid of '.*b.nii.gz': 20 x 18 x 7 against 20 x 18 x 5 voxels"),
    "JPEG": Damage(jpeg, "a format that cannot keep labels", "b.jpg"),
    "not UTF-8": Damage(renamed(truth()), r"The name of '.*b.+\.nii\.gz' is not valid UTF-8", NOT_UTF8),
    "unknown value": Damage(lambda path: nifti(path, truth() * 2), "holds label value 2, which is not among",
                            entrances=("evaluate", "train")),
}  # fmt: skip


@pytest.fixture
def folder(tmp_path) -> Path:
    """Three images with labels, and drawings on the second."""
    for name in "abc":
        nifti(tmp_path / "images" / f"{name}.nii.gz", chest())
        nifti(tmp_path / "labels" / f"{name}.nii.gz", truth())
    nifti(tmp_path / "drawn" / "b.nii.gz", sparse())
    return tmp_path


def commands(folder: Path, model: Path, image: Path, label: Path) -> dict[str, list[str | Path]]:
    """One command for each entrance of the shell."""
    pairs = ["--images", folder / "images", "--labels", folder / "labels"]
    names = ["--classes", "1=right lung,7=left lung"]
    return {
        "segment": ["segment", image, "-o", folder / "one.nii.gz", "--model", model],
        "batch": ["segment", folder / "images", "-o", folder / "out", "--model", model],
        "rank": ["rank", "--model", model, folder / "images"],
        "fill": ["fill", image, "--labels", label, "-o", folder / "filled.nii.gz"],
        "evaluate": ["evaluate", "--model", model, *pairs],
        "train": ["train", *pairs, *names, "--init", model, "-o", folder / "new.safetensors", "--modality", "CT"],
    }


def check(command: list[str | Path], damage: Damage, capsys) -> str:
    """Run a command that must fail with the sentence, and give what it printed."""
    code = main([str(word) for word in command])
    printed = "".join(capsys.readouterr())
    assert "Traceback" not in printed
    assert code == (0 if command[0] == "rank" else 2), printed
    (line,) = {line for line in printed.splitlines() if re.search(damage.says, line)}
    assert str(Path("images", "b")) in line or str(Path("labels", "b")) in line, printed  # the file with its folder
    return printed


@pytest.mark.parametrize("name", IMAGES)
def test_an_image(name, folder, bundle_file, capsys):
    """Also: the batch and the ranking do the other two volumes, and no command leaves an output of its own."""
    damage = IMAGES[name]
    (folder / "images" / "b.nii.gz").unlink()
    image = damage.make(folder / "images" / damage.name)
    sentences = set()
    for entrance, command in commands(folder, bundle_file, image, folder / "drawn" / "b.nii.gz").items():
        if damage.entrances and entrance not in damage.entrances:
            continue
        printed = check(command, damage, capsys)
        sentences.add(re.search(damage.says, printed)[0])
        if entrance == "rank":
            assert printed.count("uncertainty") == 2
    assert len(sentences) == 1, sentences
    done = sorted(row["input"] for row in rows(folder) if row["status"] == "done")
    assert [Path(path).name for path in done] == ["a.nii.gz", "c.nii.gz"]
    assert all(read_labels(folder / "out" / f"{name}.seg.nrrd").size == SHAPE for name in "ac")
    assert not list(folder.glob("*.nii.gz")) and not list(folder.glob("*.safetensors"))


def rows(folder: Path) -> list[dict]:
    return json.loads((folder / "out" / "manifest.json").read_text(encoding="utf-8"))["studies"]


@pytest.mark.parametrize("name", LABELS)
def test_labels(name, folder, bundle_file, capsys):
    damage = LABELS[name]
    (folder / "labels" / "b.nii.gz").unlink()
    label = damage.make(folder / "labels" / damage.name)
    entrances = damage.entrances or ("fill", "evaluate", "train")
    every = commands(folder, bundle_file, folder / "images" / "b.nii.gz", label)
    sentences = {re.search(damage.says, check(every[entrance], damage, capsys))[0] for entrance in entrances}
    assert len(sentences) == 1, sentences
    assert not list(folder.glob("*.nii.gz")) and not list(folder.glob("*.safetensors"))


def test_evaluate_says_that_an_image_is_of_another_modality(folder, bundle_file, capsys):
    nifti(folder / "images" / "b.nii.gz", np.abs(chest()))
    pairs = ["--images", str(folder / "images"), "--labels", str(folder / "labels")]
    assert main(["evaluate", "--model", str(bundle_file), *pairs]) == 0
    printed = "".join(capsys.readouterr())
    assert re.search(r"b.nii.gz' has the grey levels of MR and model 'test' was .* It was measured anyway", printed)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["-o", "out", "--format", ".dcm"], "must refer to the DICOM series of the image, and .*b.nii.gz is no DICOM"),
        (["-o", "out", "--format", ".png"], "cannot hold 7 slices, as of .*b.nii.gz"),
        (["-o", "b.dcm"], "must refer to the DICOM series of the image, and .*b.nii.gz is no DICOM"),
        (["-o", "b.png"], "cannot hold 7 slices, as of .*b.nii.gz"),
        (["-o", "b.nrrd", "--uncertainty", "u.png"], "cannot hold 7 slices, as of .*b.nii.gz"),
        (["-o", "b.dcm", "--reference", "elsewhere"], "does not lie on the voxels of .*elsewhere"),
    ],
)
def test_what_a_format_needs_is_proved_before_the_network_runs(words, says, folder, bundle_file, capsys, monkeypatch):
    def never(*_, **__):
        raise AssertionError("the network ran")

    monkeypatch.setattr("sam2adapt.segmenting.predict.segment", never)
    monkeypatch.setattr("sam2adapt.batch.segment_folder.segment", never)
    write_series(folder / "elsewhere", indices=range(3))
    images = [folder / "images" / f"{name}.nii.gz" for name in ("ab" if "--format" in words else "b")]
    command = ["segment", *images, *(str(folder / word) if word[:1] in "obue" else word for word in words)]
    assert main([str(word) for word in [*command, "--model", bundle_file]]) == 2
    printed = "".join(capsys.readouterr())
    assert re.search(says, printed) and "the network ran" not in printed, printed


def test_the_server_says_the_same(folder, home):
    """Its batch and its training read files; the segmentation of one volume takes what Slicer has read."""
    (folder / "images" / "b.nii.gz").write_bytes(b"no image")
    images, labels = str(folder / "images"), str(folder / "labels")
    says = f"{folder}/images/b.nii.gz cannot be read: it is damaged or no image; it does not begin with a header of"
    with Client(SAM2ADAPT_HOME=str(home), OMP_NUM_THREADS="1") as client:
        client.receive()
        batch = client.answer(
            client.send("segmentBatch", inputs=[f"{images}/b.nii.gz"], output=str(folder / "out"), model="torso-ct")
        )["result"]
        assert says in batch["studies"][0]["message"]
        classes = [{"id": 1, "name": "right lung"}, {"id": 7, "name": "left lung"}]
        options = {"output": str(folder / "m.safetensors"), "base": "nano", "method": "head", "modality": "CT"}
        answer = client.answer(client.send("train", images=images, labels=labels, classes=classes, **options))
        assert says in answer["error"]["message"], answer
