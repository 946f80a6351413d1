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


def test_sample_has_the_structures_that_are_drawn(truth):
    reference = sample.reference()
    assert [structure.name for structure in truth.structures] == list(sample.DRAWN)
    for name, parts in sample.DRAWN.items():
        assert truth.mask(name).sum() == sum(reference.mask(part).sum() for part in parts) > 1000


def test_slices_between_drawn_ones_are_the_rest(truth):
    drawn, between = sample.drawnSlices(truth, every=4)
    assert drawn.tolist() == [0, 4, 8, 12, 16, 20, 24, 28, 32]
    assert sorted([*drawn, *between]) == list(range(33)), "the 34th slice lies between no two drawn ones"


def test_files_hold_the_drawn_slices_only(truth, tmp_path):
    drawn, _ = sample.drawnSlices(truth, every=4)
    image, labels = sample.writeDrawings(tmp_path, sample.sparse(truth, drawn, sample.NOT_DRAWN))
    assert image.name == labels.name
    written = sample.read_labels(labels)
    others = np.setdiff1d(np.arange(len(truth.array)), drawn)
    assert np.array_equal(written.array[0][drawn], truth.array[drawn])
    assert np.all(written.array[0][others] == sample.NOT_DRAWN)
    assert sample.same_geometry(written, sample.read_volume(image))


def test_dice_of_chosen_slices(truth):
    drawn, between = sample.drawnSlices(truth, every=4)
    drawings = sample.sparse(truth, drawn, rest=0)
    assert drawings.dice(truth, "right lung", drawn) == 1
    assert drawings.dice(truth, "right lung", between) == 0
    inside, whole = drawings.mask("right lung").sum(), truth.mask("right lung").sum()
    assert drawings.dice(truth, "right lung") == pytest.approx(2 * inside / (inside + whole))
    assert np.isnan(drawings.dice(drawings, "right lung", between))


def test_dice_refuses_another_grid(truth):
    moved = replace(truth.labels, origin=truth.labels.origin + 10)
    with pytest.raises(ValueError, match="grid"):
        truth.dice(sample.Segments(moved, truth.structures), "left lung")


@pytest.fixture
def tools(monkeypatch):
    """Slicer's tools for filling."""
    pytest.importorskip("slicer", reason="needs the PyPI package slicer-core")
    monkeypatch.syspath_prepend(TESTING / "benchmarks")
    import slicer_tools

    return slicer_tools


@pytest.fixture
def tube():
    """A tube that moves by two pixels a slice, brighter than the rest, and its drawings on the slices 1, 4 and 7."""
    truth = np.zeros((9, 40, 40), np.uint8)
    for place in range(9):
        truth[place, 10:22, 4 + 2 * place : 16 + 2 * place] = 1
    drawings = np.full_like(truth, sample.NOT_DRAWN)
    drawings[[1, 4, 7]] = truth[[1, 4, 7]]
    return truth, drawings


@pytest.mark.parametrize("axis", [0, 2])
def test_slicers_tools_fill_between_drawn_slices_only(tools, tube, axis):
    truth, drawings = (np.moveaxis(array, 0, axis).copy() for array in tube)
    made = tools.both_apart(100 * truth, drawings, axis, (1, 1, 1))
    between, grown = (labels for labels, _ in made.values())
    for labels in (grown, between):
        found = np.moveaxis(labels, axis, 0)
        assert np.array_equal(found[[1, 4, 7]], tube[0][[1, 4, 7]])
        assert not found[[0, 8]].any()
    assert np.array_equal(np.moveaxis(grown, axis, 0)[1:8], tube[0][1:8]), "the grey levels say where the tube is"
    overlap = np.logical_and(np.moveaxis(between, axis, 0), tube[0])[1:8].sum()
    assert overlap > 0.9 * tube[0][1:8].sum()


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
