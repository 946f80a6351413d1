"""Pages and DICOM segmentations of the scene, with the real engine in its own process."""

import stat

import numpy as np
import pytest
from dicom_samples import write_series
from example_nodes import LIVER, SPLEEN, twoLabels
from sam2adapt.imaging.volume import read_segments, read_volume

SHAPE = (9, 16, 17)
PATIENT = "Mustermann^Erika"


@pytest.fixture
def result(lib, nodes):
    volumeNode = nodes.addVolume(np.random.default_rng(0).integers(0, 900, SHAPE).astype(np.int16))
    volumeNode.SetName(PATIENT)
    node = lib.LabelImport.importLabels(volumeNode, twoLabels(SHAPE), [LIVER, SPLEEN])
    lib.Results.mark(node, "torso-ct", {"liver", "spleen"}, True)
    return volumeNode, node


def run(lib, servedEngine, start, *arguments):
    errors = []
    job = start(servedEngine, *arguments, onError=lambda job, error: errors.append(error))
    servedEngine.run(until=lambda: job.isOver)
    assert not errors, f"{errors[0]} {errors[0].details}"
    return job


def test_page_has_pictures_and_volumes_and_a_name_only_if_asked(lib, nodes, servedEngine, result, tmp_path):
    volumeNode, node = result
    before = nodes.scene.GetNumberOfNodes()
    job = run(lib, servedEngine, lib.PageJob.startPage, volumeNode, node, tmp_path / "p.html")
    content = (tmp_path / "p.html").read_text("utf-8")
    assert (job.path, stat.S_IMODE((tmp_path / "p.html").stat().st_mode)) == (str(tmp_path / "p.html"), 0o600)
    millilitres = lib.LabelMaps.segmentVolumes(node).values()
    assert all(f">{value:.2f} mL<" in content for value in millilitres)
    assert "torso-ct" in content and "Mustermann" not in content
    run(lib, servedEngine, lib.PageJob.startPage, volumeNode, node, tmp_path / "named.html", True)
    assert f"Segmentation of {PATIENT}" in (tmp_path / "named.html").read_text("utf-8")
    assert nodes.scene.GetNumberOfNodes() == before


def test_overlapping_segments_keep_their_volumes_on_the_page(lib, nodes, servedEngine, result, tmp_path):
    volumeNode, node = result
    segment = nodes.slicer.vtkSegment()
    segment.DeepCopy(node.GetSegmentation().GetSegment(nodes.segmentIds(node)[0]))
    segment.SetName("whole")
    node.GetSegmentation().AddSegment(segment)
    run(lib, servedEngine, lib.PageJob.startPage, volumeNode, node, tmp_path / "p.html")
    liver = lib.LabelMaps.segmentVolumes(node)[nodes.segmentIds(node)[0]]
    assert (tmp_path / "p.html").read_text("utf-8").count(f">{liver:.2f} mL<") == 2


def test_segments_on_their_way_out_share_layers_where_they_can(lib):
    first, second, third = (np.zeros((2, 3), np.uint8) for _ in range(3))
    first[0], second[1], third[:, 0] = 1, 2, 3
    merged = lib.PageJob._merged([first, second, third])
    np.testing.assert_array_equal(merged, [[[1, 1, 1], [2, 2, 2]], [[3, 0, 0], [3, 0, 0]]])


class Database:
    """Slicer's DICOM database, as far as exports ask it."""

    def __init__(self, files):
        self._files = files

    def fileForInstance(self, uid):
        return self._files.get(uid, "")

    def instanceValue(self, uid, tag):
        return {"0008,0060": "CT"}[tag]


@pytest.fixture
def series(lib, nodes, tmp_path, monkeypatch):
    """A volume of a DICOM series that Slicer's database knows, and a segmentation of it."""
    pydicom = pytest.importorskip("pydicom")
    write_series(tmp_path / "series")
    volume = read_volume(tmp_path / "series")
    rasToLps = np.diag([-1.0, -1.0, 1.0, 1.0])
    volumeNode = nodes.slicer.util.addVolumeFromArray(volume.array[0], ijkToRAS=rasToLps @ volume.affine, name="CT")
    uids = {str(pydicom.dcmread(path).SOPInstanceUID): str(path) for path in volume.series.files}
    volumeNode.SetAttribute("DICOM.instanceUIDs", " ".join(uids))
    monkeypatch.setattr(nodes.slicer, "dicomDatabase", Database(uids), raising=False)
    labels = np.zeros(volume.array.shape[1:], np.uint8)
    labels[1, 4:9, 5:11], labels[2, 8:12, 5:11] = 1, 5
    return volumeNode, lib.LabelImport.importLabels(volumeNode, labels, [LIVER, SPLEEN]), labels, volume


@pytest.mark.parametrize(
    ("model", "kind"), [("torso-ct", "AUTOMATIC"), ("", "MANUAL")], ids=["of a model", "drawn by hand"]
)
def test_dicom_segmentation_holds_the_segments(lib, servedEngine, series, tmp_path, model, kind):
    import pydicom

    volumeNode, node, labels, volume = series
    if model:
        lib.Results.mark(node, model, {"liver", "spleen"}, True)
    run(lib, servedEngine, lib.PageJob.startDicomSeg, volumeNode, node, tmp_path / "x.dcm")
    found = {structure.name: mask for structure, mask in read_segments(tmp_path / "x.dcm", volume)}
    np.testing.assert_array_equal(found["liver"], labels == 1)
    np.testing.assert_array_equal(found["spleen"], labels == 5)
    dataset = pydicom.dcmread(tmp_path / "x.dcm")
    assert {item.SegmentAlgorithmType for item in dataset.SegmentSequence} == {kind}
    assert {item.get("SegmentAlgorithmName", "") for item in dataset.SegmentSequence} == {model}


def test_without_a_series_a_sentence_says_why(lib, nodes, servedEngine, result, series, tmp_path, monkeypatch):
    with pytest.raises(lib.Error.EngineError, match="was not loaded from DICOM") as caught:
        lib.PageJob.startDicomSeg(servedEngine, *result, tmp_path / "x.dcm")
    assert "NIfTI" in caught.value.remedy
    volumeNode, node = series[:2]
    monkeypatch.setattr(nodes.slicer, "dicomDatabase", Database({}))
    with pytest.raises(lib.Error.EngineError, match="DICOM files of 'CT' are not in Slicer's DICOM database"):
        lib.PageJob.startDicomSeg(servedEngine, volumeNode, node, tmp_path / "x.dcm")
    assert not (tmp_path / "x.dcm").exists()
