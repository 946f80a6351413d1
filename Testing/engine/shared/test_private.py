"""What holds voxels of patients: closed to others, gone when it is done with, also after a kill."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from sam2adapt.shared import files
from sam2adapt.shared.safety import private

POSIX = pytest.mark.skipif(os.name == "nt", reason="modes of POSIX")
CODE = """
import sys, time
from pathlib import Path
from sam2adapt.shared.safety import private
folder = Path(sys.argv[1])
private.private_folder(folder)
claim = private.Claim(folder)
with private.temporary_folder() as temporary:
    with private.open_private(temporary / "voxels") as file:
        file.write(b"voxels")
    print(temporary, flush=True)
    time.sleep(600)
"""


@pytest.fixture(autouse=True)
def own_home(tmp_path, monkeypatch):
    monkeypatch.setenv("SAM2ADAPT_HOME", str(tmp_path / "home"))


def mode(path: Path) -> int:
    return path.stat().st_mode & 0o777


def test_what_a_dead_process_left_goes_and_what_a_live_one_holds_stays(tmp_path):
    def start(name: str):
        folder = tmp_path / f"{name}.run" / "prepared"
        process = subprocess.Popen([sys.executable, "-c", CODE, folder], stdout=subprocess.PIPE, encoding="utf-8")
        return process, folder, Path(process.stdout.readline().strip())

    (dead, *left), (alive, *held) = start("dead"), start("alive")
    dead.kill()
    dead.wait()
    assert all(path.is_dir() for path in left)
    assert sorted(private.sweep()) == sorted(left) and not any(path.exists() for path in left)
    assert all(path.is_dir() for path in held) and private.sweep() == []
    alive.kill()
    alive.wait()
    assert sorted(private.sweep()) == sorted(held)
    assert os.listdir(tmp_path / "home" / "claims") == []


@POSIX
def test_modes(tmp_path):
    with private.temporary_folder() as folder, private.open_private(folder / "file"):
        assert (mode(folder), mode(folder / "file")) == (0o700, 0o600)
    assert not folder.exists()
    open_to_all = tmp_path / "old"
    open_to_all.mkdir(0o755)
    (open_to_all / "file").touch(0o644)
    private.private_folder(open_to_all)
    private.open_private(open_to_all / "file").close()
    assert (mode(open_to_all), mode(open_to_all / "file")) == (0o700, 0o600)
    with files.atomic_write(tmp_path / "whole", private.FILE_MODE) as file:
        file.write(b"x")
    assert mode(tmp_path / "whole") == 0o600


def test_a_note_cannot_make_us_delete_another_folder(tmp_path):
    precious = tmp_path / "precious"
    precious.mkdir()
    claim = private.Claim(precious)
    claim._lock.release()  # as if its process had died
    assert private.sweep() == [] and precious.is_dir()


def test_a_lock_that_another_only_looks_at_is_taken_a_moment_later(tmp_path, monkeypatch):
    look, waits = private.Lock(tmp_path / "lock"), []

    def wait(seconds):
        waits.append(seconds)
        if len(waits) == 3:
            look.release()

    monkeypatch.setattr(private.time, "sleep", wait)
    lock = private.lock_soon(tmp_path / "lock")
    assert lock.held and len(waits) == 3
    assert not private.lock_soon(tmp_path / "lock").held  # one that works keeps it
    lock.release()


@pytest.mark.parametrize("folder", ["claims", "home"])
def test_a_home_that_cannot_be_written_does_not_prevent_the_work(folder, tmp_path):
    place = tmp_path / "home" if folder == "home" else tmp_path / "home" / "claims"
    place.parent.mkdir(exist_ok=True)
    place.touch()  # a file where a folder should be
    with private.temporary_folder() as temporary:
        assert temporary.is_dir()
    assert not temporary.exists() and private.sweep() == []


def test_half_written_slices_go_unless_somebody_is_writing(tmp_path):
    folder = private.private_folder(files.replay_folder())
    part = folder / ".digest.npz.1-2.part"
    part.touch()
    lock = private.Lock(folder / ".lock")
    private.sweep()
    assert part.exists() and not private.Lock(folder / ".lock").held
    lock.release()
    private.sweep()
    assert not part.exists()


def test_a_new_file_never_replaces_another(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"first")
    with pytest.raises(FileExistsError), files.atomic_write(path, replace=False) as file:
        file.write(b"second")
    assert path.read_bytes() == b"first" and os.listdir(tmp_path) == ["file"]
