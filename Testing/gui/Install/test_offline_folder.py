"""A folder of packages, models and weights for computers without internet."""

import os
import re
import subprocess
import sys
from pathlib import Path

import fake_packages
import pytest
from installer_testing import Run, complete, python
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from sam2adapt.shared.files import hash_file
from SAM2AdaptLib.Engine.Error import EngineError
from SAM2AdaptLib.Engine.Requirements import requirements
from SAM2AdaptLib.Install import Check, OfflineFolder
from SAM2AdaptLib.Install.PythonEnvironment import BUILD_TOOLS, SAM2, TORCH

__all__ = ["python"]


def test_a_folder_that_lacks_a_package_is_named(slicerHost, python, tmp_path):
    complete(python, "hydra-core", "omegaconf")
    folder = fake_packages.fillFolder(tmp_path / "incomplete", without=("omegaconf",))
    run = Run(slicerHost, wheelFolder=folder, python=python)
    assert run.job.state == "failed" and "omegaconf" in run.error.message and str(folder) in run.error.message


@pytest.mark.parametrize("name", ["does not exist", "environment"])
def test_a_folder_without_packages_is_refused(slicerHost, python, tmp_path, name):
    run = Run(slicerHost, wheelFolder=tmp_path / name, python=python)
    assert run.job.state == "failed" and name in run.error.message and run.log == []


def test_diagnosis_and_weights_with_the_real_engine(slicerHost, tmp_path, monkeypatch):
    monkeypatch.setenv("SAM2ADAPT_HOME", str(tmp_path / "home"))
    folder = tmp_path / "folder"
    folder.mkdir()
    fake_packages.writeWheel(folder, "tqdm", "4.67.1")
    fake_packages.writeSums(folder)
    models = Path(Check.__file__).parents[2] / "Resources" / "Models"
    for name in ("torso-ct", "nano"):
        (folder / f"{name}.safetensors").symlink_to(models / f"{name}.safetensors")
    run = Run(slicerHost, wheelFolder=folder)
    assert run.job.state == "done", f"{run.error}\n{run.text}"
    assert [step["step"] for step in run.progress] == ["weights", "check"]
    assert [path.name.startswith("torso-ct") for path in (tmp_path / "home" / "models").iterdir()] == [True]
    assert run.job.diagnosis.torch and run.job.diagnosis.device.startswith(("CPU: ", "GPU: "))
    (folder / "sam2.1_hiera_tiny.pt").write_bytes(b"not the weights")
    failed = Run(slicerHost, wheelFolder=folder)
    assert failed.job.state == "failed" and "sam2.1_hiera_tiny.pt" in failed.error.message
    assert "156008466" in failed.error.message


def test_shopping_list_names_the_locks_and_the_published_weights(python):
    from sam2adapt.shared.known_bases import BASES

    text = OfflineFolder.shoppingList(python)
    assert str(OfflineFolder.LOCKS) in text and "torch>=2.5.1" in text
    for lock in (OfflineFolder.PACKAGES_LOCK, OfflineFolder.PYTORCH_LOCK):
        assert f"--require-hashes -r {OfflineFolder.LOCKS.name}/{lock}" in text
    for info in BASES.values():
        assert f"{info.url}  ({round(info.bytes / 1e6)} MB)" in text


def test_shopping_list_fetches_nothing_that_is_there(python):
    complete(python)
    text = OfflineFolder.shoppingList(python)
    assert "pip wheel" not in text and "SHA256SUMS" in text


@pytest.mark.parametrize("version", ["3.11", "3.12", "3.13"])
@pytest.mark.parametrize(("system", "machine"), [("linux", "x86_64"), ("win32", "AMD64"), ("darwin", "arm64")])
def test_locks_hold_one_version_of_all_that_is_needed(version, system, machine):
    environment = {"python_version": version, "python_full_version": f"{version}.0", "sys_platform": system}
    environment |= {"platform_machine": machine, "implementation_name": "cpython"}
    versions = {}
    for name in (OfflineFolder.PACKAGES_LOCK, OfflineFolder.PYTORCH_LOCK):
        for line in (OfflineFolder.LOCKS / name).read_text("utf-8").splitlines():
            if re.match(r"[a-z0-9]", line):
                pin = Requirement(line.rstrip(" \\"))
                if pin.marker is None or pin.marker.evaluate(environment):
                    versions.setdefault(pin.name, set()).add(str(pin.specifier).removeprefix("=="))
    assert {name: found for name, found in versions.items() if len(found) > 1} == {}
    for text in (*TORCH, *BUILD_TOOLS, *requirements(), *SAM2):
        [found] = versions[canonicalize_name(Requirement(text).name)]
        assert Requirement(text).specifier.contains(found), f"{text}: run Testing/requirements/lock.sh"
    locked = OfflineFolder.lockedHashes()
    assert all(locked[name, found] for name, [found] in versions.items())


def test_pip_refuses_a_package_with_another_hash_than_the_lock_says(tmp_path):
    """As the commands of the shopping list ask it to."""
    index = tmp_path / "index" / "tqdm"
    index.mkdir(parents=True)
    [version] = [version for name, version in OfflineFolder.lockedHashes() if name == "tqdm"]
    wheel = fake_packages.writeWheel(index, "tqdm", version)
    (index / "index.html").write_text(f'<a href="{wheel.name}">{wheel.name}</a>', "utf-8")
    text = (OfflineFolder.LOCKS / OfflineFolder.PACKAGES_LOCK).read_text("utf-8")
    [lines] = re.findall(r"^tqdm==.*?(?=^[a-z])", text, re.MULTILINE | re.DOTALL)
    (tmp_path / "lock.txt").write_text(lines, "utf-8")
    options = ["--no-deps", "--require-hashes", "-r", tmp_path / "lock.txt", "--index-url", index.parent.as_uri()]
    command = [sys.executable, "-m", "pip", "wheel", *options, "-w", tmp_path / "made"]
    quiet = {**os.environ, "PIP_CONFIG_FILE": os.devnull, "PIP_FIND_LINKS": ""}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=quiet)
    assert done.returncode and "DO NOT MATCH THE HASHES" in done.stderr


def refused(folder, words):
    with pytest.raises(EngineError, match=words) as caught:
        OfflineFolder.checkFolder(folder)
    assert "Bring the whole folder again" in caught.value.remedy


def test_packages_that_arrived_changed_are_refused(tmp_path):
    folder = tmp_path / OfflineFolder.FOLDER
    folder.mkdir()
    wheel = fake_packages.writeWheel(folder, "tqdm", "4.67.1")
    refused(folder, "tqdm-4.67.1.*SHA256SUMS says nothing of it")  # without checksums, only what is locked is known
    subprocess.run([sys.executable, "-c", OfflineFolder._WRITE_SUMS], cwd=tmp_path, check=True)
    OfflineFolder.checkFolder(folder)
    wheel.write_bytes(wheel.read_bytes() + b"x")
    refused(folder, r"tqdm-4\.67\.1.*has the SHA-256 .* SHA256SUMS says [0-9a-f]{64}")
    wheel.rename(folder / "other-1-py3-none-any.whl")
    refused(folder, "says nothing of it")


def test_packages_of_a_locked_version_must_have_its_hash(tmp_path, monkeypatch):
    folder = tmp_path / OfflineFolder.FOLDER
    folder.mkdir()
    locked = OfflineFolder.lockedHashes()
    [version] = [version for name, version in locked if name == "tqdm"]
    wheel = fake_packages.writeWheel(folder, "tqdm", version)
    refused(folder, "list of SAM2Adapt says [0-9a-f]{64}")
    subprocess.run([sys.executable, "-c", OfflineFolder._WRITE_SUMS], cwd=tmp_path, check=True)
    refused(folder, "list of SAM2Adapt says [0-9a-f]{64}")  # whoever changed the package could change the sums too
    locked["tqdm", version] = {hash_file(wheel)}
    monkeypatch.setattr(OfflineFolder, "lockedHashes", lambda: locked)
    OfflineFolder.checkFolder(folder)
    (folder / OfflineFolder.SUMS).write_text("")  # it was brought later than the others
    OfflineFolder.checkFolder(folder)
    (folder / OfflineFolder.SUMS).write_text(f"{'0' * 64}  other-1-py3-none-any.whl\n")
    OfflineFolder.checkFolder(folder)
    (folder / OfflineFolder.SUMS).unlink()
    OfflineFolder.checkFolder(folder)
