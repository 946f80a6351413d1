"""What the tests of batches share: two models, good and bad studies, and what a batch left in its output folder."""

import csv
import json
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
import torch
from cards import model_card
from sam2adapt.batch.manifest import hidden_folder
from sam2adapt.batch.segment_folder import Summary, segment_folder
from sam2adapt.modelfiles.bundle import write_bundle
from sam2adapt.network.weights import load_base, random_base, write_base
from sam2adapt.segmenting.model import build_network

PATIENCE = 600  # seconds; a busy machine is slow, and a test that waits in vain fails anyway


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


@pytest.fixture
def own_home(home_of_models, monkeypatch):
    """These models and no others; not for every test, since fixtures of plugins are those of all files."""
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
    outputs = (json.loads(path.read_text(encoding="utf-8"))["output"] for path in hidden_folder(output).glob("*.json"))
    return {name: (output / name).stat().st_mtime_ns for name in outputs}


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


def torchrun(arguments: list[str], *options: str) -> list[str]:
    return [sys.executable, "-m", "torch.distributed.run", "--standalone", *options, "-m", *arguments]
