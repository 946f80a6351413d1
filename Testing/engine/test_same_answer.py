"""One request, one answer: the same labels, sizes and sentences from command line, engine server and folder batch.

The console's way is in ``Testing/slicer/test_same_answer.py``; both compare with what ``sample`` says of torso-ct.
"""

import functools
import json
import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import sample
import torch
from sam2adapt.batch import segment_folder
from sam2adapt.cli.app import main
from sam2adapt.imaging.volume import read_labels, read_structures, read_volume, write_volume
from sam2adapt.segmenting import model
from serve_client import Client, described

BOX = [20, 70, 30, 100, 12, 20]


@dataclass
class Request:
    """What is asked for; the fields are those of ``predict.Options``."""

    structures: list[str] | None = None
    roi: list[int] | None = None
    tta: bool = False
    any_modality: bool = False
    uncertainty: bool = False
    suffix: str = ".seg.nrrd"
    image: str = "chest"


@dataclass
class Answer:
    """What came back: ``labels`` and ``doubt`` (K, J, I), the size of each structure, the report; or the refusal."""

    labels: np.ndarray | None = None
    sizes: list[tuple[str, int, float]] | None = None
    doubt: np.ndarray | None = None
    segments: list[str] | None = None
    report: dict | None = None
    refusal: str = ""


REQUESTS = {
    "all": Request(),
    "one structure": Request(structures=["  Left   LUNG ", "left lung"]),
    "region": Request(roi=BOX),
    "NIfTI": Request(suffix=".nii.gz", structures=["right lung"], roi=BOX),
    "uncertainty": Request(uncertainty=True, roi=BOX),
    "test-time augmentation": Request(tta=True, roi=BOX),
    "unknown structure": Request(structures=["left lung", "Spleen "]),
    "region outside": Request(roi=[0, 10, 0, 10, 0, 99]),
    "MR": Request(image="magnitude"),
    "MR all the same": Request(image="magnitude", any_modality=True, roi=BOX),
    "constant": Request(image="constant"),
}
REFUSED = {"unknown structure", "region outside", "MR", "constant"}


@pytest.fixture(scope="module")
def images(tmp_path_factory) -> dict[str, Path]:
    """The sample CT, the same without negative values, and one without an image."""
    folder = tmp_path_factory.mktemp("images")
    chest = read_volume(sample.volumePath())
    arrays = {"chest": chest.array, "magnitude": np.abs(chest.array), "constant": np.full_like(chest.array, 7)}
    for name, array in arrays.items():
        (folder / name).mkdir()
        write_volume(folder / name / f"{name}.nrrd", chest.with_array(array))
    return {name: folder / name / f"{name}.nrrd" for name in arrays}


@pytest.fixture(scope="module", autouse=True)
def loaded_once():
    """One load of the model a process."""
    with pytest.MonkeyPatch.context() as patch:
        load = functools.cache(model.load_model)
        patch.setattr(model, "load_model", load)
        patch.setattr(segment_folder, "load_model", load)
        yield


@pytest.fixture(scope="module")
def server():
    """The engine, with as many threads as this process has."""
    with Client(OMP_NUM_THREADS=str(torch.get_num_threads())) as client:
        client.receive()
        yield client


def words(request: Request) -> list[str]:
    """The options of the command line."""
    words = ["--model", "torso-ct", "--device", "cpu"]
    words += ["--structures", ",".join(request.structures)] if request.structures else []
    words += ["--roi", ",".join(map(str, request.roi))] if request.roi else []
    words += ["--tta"] if request.tta else []
    return words + (["--any-modality"] if request.any_modality else [])


def sizes_of(structures: list[dict]) -> list[tuple[str, int, float]]:
    return [(structure["name"], structure["voxels"], structure["ml"]) for structure in structures]


def single_words(request: Request, images, folder: Path) -> list[str]:
    """The command for one volume."""
    doubt = ["--uncertainty", str(folder / "doubt.nrrd")] if request.uncertainty else []
    files = ["-o", str(folder / f"labels{request.suffix}"), "--json", str(folder / "report.json"), *doubt]
    return ["segment", str(images[request.image]), *files, *words(request)]


def report_of(told: dict) -> dict:
    """What every entrance tells of a run beside the structures: model, settings, device, slices, parts of the time."""
    name, digest = (told["model"][key] for key in ("name", "digest")) if isinstance(told["model"], dict) else (
        told["model"], told["digest"]
    )  # fmt: skip
    parts = {part for part in told["seconds"] if part not in ("model", "load", "total")}
    return {
        "model": name, "digest": digest, "settings": told["settings"], "device": told["device"],
        "slices": told["slices"], "seconds": parts,
    }  # fmt: skip


def single_answer(request: Request, folder: Path) -> Answer:
    path = folder / f"labels{request.suffix}"
    report = json.loads((folder / "report.json").read_text("utf-8"))
    return Answer(
        read_labels(path).array[0],
        sizes_of(report["structures"]),
        read_volume(folder / "doubt.nrrd").array[0] if request.uncertainty else None,
        [structure.name for structure in read_structures(path)],
        report_of(report),
    )


def refusal(error: str) -> str:
    """The two sentences of the command line, without the flags that it adds in brackets."""
    message, remedy = error.split("sam2adapt: ")[1].splitlines()
    return f"{message} {re.sub(r' [(]--[^()]*[)]', '', remedy)}"


def by_command_line(request: Request, images, folder: Path, capsys) -> Answer:
    status = main(single_words(request, images, folder))
    printed = capsys.readouterr()
    if status == 2:
        assert not list(folder.iterdir())
        return Answer(refusal=refusal(printed.err))
    answer = single_answer(request, folder)
    listed = [f"{name}: {ml:.1f} mL" for name, _, ml in answer.sizes]
    assert [line for line in printed.out.splitlines() if line.endswith(" mL")] == listed
    return answer


def by_process(request: Request, images, folder: Path, _) -> Answer:
    environment = {**os.environ, "OMP_NUM_THREADS": str(torch.get_num_threads())}
    command = [sys.executable, "-m", "sam2adapt", *single_words(request, images, folder)]
    subprocess.run(command, check=True, capture_output=True, env=environment)
    return single_answer(request, folder)


def by_batch(request: Request, images, folder: Path, capsys) -> Answer:
    output = folder / "out"
    command = ["segment", str(images[request.image].parent), "-o", str(output), "--format", request.suffix]
    status = main(command + words(request))
    error = capsys.readouterr().err
    if not (output / "manifest.json").exists():
        assert status == 2
        return Answer(refusal=refusal(error))
    return batch_answer(json.loads((output / "manifest.json").read_text("utf-8")), output)


def batch_answer(manifest: dict, output: Path) -> Answer:
    row = manifest["studies"][0]
    if row["status"] == "failed":
        return Answer(refusal=row["message"])
    path = output / row["output"]
    segments = [structure.name for structure in read_structures(path)]
    report = report_of(row | {"settings": manifest["settings"]})
    return Answer(read_labels(path).array[0], sizes_of(row["structures"]), segments=segments, report=report)


def options(request: Request) -> dict:
    """Those that both methods of the server have."""
    return {
        "model": "torso-ct", "device": "cpu", "structures": request.structures, "tta": request.tta,
        "anyModality": request.any_modality,
    }  # fmt: skip


def by_server(request: Request, images, folder: Path, server) -> Answer:
    files = {"labels": str(folder / "labels.npy")}
    files |= {"uncertainty": str(folder / "doubt.npy")} if request.uncertainty else {}
    source = described(read_volume(images[request.image]), folder)
    message = server.answer(server.send("segment", input=source, roi=request.roi, **files, **options(request)))
    if "error" in message:
        return Answer(refusal=f"{message['error']['message']} {message['error']['data']['remedy']}")
    doubt = np.load(folder / "doubt.npy") if request.uncertainty else None
    result = message["result"]
    return Answer(np.load(folder / "labels.npy"), sizes_of(result["structures"]), doubt, report=report_of(result))


def by_batch_of_server(request: Request, images, folder: Path, server) -> Answer:
    sent = {"inputs": [str(images[request.image].parent)], "output": str(folder / "out"), "format": request.suffix}
    message = server.answer(server.send("segmentBatch", **sent, roi=request.roi, **options(request)))
    if "error" in message:
        return Answer(refusal=f"{message['error']['message']} {message['error']['data']['remedy']}")
    return batch_answer(message["result"], folder / "out")


@pytest.mark.parametrize("name", REQUESTS)
def test_same_answer(name, images, server, tmp_path, capsys):
    request = REQUESTS[name]

    def folder(entrance: str) -> Path:
        (tmp_path / entrance).mkdir()
        return tmp_path / entrance

    answers = {
        "command line": by_command_line(request, images, folder("command line"), capsys),
        "server": by_server(request, images, folder("server"), server),
        "batch": by_batch(request, images, folder("batch"), capsys),
        "server's batch": by_batch_of_server(request, images, folder("server's batch"), server),
    }
    if name == "one structure":
        answers["process"] = by_process(request, images, folder("process"), None)
    for entrance, answer in answers.items():  # who gives a file is told its path, and who gives an array its name
        path, is_file = str(images[request.image]), entrance != "server"
        assert name not in ("MR", "constant") or (path in answer.refusal) == is_file
        answer.refusal = answer.refusal.replace(path, request.image)
    first = answers["command line"]
    assert {entrance: answer.refusal for entrance, answer in answers.items()} == dict.fromkeys(answers, first.refusal)
    assert bool(first.refusal) == (name in REFUSED)
    if first.refusal:
        assert first.refusal == sample.TORSO_REFUSALS.get(name, first.refusal)
        return
    assert {entrance: answer.sizes for entrance, answer in answers.items()} == dict.fromkeys(answers, first.sizes)
    assert {entrance: answer.report for entrance, answer in answers.items()} == dict.fromkeys(answers, first.report)
    for entrance, answer in answers.items():
        np.testing.assert_array_equal(answer.labels, first.labels, entrance)
        if request.uncertainty and answer.doubt is not None:
            np.testing.assert_array_equal(answer.doubt, first.doubt, entrance)
        if answer.segments is not None and request.suffix == ".seg.nrrd":
            assert answer.segments == [size[0] for size in first.sizes], entrance
    listed = {"one structure": ["left lung"], "NIfTI": ["right lung"]}.get(name, ["right lung", "left lung"])
    assert [size[0] for size in first.sizes] == listed
    assert sum(size[1] for size in first.sizes) == np.count_nonzero(first.labels)
    assert first.labels.any() or request.image == "magnitude"


def test_sizes_are_those_of_the_console(images, tmp_path, capsys):
    answer = by_command_line(REQUESTS["all"], images, tmp_path, capsys)
    sample.assertTorsoSizes(answer.sizes)
