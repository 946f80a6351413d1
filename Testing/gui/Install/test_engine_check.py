"""What is said when the engine cannot start or pip fails."""

import json
from pathlib import Path

import fake_packages
import pytest
from SAM2AdaptLib.Install import Check
from SAM2AdaptLib.Install.PipMessages import pipError
from SAM2AdaptLib.Install.PythonEnvironment import OK, PythonEnvironment, torchRequirements


@pytest.fixture
def python(tmp_path):
    """Interpreter of an environment like that of a Slicer."""
    return fake_packages.makeSlicersEnvironment(tmp_path / "environment")


def test_problems_are_told_apart(python, tmp_path):
    site = Path(PythonEnvironment(python).sitePackages)
    assert "torchvision" in Check.findProblem(python).message
    fake_packages.putPackage(site, "torch", "2.2.2")
    problem = Check.findProblem(python)
    assert "2.2.2 is too old" in problem.message and "not replaced" in problem.remedy
    (site / "torch" / "__init__.py").unlink()
    assert "half installed" in Check.findProblem(python).message
    assert "does not exist" in Check.findProblem(str(tmp_path / "python")).message
    assert Check.findProblem("/bin/sh") is None


def test_a_development_version_of_slicers_simpleitk_counts(python):
    site = Path(PythonEnvironment(python).sitePackages)
    fake_packages.putMetadata(site, "SimpleITK", "2.4.0rc2.dev368")
    assert PythonEnvironment(python).state("SimpleITK>=2.3") == OK


def test_windows_paths(python):
    default = "C:\\Users\\somebody\\AppData\\Local\\slicer.org\\3D Slicer 5.12.3\\lib\\Python\\Lib\\site-packages"
    assert torchRequirements(default, windows=True)[0] == "torch>=2.5.1,!=2.13.*"
    assert torchRequirements("C:\\Slicer\\lib\\Python\\Lib\\site-packages", windows=True)[0] == "torch>=2.5.1"
    assert torchRequirements(default, windows=False)[0] == "torch>=2.5.1"
    environment = PythonEnvironment(python)
    assert Check.findObstacle(environment, 1, windows=True) is None
    environment.sitePackages += "x" * 120
    assert "too long for Windows" in Check.findObstacle(environment, 1, windows=True).message


def test_disk_and_rights_are_looked_at_first(python, tmp_path):
    environment = PythonEnvironment(python)
    assert "too little space" in Check.findObstacle(environment, 1e9).message
    environment.sitePackages = str(tmp_path / "gone")
    assert "cannot be installed in" in Check.findObstacle(environment, 1).message


def diagnose(slicerHost, python=None):
    found = []
    Check.diagnose(found.append, python)
    assert found == [] and slicerHost.processEvents(100, until=lambda: found)
    return found[0]


def test_diagnosis_of_a_broken_torch(slicerHost, python):
    (Path(PythonEnvironment(python).sitePackages) / "torch").mkdir()
    problem = diagnose(slicerHost, python).problem
    assert problem.kind == "EngineMissing" and "broken" in problem.message and "no code" in problem.message


def test_diagnosis_of_a_crash_names_the_package(slicerHost, python):
    torch = Path(PythonEnvironment(python).sitePackages) / "torch"
    torch.mkdir()
    (torch / "__init__.py").write_text("import os, signal\nos.kill(os.getpid(), signal.SIGSEGV)\n")
    assert "crashed while it loaded “torch”" in diagnose(slicerHost, python).problem.message


def test_diagnosis_can_be_stopped(slicerHost, python):
    found = []
    process = Check.diagnose(found.append, python)
    process.kill()
    slicerHost.processEvents(0.2)
    assert found == []


@pytest.mark.parametrize(
    ("name", "kind", "text", "expected"),
    [
        ("torch", "OSError", "[WinError 206] The filename or extension is too long: 'C:\\\\x'", "path is too long"),
        ("torch", "OSError", "[WinError 126] Error loading fbgemm.dll", "PyTorch is installed but broken"),
        ("torch", "RuntimeError", "CUDA error: no kernel image is available for execution", "no code for the GPU “X”"),
        ("torch", "RuntimeError", "Numpy is not available", "another version of numpy"),
        ("torchvision", "RuntimeError", "operator torchvision::nms does not exist", "do not belong together"),
        ("monai", "ImportError", "cannot import name 'y'", "“monai” cannot be loaded (ImportError: cannot"),
    ],
)
def test_failed_imports_are_explained(python, name, kind, text, expected):
    lines = [f'{{"importing": "{name}"}}', '{"gpu": "X"}', "something that a library prints", "[1]"]
    failure = {"failed": name, "kind": kind, "text": text, "missing": None}
    lines.append(json.dumps(failure))
    diagnosis = Check.readSmokeTest(lines, 1, PythonEnvironment(python))
    assert expected in diagnosis.problem.message and diagnosis.problem.remedy and text[:20] in diagnosis.problem.details


def test_device_notes_differ():
    cases = [("12.8", "A100", True), ("12.8", None, True), ("12.8", None, False), (None, None, True)]
    cases.append((None, None, False))
    notes = [Check.deviceNote(*case) for case in cases]
    assert len(set(notes)) == len(cases) and notes[0] == "GPU: A100."
    assert "too old" in notes[1] and "no NVIDIA driver" in notes[2] and "without GPU support" in notes[3]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("ERROR: Could not install packages due to an OSError: [Errno 28] No space left on device", "disk is full"),
        ("ERROR: [WinError 206] The filename or extension is too long", "path is too long"),
        ("ERROR: [WinError 5] Access is denied: 'torch_cpu.dll'", "in use"),
        ("ERROR: [Errno 13] Permission denied: '/opt/Slicer'", "cannot be written"),
        ("SSLError(SSLCertVerificationError(1, '[SSL: CERTIFICATE_VERIFY_FAILED]", "certificate"),
        ("WARNING: NewConnectionError\nERROR: No matching distribution found for tqdm", "could not be reached"),
        ("ERROR: No matching distribution found for sam2==1.1.0", "has no “sam2==1.1.0”"),
        ("Collecting x\nERROR: something new\nthe end", "something new"),
        ("", "it wrote nothing"),
    ],
)
def test_pip_failures_are_explained(text, expected):
    error = pipError(text.splitlines())
    assert expected in error.message and error.remedy and error.details == text
