"""The installer: real pip in real environments, with small packages under real names."""

import shutil
import subprocess
import types
from pathlib import Path

import fake_packages
import pytest
import qt
from installer_testing import Run, complete, folder, python, versions
from SAM2AdaptLib.Engine.Error import EngineError
from SAM2AdaptLib.Install import Check, Installer, Packages
from SAM2AdaptLib.Install.PythonEnvironment import PythonEnvironment

__all__ = ["folder", "python"]


def test_installs_from_a_folder_and_leaves_slicers_packages_alone(slicerHost, python, folder):
    assert [step.id for step in Installer.plan(folder, python)] == ["torch", "packages", "sam2"]
    assert "monai, " in Check.findProblem(python).message
    run = Run(slicerHost, wheelFolder=folder, python=python)
    assert run.error is None, f"{run.error}\n{run.text}"
    assert run.job.state == "done" and run.job.diagnosis.torch == "2.9.1"
    assert Check.findProblem(python) is None and Installer.plan(folder, python) == []
    assert versions(python) == fake_packages.SLICERS | {"torch": "2.9.1", "monai": "1.5.1", "sam2": "1.1.0"}
    fractions = [progress["fraction"] for progress in run.progress]
    assert fractions == sorted(fractions) and fractions[0] == 0 and fractions[-1] < 1
    again = Run(slicerHost, wheelFolder=folder, python=python)
    assert again.job.state == "done" and again.log == []


def test_engine_of_a_former_version_is_outdated_and_one_installation_mends_it(slicerHost, python, folder):
    """Its list had no filelock; pydicom and highdicom came with Slicer and stay as they are."""
    complete(python, "filelock")
    assert "missing: filelock." in Check.findProblem(python).message
    run = Run(slicerHost, wheelFolder=folder, python=python)
    assert run.job.state == "done", f"{run.error}\n{run.text}"
    assert Check.findProblem(python) is None
    assert versions(python) == fake_packages.SLICERS | {"torch": "2.9.1", "monai": "1.5.1", "sam2": "1.1.0"}


def test_engine_of_a_former_version_in_a_python_without_dicom_is_mended(slicerHost, python, folder):
    """As in an environment of the user's own: there the DICOM packages are installed too."""
    site = complete(python, "filelock")
    for name in ("pydicom", "highdicom"):
        shutil.rmtree(site / name)
        shutil.rmtree(site / f"{name}-{fake_packages.SLICERS[name]}.dist-info")
    assert "missing: filelock, highdicom, pydicom." in Check.findProblem(python).message
    run = Run(slicerHost, wheelFolder=folder, python=python)
    assert run.job.state == "done", f"{run.error}\n{run.text}"
    environment = PythonEnvironment(python)
    assert [environment.version(name) for name in ("pydicom", "highdicom", "pyjpegls")] == ["9.9.9", "9.9.9", "1.5.0"]


def test_a_package_that_changes_after_it_was_looked_up_is_not_built(slicerHost, python, folder, monkeypatch):
    complete(python, "sam2")
    fetch = Packages.PackageInstaller._fetch

    def changed(self, local, pins):
        with next(folder.glob("sam2-*")).open("ab") as file:
            file.write(b"more")
        fetch(self, local, pins)

    monkeypatch.setattr(Packages.PackageInstaller, "_fetch", changed)
    run = Run(slicerHost, wheelFolder=folder, python=python)
    assert run.job.state == "failed" and "DO NOT MATCH THE HASHES" in run.text
    assert not PythonEnvironment(python).version("sam2")


def test_a_package_is_built_from_the_file_that_is_in_the_folder_now(slicerHost, python, folder, tmp_path, monkeypatch):
    """pip 23.0 keeps what it built by the path of the file, and of another file there it tells the former hash."""
    monkeypatch.setenv("PIP_CACHE_DIR", str(tmp_path / "cache"))
    site = complete(python, "sam2")
    assert Run(slicerHost, wheelFolder=folder, python=python).job.state == "done"
    for path in site.glob("sam2*"):
        shutil.rmtree(path)
    monkeypatch.setattr(fake_packages, "SAM2_SETUP", f"{fake_packages.SAM2_SETUP}# mended\n")
    fake_packages.writeSam2(folder)
    fake_packages.writeSums(folder)
    run = Run(slicerHost, wheelFolder=folder, python=python)
    assert run.job.state == "done", f"{run.error}\n{run.text}"
    assert PythonEnvironment(python).version("sam2") == "1.1.0"


def test_a_hash_is_compared_in_whichever_form_pip_tells_it():
    for archive, line in (
        ({"hashes": {"sha256": "ab"}, "hash": "sha256=ab"}, "sam2==1.1.0 --hash=sha256:ab"),
        ({"hash": "sha256=ab"}, "sam2==1.1.0 --hash=sha256:ab"),  # pip 23.0 of a file that lies in a folder
        ({"hash": "md5=ab"}, "sam2==1.1.0"),
        ({}, "sam2==1.1.0"),
    ):
        package = {"metadata": {"name": "sam2", "version": "1.1.0"}, "download_info": {"archive_info": archive}}
        assert Packages._pin(package) == line


@pytest.mark.parametrize("name", ["numpy", "pydicom", "highdicom"])
def test_packages_that_do_not_go_together_with_slicer_change_nothing(slicerHost, python, folder, name):
    complete(python, "monai")
    fake_packages.writeWheel(folder, "monai", "1.5.2", [f"{name}>=9", "torch"])
    (folder / "monai-1.5.1-py3-none-any.whl").unlink()
    run = Run(slicerHost, wheelFolder=folder, python=python)
    assert run.job.state == "failed" and run.error.kind == "InstallError"
    assert f"monai 1.5.2 depends on {name}>=9" in run.error.message
    assert versions(python)[name] == fake_packages.SLICERS[name] and not versions(python)["monai"]


def test_a_package_that_wants_another_simpleitk_is_refused(slicerHost, python, folder):
    complete(python, "monai")
    fake_packages.writeWheel(folder, "monai", "1.5.2", ["SimpleITK>=2.3", "torch"])
    (folder / "monai-1.5.1-py3-none-any.whl").unlink()
    run = Run(slicerHost, wheelFolder=folder, python=python)
    assert run.job.state == "failed" and "SimpleITK" in run.error.details
    assert not PythonEnvironment(python).version("SimpleITK")


def test_slicers_own_pip_installs_what_was_downloaded(slicerHost, python, folder, monkeypatch):
    complete(python, "monai")
    calls = []

    def pip_install(arguments, blocking, show_progress, logCallback, completedCallback):
        calls.append((blocking, show_progress))
        done = subprocess.run(
            [python, "-m", "pip", "install", *arguments], capture_output=True, encoding="utf-8", check=False
        )
        logCallback(done.stdout + done.stderr)
        qt.QTimer.singleShot(0, lambda: completedCallback(done.returncode))

    packaging = types.SimpleNamespace(pip_install=pip_install, isPipInstallInProgress=lambda: False)
    for module in (Packages, Installer):
        monkeypatch.setattr(module, "slicerPackaging", lambda environment: packaging)
    monkeypatch.setattr(slicerHost.application, "testingEnabled", lambda: False)
    run = Run(slicerHost, wheelFolder=folder, python=python)
    assert run.job.state == "done", f"{run.error}\n{run.text}"
    assert calls == [(False, False)]
    packaging.isPipInstallInProgress = lambda: True
    assert "Another extension" in Run(slicerHost, wheelFolder=folder, python=python).error.message


def test_only_one_installation_runs(slicerHost, python, folder):
    job = Installer.install(wheelFolder=folder, python=python)
    with pytest.raises(EngineError, match="already"):
        Installer.install(wheelFolder=folder, python=python)
    job.cancel()
    assert slicerHost.processEvents(20, until=lambda: job.state == "cancelled")


def test_slicers_package_that_is_too_old_is_not_replaced(slicerHost, python, folder):
    site = Path(PythonEnvironment(python).sitePackages)
    (site / "numpy-2.1.0.dist-info").rename(site / "numpy-1.24.0.dist-info")
    metadata = site / "numpy-1.24.0.dist-info" / "METADATA"
    metadata.write_text(metadata.read_text("utf-8").replace("2.1.0", "1.24.0"))
    run = Run(slicerHost, wheelFolder=folder, python=python)
    assert run.job.state == "failed" and "numpy 1.24.0" in run.error.message and run.log == []
