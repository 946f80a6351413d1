"""A folder of packages, models and weights for computers without internet."""

import subprocess
import sys
from pathlib import Path

import fake_packages
import pytest
from installer_testing import Run, complete, python
from SAM2AdaptLib.Engine.Error import EngineError
from SAM2AdaptLib.Engine.Requirements import requirements
from SAM2AdaptLib.Install import Check, OfflineFolder

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


def test_shopping_list_names_what_is_missing_and_the_published_weights(python):
    from sam2adapt.shared.known_bases import BASES

    text = OfflineFolder.shoppingList(python)
    for requirement in ("torch>=2.5.1", "sam2==1.1.0", *requirements()):
        assert (requirement in text) == (not requirement.startswith(tuple(fake_packages.SLICERS))), requirement
    for info in BASES.values():
        assert f"{info.url}  ({round(info.bytes / 1e6)} MB)" in text


def test_packages_that_arrived_changed_are_refused(tmp_path):
    folder = tmp_path / OfflineFolder.FOLDER
    folder.mkdir()
    fake_packages.writeWheel(folder, "tqdm", "4.67.1")
    OfflineFolder.checkFolder(folder)  # without checksums nothing is known
    subprocess.run([sys.executable, "-c", OfflineFolder._WRITE_SUMS], cwd=tmp_path, check=True)
    OfflineFolder.checkFolder(folder)
    (wheel,) = folder.glob("*.whl")
    wheel.write_bytes(wheel.read_bytes() + b"x")
    with pytest.raises(EngineError, match=r"tqdm-4\.67\.1.*has the SHA-256 .* says [0-9a-f]{64}"):
        OfflineFolder.checkFolder(folder)
    wheel.rename(folder / "other-1-py3-none-any.whl")
    with pytest.raises(EngineError, match="nothing of it"):
        OfflineFolder.checkFolder(folder)
