"""The package of the engine that a host without one is sent: as pip would build it of this repository."""

import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest
from SAM2AdaptLib.Engine.Remote import Ssh, Wheel
from SAM2AdaptLib.Engine.Requirements import requirements

REPOSITORY = Path(__file__).resolve().parents[3]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("wheel") / Path(Ssh._WHEEL).name
    path.write_bytes(Wheel.build())
    return path


def test_it_is_what_the_project_says(wheel):
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text("utf-8"))["project"]
    assert (project["requires-python"], project["scripts"]) == (Wheel.PYTHON, {"sam2adapt": Wheel.PROGRAM})
    with zipfile.ZipFile(wheel) as archive:
        names, about = archive.namelist(), archive.read(f"{Wheel._NAME}.dist-info/METADATA").decode()
    assert [
        line.partition(": ")[2] for line in about.splitlines() if line.startswith("Requires-Dist")
    ] == requirements()
    tracked = subprocess.run(
        ["git", "-C", REPOSITORY / "SAM2Adapt", "ls-files", "sam2adapt"], capture_output=True, check=False
    )
    if tracked.returncode == 0:
        assert set(tracked.stdout.decode().split()) == {name for name in names if name.startswith("sam2adapt/")}
    assert [name for name in names if "/models/" in name] == [
        f"{Wheel._NAME}.data/data/share/sam2adapt/models/nano.safetensors"
    ]


def test_pip_installs_it_and_the_engine_starts(wheel, tmp_path):
    pip = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--no-index", "--target", tmp_path / "there"]
    subprocess.run([*pip, wheel], check=True)
    code = "import sam2adapt, sam2adapt.cli.app; print(sam2adapt.__file__)"
    command = [sys.executable, "-c", code]
    said = subprocess.run(
        command, env={"PYTHONPATH": str(tmp_path / "there")}, cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert said.stdout.startswith(str(tmp_path / "there")), said.stderr
    assert (tmp_path / "there" / "bin" / "sam2adapt").exists()


def test_the_guide_shows_the_line_of_the_panel():
    page = (REPOSITORY / "Documentation" / "slicer.md").read_text("utf-8")
    assert Ssh.INSTALL_LINE in map(str.strip, page.splitlines())
