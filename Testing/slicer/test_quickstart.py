"""The parts of quickstart.py and run_tests.sh that count, and what happens when the engine refuses."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("slicerio")
pytest.importorskip("SimpleITK")

TESTING = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(TESTING))

import count_tests  # noqa: E402  found through the line above
import sample  # noqa: E402


@pytest.fixture(scope="module")
def truth():
    """Lungs and spine of the sample CT."""
    return sample.merged(sample.reference())


def test_sample_has_the_structures_that_are_annotated(truth):
    reference = sample.reference()
    assert [structure.name for structure in truth.structures] == list(sample.ANNOTATED)
    for name, parts in sample.ANNOTATED.items():
        assert truth.mask(name).sum() == sum(reference.mask(part).sum() for part in parts) > 1000


def test_every_slice_is_either_shown_or_hidden(truth):
    shown, hidden = sample.shownSlices(truth, every=4)
    assert sorted([*shown, *hidden]) == list(range(truth.array.shape[0]))
    assert np.all(np.diff(shown) == 4)


def test_training_files_hold_the_shown_slices_only(truth, tmp_path):
    shown, hidden = sample.shownSlices(truth, every=4)
    annotation = sample.sparse(truth, shown, sample.NOT_ANNOTATED)
    images, labels = sample.writeTrainingFolders(tmp_path, annotation)
    assert [p.name for p in images.iterdir()] == [p.name for p in labels.iterdir()]
    written = sample.read_labels(next(labels.iterdir()))
    assert np.array_equal(written.array[0][shown], truth.array[shown])
    assert np.all(written.array[0][hidden] == sample.NOT_ANNOTATED)
    assert sample.same_geometry(written, sample.read_volume(next(images.iterdir())))


def test_dice_of_chosen_slices(truth):
    shown, hidden = sample.shownSlices(truth, every=4)
    annotation = sample.sparse(truth, shown, rest=0)
    assert annotation.dice(truth, "right lung", shown) == 1
    assert annotation.dice(truth, "right lung", hidden) == 0
    inside, whole = annotation.mask("right lung").sum(), truth.mask("right lung").sum()
    assert annotation.dice(truth, "right lung") == pytest.approx(2 * inside / (inside + whole))
    assert np.isnan(annotation.dice(annotation, "right lung", hidden))


def test_dice_refuses_another_grid(truth):
    moved = replace(truth.labels, origin=truth.labels.origin + 10)
    with pytest.raises(ValueError, match="grid"):
        truth.dice(sample.Segments(moved, truth.structures), "left lung")


def test_refusal_of_the_engine_ends_the_quick_start(tmp_path):
    pytest.importorskip("slicer", reason="needs the PyPI package slicer-core")
    child = subprocess.run(
        [sys.executable, "-c", "import quickstart; quickstart.run('info', 'no-such-model')"],
        cwd=TESTING, env={"PATH": "", "PYTHONPATH": str(TESTING.parent / "SAM2Adapt"), "HOME": str(tmp_path)},
        capture_output=True, encoding="utf-8", check=False,
    )  # fmt: skip
    assert child.returncode == 2
    assert "no-such-model" in child.stderr


def report(folder, name, status, **counts):
    """One pytest process's report; without counts the process died before it wrote one."""
    (folder / f"{name}.status").write_text(str(status))
    if counts:
        attributes = " ".join(f'{key}="{value}"' for key, value in counts.items())
        (folder / f"{name}.xml").write_text(f"<testsuites><testsuite {attributes}/></testsuites>")


def test_reports_are_added_up(tmp_path):
    report(tmp_path, "engine", 1, tests=10, failures=1, errors=1, skipped=2)
    report(tmp_path, "slicer", 0, tests=5, failures=0, errors=0, skipped=0)
    assert count_tests.count(tmp_path) == (11, 2, 2)


def test_process_that_died_is_a_failure(tmp_path):
    report(tmp_path, "engine", 0, tests=3, failures=0, errors=0, skipped=0)
    report(tmp_path, "slicer", 139)
    assert count_tests.count(tmp_path) == (3, 1, 0)


def test_crash_after_the_tests_is_a_failure(tmp_path):
    report(tmp_path, "slicer", 139, tests=3, failures=0, errors=0, skipped=0)
    assert count_tests.count(tmp_path) == (3, 1, 0)


def test_folder_without_tests_is_none(tmp_path):
    report(tmp_path, "gui", 5, tests=0, failures=0, errors=0, skipped=0)
    assert count_tests.count(tmp_path) == (0, 0, 0)
