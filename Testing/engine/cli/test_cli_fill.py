"""``sam2adapt fill``: files in, files out, and the same answer as the engine server's."""

import json
import subprocess
import sys

import numpy as np
import pytest
import SimpleITK
from drawn_phantom import DRAWN, dice, drawn_labels, phantom
from sam2adapt.cli.app import main
from sam2adapt.imaging.terminology import describe
from sam2adapt.imaging.volume import (
    Volume,
    read_labels,
    read_segments,
    read_structures,
    write_labels,
    write_segments,
    write_volume,
)
from sam2adapt.shared.labels.drawn_slices import read_drawn_slices
from serve_client import Client, described


@pytest.fixture
def folder(tmp_path):
    """``image.nii.gz`` and ``drawn.nii.gz``, labels of which three slices are drawn."""
    volume, truth = phantom()
    write_volume(tmp_path / "image.nii.gz", volume)
    write_volume(tmp_path / "drawn.nii.gz", volume.with_array(drawn_labels(truth)))
    return tmp_path


def fill(folder, *more: str, labels: str = "drawn.nii.gz", output: str = "out.seg.nrrd") -> int:
    files = [str(folder / name) for name in ("image.nii.gz", labels, output)]
    return main(["fill", files[0], "--labels", files[1], "-o", files[2], *more])


def refusal(folder, capsys, *more: str, **files: str) -> tuple[str, str]:
    """Message and remedy; nothing is written."""
    assert fill(folder, *more, **files) == 2
    assert not list(folder.glob("out*"))
    return tuple(capsys.readouterr().err.splitlines()[-2:])


def test_in_a_process(folder):
    truth, out = phantom()[1], folder / "out.seg.nrrd"
    command = [
        sys.executable, "-m", "sam2adapt", "fill", folder / "image.nii.gz", "--labels", folder / "drawn.nii.gz",
        "--structures", "liver", "-o", out, "--json", folder / "out.json",
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, encoding="utf-8", check=False)
    assert done.returncode == 0, done.stderr
    result = read_labels(out).array[0]
    assert np.array_equal(result[DRAWN], truth[DRAWN]) and dice(result == 1, truth) > 0.9
    assert [one.name for one in read_structures(out)] == ["liver"]
    report = json.loads((folder / "out.json").read_text(encoding="utf-8"))
    (liver,) = report["structures"]
    assert liver["name"] == "liver" and liver["voxels"] == (result == 1).sum() and liver["expected_dice"] > 0.8
    assert report["axis"] == "K" and report["next_slice"] not in DRAWN and len(report["uncertainty"]) == len(truth)
    first, second = done.stdout.splitlines()
    assert first == f"liver: expected Dice {liver['expected_dice']:.2f}"
    assert second.startswith(f"draw slice {report['next_slice']} along K next; filled in ")


def test_same_answer_as_the_servers(folder):
    volume, _ = phantom()
    assert fill(folder, "--seed", "2", output="out.nrrd") == 0
    np.save(folder / "drawn.npy", drawn_labels(phantom()[1]))
    with Client(OMP_NUM_THREADS="1") as server:
        server.receive()
        server.result(
            "fill", input=described(volume, folder), drawings=str(folder / "drawn.npy"), structures=["liver"],
            masks=str(folder / "masks.npy"), seed=2,
        )  # fmt: skip
    assert np.array_equal(read_labels(folder / "out.nrrd").array[0], np.load(folder / "masks.npy")[0])


def test_segmentation_cropped_by_slicer_and_slices_declared_empty(folder):
    volume, truth = phantom()
    drawn = np.zeros(truth.shape, np.uint8)
    drawn[[2, 4]] = truth[[2, 4]]
    part = Volume(
        drawn[None, 1:8, 4:30, 5:33].copy(), volume.origin + volume.spacing * [5, 4, 1], volume.spacing, np.eye(3)
    )
    write_labels(folder / "drawn.seg.nrrd", part, [describe(1, "liver")])
    assert fill(folder, "--empty", "liver:0, 8", "--axis", "k", labels="drawn.seg.nrrd") == 0
    result = read_labels(folder / "out.seg.nrrd").array[0]
    assert np.array_equal(result[[2, 4]], truth[[2, 4]]) and not result[[0, 8]].any()
    assert result[5].any()  # below the last voxels drawn, above the slice declared empty
    assert dice(result[3] == 1, truth[3]) > 0.9


def test_overlap_is_kept_in_a_segmentation_and_told_elsewhere(folder, capsys):
    volume, truth = phantom()
    whole = np.zeros_like(truth)
    whole[DRAWN] = truth[DRAWN]
    half = whole.copy()
    half[:, :16] = False
    structures = [describe(1, "ball"), describe(2, "half")]
    write_segments(folder / "both.seg.nrrd", np.stack([whole, half]), structures, volume)
    assert fill(folder, labels="both.seg.nrrd") == 0
    (_, ball), (_, lower) = read_segments(folder / "out.seg.nrrd")
    assert np.array_equal(ball[DRAWN], whole[DRAWN]) and np.array_equal(lower[DRAWN], half[DRAWN])
    assert dice(ball, truth) > 0.9 and (ball & lower)[[1, 2, 3]].any()
    assert "overlap" not in capsys.readouterr().err
    assert fill(folder, labels="both.seg.nrrd", output="out.nrrd") == 0
    assert "Write .seg.nrrd to keep all." in capsys.readouterr().err


def test_slices_that_slicer_declared_empty_are_read_from_the_file(folder):
    volume, truth = phantom()
    drawn = np.zeros_like(truth)
    drawn[[2, 4]] = truth[[2, 4]]
    write_segments(folder / "drawn.seg.nrrd", drawn[None], [describe(1, "liver")], volume)
    image = SimpleITK.ReadImage(str(folder / "drawn.seg.nrrd"))
    tags = image.GetMetaData("Segment0_Tags")
    for text, below, above in (("K:7 K:4 J:3 x", True, False), ("J:3", False, False)):
        image.SetMetaData("Segment0_Tags", f"{tags}SAM2Adapt.EmptySlices:{text}|")
        SimpleITK.WriteImage(image, str(folder / "drawn.seg.nrrd"), True)
        assert fill(folder, labels="drawn.seg.nrrd") == 0
        result = read_labels(folder / "out.seg.nrrd").array[0]
        assert np.array_equal(result[[2, 4]], truth[[2, 4]]), "what is drawn counts more than what was said before"
        assert bool(result[5].any()) == below and bool(result[7].any()) == above


def test_only_a_region_is_filled_as_it_would_be_without_one(folder, capsys):
    assert fill(folder, output="whole.nrrd") == 0
    assert fill(folder, "--roi", "0,18,0,32,2,6") == 0
    whole, part = (read_labels(folder / name).array[0] for name in ("whole.nrrd", "out.seg.nrrd"))
    inside = np.zeros(whole.shape, bool)
    inside[2:6, :, :18] = True
    assert np.array_equal(part[inside], whole[inside]) and part[inside].any()
    drawn = np.zeros(whole.shape, bool)
    drawn[DRAWN] = True
    assert np.array_equal(part[drawn], whole[drawn]) and not part[~drawn & ~inside].any()
    (folder / "out.seg.nrrd").unlink()
    message, remedy = refusal(folder, capsys, "--roi", "0,18,0,32,4,5")
    assert "The region holds no slice" in message and "(--roi)" in remedy
    assert "is not inside the volume" in refusal(folder, capsys, "--roi", "0,18,0,32,4,15")[0]


def test_labels_for_training(folder, capsys):
    truth = phantom()[1]
    labels = np.full(truth.shape, 255, np.uint8)
    labels[[2, 4, 6]] = truth[[2, 4, 6]]
    write_volume(folder / "drawn.nii.gz", phantom()[0].with_array(labels))
    assert fill(folder, "--for-training", output="out.nii.gz") == 0
    result = read_labels(folder / "out.nii.gz").array[0]
    assert (result[[0, 1, 7, 8]] == 255).all() and (result[2:7] <= 1).all()
    assert np.array_equal(result[[2, 4, 6]], truth[[2, 4, 6]])
    assert read_drawn_slices(folder / "out.nii.gz") == {"K": [2, 4, 6]}
    for path in folder.glob("out*"):
        path.unlink()
    message, remedy = refusal(folder, capsys, "--for-training")
    assert "'out.seg.nrrd' cannot hold what is not annotated" in message and ".nii.gz" in remedy


def test_labels_of_another_geometry(folder, capsys):
    volume, truth = phantom()
    coarser = Volume(drawn_labels(truth)[None], volume.origin, volume.spacing * [1, 1, 2], np.eye(3))
    write_volume(folder / "coarse.nrrd", coarser)
    message, remedy = refusal(folder, capsys, labels="coarse.nrrd")
    assert "spacing (1 1 3) against (1 1 6)" in message and "coarse.nrrd" in message and "Resample" in remedy


def test_remedies_name_the_flag(folder, capsys):
    message, remedy = refusal(folder, capsys, "--empty", "liver")
    assert "'liver' does not name slices" in message and "(--empty liver:0,12)" in remedy
    assert "(--empty)" in refusal(folder, capsys, "--structures", "liver", "--empty", "liver:4")[1]
    assert "(--structures)" in refusal(folder, capsys, "--structures", "liver,Liver")[1]
    assert "(--axis)" in refusal(folder, capsys, "--axis", "L")[1]
    assert "(--seed)" in refusal(folder, capsys, "--seed", "-1")[1]


def test_outputs_that_cannot_be_written_are_refused_before_anything_is_read(folder, capsys):
    (folder / "image.nii.gz").unlink()
    assert "Use one of .seg.nrrd" in refusal(folder, capsys, output="out.txt")[1]
    for more in ([], ["--json", str(folder / "missing" / "out.json")]):
        output = "out.nrrd" if more else "missing/out.nrrd"
        assert "missing" in refusal(folder, capsys, *more, output=output)[0]


def test_names_that_are_not_utf_8(folder, capsys):
    for name in ("image.nii.gz", "drawn.nii.gz"):
        (folder / f"\udcff{name}").write_bytes((folder / name).read_bytes())
    assert "UTF-8" in refusal(folder, capsys, labels="\udcffdrawn.nii.gz")[0]
    assert "UTF-8" in refusal(folder, capsys, output="\udcffout.nrrd")[0]
    (folder / "image.nii.gz").unlink()
    (folder / "\udcffimage.nii.gz").rename(folder / "\udcff.nii.gz")
    files = [str(folder / name) for name in ("\udcff.nii.gz", "drawn.nii.gz", "out.nrrd")]
    assert main(["fill", files[0], "--labels", files[1], "-o", files[2]]) == 2
    assert "UTF-8" in capsys.readouterr().err
