"""Batches of several processes, and those that are killed: nothing is done twice, nothing is lost but the current."""

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
from batch_testing import (
    PATIENCE,
    bad_inputs,
    check_table,
    command,
    dicom,
    leftovers,
    manifest,
    recorded,
    records,
    run,
    studies,
    times,
    torchrun,
    wait_for,
    without_times,
)
from sam2adapt.batch import segment_folder
from sam2adapt.batch.manifest import Records, begin_run, hidden_folder
from sam2adapt.imaging.volume import read_labels

TEXT = {"encoding": "utf-8", "errors": "replace"}  # gloo's messages end in bytes that are no text

pytest_plugins = ["batch_testing"]
pytestmark = pytest.mark.usefixtures("own_home")


@pytest.mark.parametrize("name", ["SIGKILL", "SIGTERM"])
@pytest.mark.skipif(os.name == "nt", reason="Windows has one way to end a process")
def test_killed_in_the_middle_and_continued(name, model, tmp_path):
    source, output, whole = studies(tmp_path / "in", 8, (40, 64, 64)), tmp_path / "out", tmp_path / "whole"
    process = subprocess.Popen([sys.executable, "-m", *command(source, output, model)], stderr=subprocess.PIPE)
    wait_for(lambda: records(output) >= 2)
    process.send_signal(getattr(signal, name))
    error = process.communicate(timeout=PATIENCE)[1].decode()
    before, done = recorded(output), records(output)
    assert 2 <= done < 8
    if name == "SIGKILL":
        assert not (output / "manifest.json").exists()
        assert list(output.rglob("*.lock"))
        half = output / ".01234567s07.seg.nrrd"  # as the writer names what is not whole yet
        half.write_bytes(b"NRRD0004")
    else:
        assert process.returncode == 2
        assert "The batch was stopped." in error
        assert manifest(output)["counts"] == {"done": done, "failed": 0, "open": 8 - done}
        assert not list(output.rglob("*.lock"))
    summary = run(source, output, model)
    assert summary.now == 8 - done
    assert before.items() <= recorded(output).items()
    assert len(times(output)) == 8
    run(source, whole, model)
    assert without_times(output) == without_times(whole)
    assert not [path for path in leftovers(output) if hidden_folder(output) not in path.parents]
    assert not list(output.rglob("*.lock"))


def test_study_in_which_a_process_died_comes_last(model, tmp_path):
    source, output, order = studies(tmp_path / "in", 3), tmp_path / "out", []
    first = segment_folder.find_studies([source], output)[0]
    dead = Records(output, {}, begin_run(output, False), ".seg.nrrd")
    assert dead.claim(first)
    for lock in dead._held.values():
        lock.release()  # as the system does when a process dies; the file stays
    run(source, output, model, finished=lambda record: order.append(record["output"]))
    assert order == ["s01.seg.nrrd", "s02.seg.nrrd", "s00.seg.nrrd"]


def test_claim_of_a_study_that_is_done_is_taken_away(model, tmp_path):
    """Its process died between the record and the end of the claim."""
    source, output = studies(tmp_path / "in", 2), tmp_path / "out"
    run(source, output, model)
    for record in hidden_folder(output).glob("*.json"):
        record.with_suffix(".lock").touch()
    assert run(source, output, model).now == 0
    assert not list(output.rglob("*.lock"))


HOLDER = """
import sys, time
from pathlib import Path
from sam2adapt.batch.studies import find_studies
from sam2adapt.batch.manifest import Records, begin_run
output = Path(sys.argv[2])
records = Records(output, {}, begin_run(output, False), ".seg.nrrd")
assert records.claim(find_studies([Path(sys.argv[1])], output)[1])
print("claimed", flush=True)
time.sleep(1000)
"""


def test_study_of_a_process_that_dies_is_done_by_another(model, tmp_path):
    source, output = studies(tmp_path / "in", 3), tmp_path / "out"
    holder = subprocess.Popen([sys.executable, "-c", HOLDER, source, output], stdout=subprocess.PIPE)
    assert holder.stdout.readline() == b"claimed\n"
    results = []
    worker = threading.Thread(target=lambda: results.append(run(source, output, model)))
    worker.start()
    wait_for(lambda: records(output) == 2)
    assert sorted(Path(path).name[:3] for path in times(output)) == ["s00", "s02"]
    assert worker.is_alive()
    holder.kill()
    worker.join(PATIENCE)
    assert results[0].count("done") == 3
    holder.communicate()


def test_two_processes_make_one_manifest(model, tmp_path):
    source, output, alone = studies(tmp_path / "in", 6), tmp_path / "out", tmp_path / "alone"
    bad_inputs(source / "bad")
    dicom(source / "dicom", "1.2.3.1")
    dicom(source / "dicom", "1.2.3.2", range(1))
    damaged = source / "dicom" / "1.2.3.2-0.dcm"
    damaged.write_bytes(damaged.read_bytes()[:700])
    result = subprocess.run(
        torchrun(command(source, output, model), "--nproc-per-node", "2"), capture_output=True, **TEXT, check=False
    )
    assert result.returncode == 1, result.stderr  # torchrun's own word for a process that ended with 2
    assert result.stdout.count("studies are segmented") == 1
    assert "exitcode  : 2" in result.stderr
    assert "7 of 13 studies are segmented, 6 failed" in result.stdout
    run(source, alone, model)
    assert without_times(output) == without_times(alone)
    check_table(output)
    for path in alone.rglob("*.seg.nrrd"):
        other = output / path.relative_to(alone)
        assert np.array_equal(read_labels(other).array, read_labels(path).array)


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="finds the processes in Linux's /proc")
def test_a_process_that_dies_under_torchrun_loses_its_study_only(model, tmp_path):
    source, output, alone = studies(tmp_path / "in", 12, (40, 64, 64)), tmp_path / "out", tmp_path / "alone"
    agent = subprocess.Popen(
        torchrun(command(source, output, model), "--nproc-per-node", "2", "--max-restarts", "1"),
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, **TEXT,
    )  # fmt: skip
    wait_for(lambda: records(output) >= 2)
    kept = {path: path.stat().st_mtime_ns for path in hidden_folder(output).glob("*.json")}
    children = Path(f"/proc/{agent.pid}/task/{agent.pid}/children").read_text("utf-8").split()
    os.kill(int(children[-1]), signal.SIGKILL)
    out, error = agent.communicate(timeout=PATIENCE)
    assert agent.returncode == 0, error
    assert "12 of 12 studies are segmented, 0 failed" in out
    assert kept.items() <= {path: path.stat().st_mtime_ns for path in hidden_folder(output).glob("*.json")}.items()
    run(source, alone, model)
    assert without_times(output) == without_times(alone)
