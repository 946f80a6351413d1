"""The installer: real pip in real environments, with small packages under real names; only PyTorchUtils is a fake."""

import functools
import os
import shutil
import subprocess
import sys
import types
from pathlib import Path

import fake_packages
import pytest
import qt
from SAM2AdaptLib.Engine import ProcessTree
from SAM2AdaptLib.Engine.Error import EngineError
from SAM2AdaptLib.Install import Check, Installer, OfflineFolder, Packages, PyTorchExtension, Unfinished
from SAM2AdaptLib.Install.PythonEnvironment import OK, PythonEnvironment, requirements

# Without the engine itself, which needs the real packages.
SMOKE_TEST = """from SAM2AdaptLib.Install import SmokeTest
SmokeTest.PACKAGES = SmokeTest.PACKAGES[:-1]
SmokeTest.main()
"""


@pytest.fixture
def python(tmp_path, monkeypatch):
    """Interpreter of an environment like that of a Slicer; pip in it uses no network and no settings of the user."""
    monkeypatch.setattr(Check, "SMOKE_TEST", ["-c", SMOKE_TEST])
    for variable in [name for name in os.environ if name.startswith("PIP_")]:
        monkeypatch.delenv(variable)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    return fake_packages.makeSlicersEnvironment(tmp_path / "environment")


@pytest.fixture
def folder(tmp_path):
    """A folder of packages; its path has a space, as those of users have."""
    return fake_packages.fillFolder(tmp_path / "from the net")


def complete(python, *without):
    """Put in place all that the engine needs, apart from some packages: each real installation takes its seconds."""
    site = Path(PythonEnvironment(python).sitePackages)
    packages = {name: version for name, (version, _requires) in fake_packages.PACKAGES.items()} | {"sam2": "1.1.0"}
    for name, version in packages.items():
        if name not in (*fake_packages.SLICERS, *without):
            fake_packages.putPackage(site, name, version)
    return site


class Run:
    """One installation, waited for."""

    def __init__(self, slicerHost, seconds=200, cancelAt=None, **options):
        self.log, self.progress, self.error, self.finished = [], [], None, None
        self.job = Installer.install(
            onLog=self.log.append,
            onProgress=self.onProgress,
            onFinished=lambda job: setattr(self, "finished", job),
            onError=lambda job, error: setattr(self, "error", error),
            **options,
        )
        self.cancelAt = cancelAt
        assert self.job.state == "running" and not self.progress
        assert slicerHost.processEvents(seconds, until=lambda: self.finished or self.error), self.log[-5:]

    def onProgress(self, progress):
        self.progress.append(progress)
        if self.cancelAt and self.cancelAt in progress["text"]:
            self.job.cancel()

    @property
    def text(self):
        return "\n".join(self.log)


def versions(python):
    environment = PythonEnvironment(python)
    return {name: environment.version(name) for name in (*fake_packages.SLICERS, "torch", "monai", "sam2")}


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
    assert [environment.version(name) for name in ("pydicom", "highdicom", "pyjpegls")] == ["9.9.9", "9.9.9", "1.5.1"]


def test_cancel_kills_pip_and_the_next_installation_goes_on(slicerHost, python, folder):
    complete(python, "torch", "monai")
    run = Run(slicerHost, cancelAt="Packages for images and networks: looking", wheelFolder=folder, python=python)
    assert run.error.kind == "CancelledError" and run.job.state == "cancelled" and not run.finished
    assert versions(python)["torch"] and not versions(python)["monai"]
    running = [number for number in ProcessTree.descendants(os.getpid()) if _commandHas(number, python)]
    assert running == []
    again = Run(slicerHost, wheelFolder=folder, python=python)
    assert again.job.state == "done", f"{again.error}\n{again.text}"
    assert "torch-2.9.1" not in again.text


def _commandHas(number, python):
    try:
        return python in Path(f"/proc/{number}/cmdline").read_text("utf-8").split("\0")[:1]
    except OSError:
        return False


def test_cancel_does_not_tear_a_package_apart(slicerHost, python, folder):
    complete(python, "torch", "torchvision", "monai")
    run = Run(slicerHost, cancelAt="PyTorch: installing", wheelFolder=folder, python=python)
    assert run.error.kind == "CancelledError"
    environment = PythonEnvironment(python)
    assert environment.state("torch") == OK and environment.version("torchvision") and not environment.version("monai")


def test_remains_of_a_killed_installation_are_replaced(slicerHost, python, folder):
    site = complete(python, "torch", "monai")
    fake_packages.putMetadata(site, "torch", "2.9.1")
    (site / "torch" / "lib").mkdir(parents=True)
    (site / "monai-1.5.1.dist-info").mkdir()
    assert "half installed" in Check.findProblem(python).message
    run = Run(slicerHost, wheelFolder=folder, python=python)
    assert run.job.state == "done", f"{run.error}\n{run.text}"
    assert not (site / "torch" / "lib").exists()


def test_an_installation_that_was_killed_while_pip_wrote_is_seen_and_repaired(slicerHost, python, folder):
    """pip lists monai and can import it, though half of its code is missing; networkx, which others need, is absent."""
    site = complete(python, "networkx")
    Unfinished.begin(site, ["monai", "networkx"])
    assert "missing: monai, networkx." in Check.findProblem(python).message
    (site / "monai" / "remains.py").write_text("")
    run = Run(slicerHost, wheelFolder=folder, python=python)
    assert run.job.state == "done", f"{run.error}\n{run.text}"
    assert Check.findProblem(python) is None and PythonEnvironment(python).version("networkx") == "3.5"
    assert (site / "monai-1.5.1.dist-info" / "INSTALLER").exists() and not (site / "monai" / "remains.py").exists()
    assert not (site / Unfinished.NOTE).exists()


def test_a_file_that_lost_its_content_makes_a_package_unfinished(python):
    site = complete(python)
    Unfinished.begin(site, [])
    fake_packages.putPackage(site, "omega", "1.0")
    metadata = site / "omega-1.0.dist-info"
    (metadata / "INSTALLER").write_text("pip")
    size = (site / "omega/__init__.py").stat().st_size
    (metadata / "RECORD").write_text(f"omega/__init__.py,sha256=x,{size}\n")
    assert Unfinished.unfinished(site) == []
    (site / "omega/__init__.py").write_text("")  # as after a power cut
    assert Unfinished.unfinished(site) == ["omega"] and "omega" in Check.findProblem(python).message
    Unfinished.end(site)
    assert (site / Unfinished.NOTE).exists()


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


def test_quitting_slicer_waits_until_packages_are_whole(slicerHost, python, folder):
    complete(python, "monai")
    job = Installer.install(wheelFolder=folder, python=python)
    writes = lambda: isinstance(job._work, Packages.PackageInstaller) and job._work._writing  # noqa: E731
    assert slicerHost.processEvents(100, until=lambda: writes() and writes()._process.state())
    job._onQuit()
    assert job.state == "cancelled"
    assert PythonEnvironment(python).state("monai==1.5.1") == OK and PythonEnvironment(python).unfinished == []


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


def test_a_folder_that_lacks_a_package_is_named(slicerHost, python, tmp_path):
    complete(python, "hydra-core", "omegaconf")
    folder = fake_packages.fillFolder(tmp_path / "incomplete", without=("omegaconf",))
    run = Run(slicerHost, wheelFolder=folder, python=python)
    assert run.job.state == "failed" and "omegaconf" in run.error.message and str(folder) in run.error.message


@pytest.mark.parametrize("name", ["does not exist", "environment"])
def test_a_folder_without_packages_is_refused(slicerHost, python, tmp_path, name):
    run = Run(slicerHost, wheelFolder=tmp_path / name, python=python)
    assert run.job.state == "failed" and name in run.error.message and run.log == []


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


# The PyTorch extension


class Signatures:
    """``installTorch`` as versions of the extension have it."""

    def current(self, askConfirmation=False, forceComputationBackend=None, torchVersionRequirement=None,
                torchvisionVersionRequirement=None):  # fmt: skip
        return askConfirmation, forceComputationBackend, torchVersionRequirement, torchvisionVersionRequirement

    def other(self, askConfirmation=True, torchVersionRequirement="", torchVisionVersionRequirement=""):
        return askConfirmation, None, torchVersionRequirement, torchVisionVersionRequirement

    def old(self, confirm=True):
        return confirm, None, ">=2.5", ">=0.20"


@pytest.mark.parametrize("name", ["current", "other", "old"])
def test_every_version_of_the_extension_is_called_rightly(monkeypatch, tmp_path, name):
    seen = []
    signature = getattr(Signatures, name)

    @functools.wraps(signature)
    def installTorch(self, **arguments):
        seen.append((signature(self, **arguments), os.environ["PIP_CONSTRAINT"]))

    module = types.SimpleNamespace(PyTorchUtilsLogic=type("Logic", (), {"installTorch": installTorch}))
    monkeypatch.setitem(sys.modules, "PyTorchUtils", module)
    monkeypatch.setenv("PIP_CONSTRAINT", "before")
    PyTorchExtension.installTorch(">=2.5", ">=0.20", tmp_path / "a b.txt")
    assert seen == [((False, None, ">=2.5", ">=0.20"), (tmp_path / "a b.txt").as_uri())]
    assert os.environ["PIP_CONSTRAINT"] == "before"


@pytest.fixture
def extension(python, folder, monkeypatch):
    """Puts a PyTorchUtils in place; ``run`` of its logic installs with the real pip, all of it as new as possible."""

    def put(installTorch):
        class PyTorchUtilsLogic:
            def run(self, torch, torchvision):
                packages = [f"torch{torch}", f"torchvision{torchvision}"]
                options = ["--upgrade", "--upgrade-strategy", "eager", "--no-index", "--find-links", folder]
                subprocess.run([python, "-m", "pip", "install", *options, *packages], check=True, capture_output=True)

        PyTorchUtilsLogic.installTorch = installTorch
        monkeypatch.setitem(sys.modules, "PyTorchUtils", types.SimpleNamespace(PyTorchUtilsLogic=PyTorchUtilsLogic))

    return put


def test_pytorch_comes_through_the_extension(slicerHost, python, extension):
    def installTorch(self, torchVersionRequirement, torchvisionVersionRequirement):
        self.run(torchVersionRequirement, torchvisionVersionRequirement)

    complete(python, "torch", "torchvision")
    extension(installTorch)
    run = Run(slicerHost, python=python)
    assert run.job.state == "done", f"{run.error}\n{run.text}"
    assert versions(python)["numpy"] == "2.1.0" and versions(python)["torch"] == "2.9.1"
    assert "PIP_CONSTRAINT" not in os.environ and run.log == []


def test_an_extension_that_fails_is_quoted(slicerHost, python, extension):
    def installTorch(self):
        raise TypeError("argument of type 'NoneType' is not iterable")

    extension(installTorch)
    run = Run(slicerHost, python=python)
    assert run.job.state == "failed" and "NoneType" in run.error.message and run.log == []


def test_cancel_while_the_extension_works_stops_after_it(slicerHost, python, extension):
    def installTorch(self, torchVersionRequirement, torchvisionVersionRequirement):
        Installer._running[0].cancel()  # the extension lets Slicer handle clicks
        self.run(torchVersionRequirement, torchvisionVersionRequirement)

    extension(installTorch)
    run = Run(slicerHost, python=python)
    assert run.error.kind == "CancelledError" and versions(python)["torch"] and run.log == []


class ExtensionsManager:
    """The part of qSlicerExtensionsManagerModel that is used."""

    def __init__(self, isInstalled, installs=True):
        self.interactive = True
        self.calls = []
        self._isInstalled, self._installs = isInstalled, installs

    def isExtensionInstalled(self, name):
        return self._isInstalled

    def installExtensionFromServer(self, name, restart):
        # The setting is there before, so that a Slicer that is quit meanwhile goes on as well.
        self.calls.append((name, restart, self.interactive, qt.QSettings().value(PyTorchExtension.PENDING_SETTING)))
        return self._installs


@pytest.fixture
def extensionsManager(monkeypatch):
    def put(*state):
        model = ExtensionsManager(*state)
        monkeypatch.setattr(PyTorchExtension.slicer, "app", types.SimpleNamespace(extensionsManagerModel=lambda: model))
        return model

    return put


@pytest.mark.parametrize(("isInstalled", "expected"), [(False, "is missing"), (True, "started again")])
def test_without_the_extension_nothing_is_tried(
    slicerHost, python, monkeypatch, extensionsManager, isInstalled, expected
):
    monkeypatch.setitem(sys.modules, "PyTorchUtils", None)
    extensionsManager(isInstalled)
    run = Run(slicerHost, python=python)
    assert run.error.kind == PyTorchExtension.EXTENSION_MISSING and expected in run.error.message and run.log == []


def test_the_extension_is_installed_and_the_rest_waits_for_the_restart(tmp_path, extensionsManager):
    model = extensionsManager(False)
    assert PyTorchExtension.takePendingInstall() is None
    PyTorchExtension.installPyTorchExtension(tmp_path)
    assert model.calls == [("PyTorch", False, False, "yes")] and model.interactive is True
    assert PyTorchExtension.takePendingInstall() == {"wheelFolder": str(tmp_path)}
    assert PyTorchExtension.takePendingInstall() is None
    extensionsManager(False, False)
    with pytest.raises(EngineError):
        PyTorchExtension.installPyTorchExtension()
    assert PyTorchExtension.takePendingInstall() is None


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
