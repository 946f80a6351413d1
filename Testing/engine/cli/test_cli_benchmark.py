"""``sam2adapt benchmark`` starts the repository's scripts, and says where they are to be had when they are not here."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from sam2adapt.cli import benchmark
from sam2adapt.cli.app import main

REPOSITORY = Path(__file__).resolve().parents[3]


def test_an_installed_engine_says_where_the_benchmarks_are(tmp_path):
    """The engine without its repository, as a wheel installs it; the remedy's command answers in the repository."""
    ignored = shutil.ignore_patterns("__pycache__")
    shutil.copytree(REPOSITORY / "SAM2Adapt" / "sam2adapt", tmp_path / "sam2adapt", ignore=ignored)
    command = [sys.executable, "-m", "sam2adapt", "benchmark", "speed", "--quick"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, encoding="utf-8", check=False)
    assert done.returncode == 2
    said, remedy = done.stderr.splitlines()
    assert said.startswith("sam2adapt: The benchmark 'speed' is not installed: it is a script of")
    script = remedy.partition("`python ")[2].partition("`")[0]
    command = [sys.executable, *script.split(), "--help"]
    assert "--sections" in subprocess.check_output(command, cwd=REPOSITORY, encoding="utf-8")


@pytest.mark.parametrize(("what", "option"), [("methods", "--bases"), ("speed", "--sections")])
def test_help_of_a_benchmark_needs_no_torch(what, option):
    code = (
        "import sys; sys.modules['torch'] = None\nfrom sam2adapt.cli.app import main\n"
        f"main(['benchmark', {what!r}, '--help'])"
    )
    path = str(REPOSITORY / "SAM2Adapt")
    text = subprocess.check_output([sys.executable, "-c", code], env={"PYTHONPATH": path}, encoding="utf-8")
    assert f"usage: sam2adapt benchmark {what} [-h]" in text and option in text


@pytest.mark.parametrize("what", ["methods", "speed"])
def test_a_script_says_what_a_user_can_mend(what, tmp_path):
    """Started by itself, as an installed engine's remedy says."""
    script = REPOSITORY / "Testing" / "benchmarks" / f"benchmark_{what}.py"
    command = [sys.executable, str(script), "--json", str(tmp_path / "none" / "found.json")]
    done = subprocess.run(command, capture_output=True, encoding="utf-8", check=False)
    assert (done.returncode, done.stderr.partition(":")[0]) == (2, "sam2adapt"), done.stderr
    assert "does not exist" in done.stderr


def test_what_is_no_benchmark_is_refused(capsys):
    with pytest.raises(SystemExit):
        main(["benchmark", "size"])
    assert "methods" in capsys.readouterr().err and benchmark.SCRIPTS.is_dir()
