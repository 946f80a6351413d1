"""The samples that come with the extension: they are what their page says, load, and are of use to their models."""

import hashlib
import importlib
import re
import sys
from types import SimpleNamespace

import pytest

FREE = {"CC BY-SA 4.0", "CC BY 4.0", "MIT"}
LIMIT = 1_500_000  # bytes of all


@pytest.fixture
def samples(lib):
    return importlib.import_module("SAM2AdaptLib.Segmenting.SampleImages")


def test_files_are_those_of_their_page(samples):
    page = (samples.FOLDER / "README.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `([^`]+)` \|.*\| ([^|]+) \| (\d+) \| (\w{64}) \|$", page, re.MULTILINE)
    used = {file for files in samples.BUNDLED.values() for file in files[1:] if file}
    assert {name for name, *_ in rows} == used
    for name, licence, size, digest in rows:
        content = (samples.FOLDER / name).read_bytes()
        assert (len(content), hashlib.sha256(content).hexdigest()) == (int(size), digest), name
        assert licence in FREE, name
    thumbnails = {f"{files[1].partition('.')[0]}-thumbnail.png" for files in samples.BUNDLED.values()}
    assert {path.name for path in samples.FOLDER.iterdir()} == used | thumbnails | {"README.md"}
    assert sum(path.stat().st_size for path in samples.FOLDER.iterdir()) < LIMIT


@pytest.mark.parametrize(("name", "slices"), [("SAM2AdaptHippocampus", 34), ("SAM2AdaptTraining", 34)])
def test_sample_loads(samples, nodes, name, slices):
    """Those that slicer-core reads; it has no reader for PNG and JPEG, which Slicer has."""
    volumeNode = samples.load(name)[0]
    assert (volumeNode.GetName(), volumeNode.GetImageData().GetDimensions()[2]) == (samples.BUNDLED[name][0], slices)


def test_sample_that_cannot_be_read_is_named(lib, samples, nodes, monkeypatch, tmp_path):
    monkeypatch.setattr(samples, "FOLDER", tmp_path)
    with pytest.raises(lib.Error.EngineError, match=r"hippocampus\.nii\.gz' cannot be loaded"):
        samples.load("SAM2AdaptHippocampus")


def test_training_sample_is_a_case_at_once(lib, samples, nodes):
    volumeNode, segmentationNode = samples.load("SAM2AdaptTraining")
    assert lib.Volumes.volumeOf(segmentationNode) is volumeNode
    assert nodes.segmentNames(segmentationNode) == ["right lung", "left lung", "vertebral column"]
    (case,) = lib.Cases.fromScene()
    assert len(case.annotatedSlices) == 7


def test_every_sample_is_registered_with_an_address(samples, monkeypatch):
    """Slicer counts the addresses of a sample even if a function of its own loads it."""
    import slicer

    registered = []
    logic = SimpleNamespace(registerCustomSampleDataSource=lambda **values: registered.append(values))
    monkeypatch.setitem(sys.modules, "SampleData", SimpleNamespace(SampleDataLogic=logic))
    monkeypatch.setattr(slicer.modules, "sampledata", object(), raising=False)
    monkeypatch.setattr(slicer.util, "modulePath", lambda name: "", raising=False)
    samples.register()
    assert [values["sampleName"] for values in registered] == ["SAM2AdaptChest", *samples.BUNDLED]
    assert all(values["uris"].startswith(("https://", "file:///")) and values["fileNames"] for values in registered)
