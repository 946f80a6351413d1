"""Each bundled model has sample data in the extension, in which it finds all of its structures."""

import json
from pathlib import Path

import pytest
from sam2adapt.cli.app import main

SAMPLES = Path(__file__).resolve().parents[3] / "SAM2Adapt" / "Resources" / "Samples"
MODELS = {
    "torso-ct": "chest.nrrd", "hippocampus-mr": "hippocampus.nii.gz", "lumbar-spine-mr": "lumbar-spine.png",
    "retinal-vessels": "retina.jpg",
}  # fmt: skip


def test_every_bundled_model_has_a_sample():
    bundled = {path.stem for path in (SAMPLES.parent / "Models").glob("*.safetensors")} - {"nano"}
    assert bundled == set(MODELS)


@pytest.mark.parametrize("model", MODELS)
def test_model_finds_its_structures_in_the_sample(model, tmp_path):
    out, report = tmp_path / "out.seg.nrrd", tmp_path / "out.json"
    assert main(["segment", str(SAMPLES / MODELS[model]), "--model", model, "-o", str(out), "--json", str(report)]) == 0
    structures = json.loads(report.read_text("utf-8"))["structures"]
    assert structures and all(structure["voxels"] for structure in structures)
