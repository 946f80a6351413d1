"""The sub-commands ``models`` and ``info``, as a user types them."""

import argparse
import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import sam2adapt
from example_models import tensors, write_base, write_model, write_raw
from sam2adapt.cli.models import add_info_parser, add_models_parser
from sam2adapt.shared import files
from sam2adapt.shared.errors import ChecksumError, InputFileError, ModelFileError, ModelNotFoundError
from sam2adapt.shared.known_bases import BASES, BaseInfo


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("SAM2ADAPT_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(files, "bundled_folder", lambda: tmp_path / "bundled")
    write_base(tmp_path / "bundled" / "nano.safetensors")
    digest = hashlib.sha256((tmp_path / "bundled" / "nano.safetensors").read_bytes()).hexdigest()
    write_model(tmp_path / "bundled" / "torso_ct.safetensors", base__sha256=digest)
    return tmp_path / "home"


@pytest.fixture
def tiny(tmp_path, monkeypatch):
    """A copy of what passes for the official 'tiny' checkpoint."""
    path = tmp_path / "copy.pt"
    path.write_bytes(b"PK\x03\x04 not a real checkpoint")
    info = BaseInfo("tiny", "sam2.1_hiera_tiny.pt", path.stat().st_size, _sha256(path), "https://x.invalid/t.pt", "MIT")
    monkeypatch.setitem(BASES, "tiny", info)
    return path


def _sha256(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.fixture
def run(home, capsys):
    """Run a command line; gives what it printed, as an object for ``--json``."""
    parser = argparse.ArgumentParser(prog="sam2adapt")
    subparsers = parser.add_subparsers(required=True)
    add_models_parser(subparsers)
    add_info_parser(subparsers)

    def call(*arguments):
        args = parser.parse_args([str(argument) for argument in arguments])
        capsys.readouterr()
        args.run(args)
        output = capsys.readouterr().out
        return json.loads(output) if "--json" in arguments else output

    return call


# models


def test_list_is_an_aligned_table(run, home):
    write_model(home / "models" / "h.safetensors", name="heart", metrics=None, modality="MR", base__id="small")
    lines = run("models").splitlines()
    assert lines == run("models", "list").splitlines()
    assert lines[0].split() == "NAME VERSION STRUCTURES MODALITY DICE BASE LICENCE WHERE".split()
    assert lines[1].split() == "heart 1.0.0 right lung, left lung MR - small (missing) CC-BY-4.0 own".split()
    assert lines[2].split() == "torso CT 1.0.0 right lung, left lung CT 0.938 nano (present) CC-BY-4.0 bundled".split()
    for heading in ("VERSION", "STRUCTURES", "MODALITY", "DICE", "BASE", "WHERE"):
        at = lines[0].index(heading)
        assert all(line[at - 1] == " " and line[at] != " " for line in lines[1:3]), heading
    assert lines[-1] == "Bases: nano (present), tiny (missing), small (missing), base_plus (missing), large (missing)"


def test_list_shows_broken_files_and_goes_on(run, home):
    (home / "models").mkdir(parents=True)
    (home / "models" / "liver.safetensors").write_bytes(b"x")
    text = run("models")
    assert "broken, see below" in text
    assert f"'{home / 'models' / 'liver.safetensors'}' is not a safetensors file." in text
    assert "torso CT" in text


def test_list_without_models(run, tmp_path, monkeypatch):
    monkeypatch.setattr(files, "bundled_folder", lambda: tmp_path / "none")
    assert "models add FILE" in run("models")
    assert run("models", "--json")["models"] == []


def test_many_structures_are_shortened(run, home):
    classes = [{"id": i, "name": f"vertebra {i}", "terminology": "", "color": [0, 0, 0]} for i in range(1, 8)]
    post = {"largest_component": [], "fill_holes": [], "minimum_ml": 0}
    write_model(home / "models" / "s.safetensors", name="spine", classes=classes, postprocessing=post, metrics=None)
    assert "vertebra 1, vertebra 2, vertebra 3 and 4 more" in run("models")


@pytest.mark.parametrize("order", [("models", "--json"), ("models", "list", "--json"), ("models", "--json", "list")])
def test_list_as_json(run, order):
    found = run(*order)
    (model,) = found["models"]
    assert (model["name"], model["dice"], model["base"], model["base_present"]) == ("torso CT", 0.9375, "nano", True)
    assert model["structures"] == ["right lung", "left lung"]
    assert model["error"] is None
    assert {base["id"]: base["present"] for base in found["bases"]} == {
        "nano": True, "tiny": False, "small": False, "base_plus": False, "large": False,
    }  # fmt: skip


def test_add_and_remove(run, home, tmp_path):
    source = write_model(tmp_path / "x.safetensors", name="heart")
    row = run("models", "add", source, "--json")
    assert (row["name"], row["version"]) == ("heart", "1.0.0")
    assert row["path"] == str(home / "models" / "heart-1.0.0.safetensors")
    assert row in run("models", "--json")["models"]
    assert "'heart' 1.0.0 is now one of your models" in run("models", "add", source)
    assert "Deleted" in run("models", "remove", "heart")
    with pytest.raises(ModelNotFoundError):
        run("models", "remove", "heart")


def test_download_from_a_copy_info_and_removal(run, home, tiny):
    path = home / "bases" / "sam2.1_hiera_tiny.pt"
    missing = run("info", "tiny")
    assert "Here:    no, not downloaded yet" in missing
    assert missing.endswith("Download it with `sam2adapt models download tiny`.\n")
    assert str(path) in run("models", "download", "tiny", "--from", tiny)
    assert run("models", "download", "tiny", "--from", tiny, "--json") == {"base": "tiny", "path": str(path)}
    assert f"Here:    {path}" in run("info", "tiny")
    assert "tiny (present)" in run("models")
    assert run("models", "remove", "tiny", "--json") == {"removed": [str(path)]}


def test_download_shows_progress_on_standard_error(run, home, tiny, capsys):
    parser = argparse.ArgumentParser()
    add_models_parser(parser.add_subparsers())
    args = parser.parse_args(["models", "download", "tiny", "--from", str(tiny)])
    args.run(args)
    assert "Downloading 'tiny'" in capsys.readouterr().err


# info


def test_info_of_a_model_by_name_and_file(run, home, tmp_path):
    text = run("info", "torso CT")
    assert text == run("info", tmp_path / "bundled" / "torso_ct.safetensors")
    for words in ("torso CT 1.0.0", "Dice, measured on 'val':", "Base 'nano' is present on this machine"):
        assert words in text
    found = run("info", "torso ct", "--json")
    assert found["kind"] == "model"
    assert found["parameters"] == sum(t.numel() for t in tensors().values())
    assert found["bytes"] == Path(found["path"]).stat().st_size
    assert found["card"]["classes"][1]["name"] == "left lung"


def test_info_checks_the_digest(run, home, tmp_path):
    path = write_model(tmp_path / "x.safetensors")
    path.write_bytes(path.read_bytes()[:-1] + b"?")
    with pytest.raises(ModelFileError, match="changed after it was made"):
        run("info", path)


def test_info_of_base_weights(run, tmp_path):
    path = tmp_path / "bundled" / "nano.safetensors"
    text = run("info", "nano")
    assert text == run("info", path)
    assert "Base weights 'nano' of SAM2Adapt" in text
    assert _sha256(path) in text
    assert "4 parameters" in text
    assert "data: noise" in text
    assert run("info", path, "--json")["kind"] == "base"


def test_info_of_an_official_checkpoint(run, tiny):
    text = run("info", tiny)
    assert "official SAM 2.1 checkpoint sam2.1_hiera_tiny.pt" in text
    assert "(matches)" in text
    assert "MIT" in text
    found = run("info", tiny, "--json")
    assert (found["kind"], found["id"], found["path"]) == ("official-base", "tiny", str(tiny))


def test_info_of_other_files(run, tmp_path):
    (tmp_path / "evil.pt").write_bytes(b"PK\x03\x04 pickle")
    with pytest.raises(ChecksumError, match="not an official"):
        run("info", tmp_path / "evil.pt")
    with pytest.raises(ModelFileError, match="not made by SAM2Adapt"):
        run("info", write_raw(tmp_path / "foreign.safetensors", {"format": "pt"}))
    (tmp_path / "notes.txt").write_text("some notes")
    with pytest.raises(ModelFileError, match="not a safetensors file"):
        run("info", tmp_path / "notes.txt")
    with pytest.raises(InputFileError, match="does not exist"):
        run("info", tmp_path / "no.pt")
    with pytest.raises(ModelNotFoundError):
        run("info", "zebra")


# The command line as a whole


def _sam2adapt(*arguments, home):
    engine = str(Path(sam2adapt.__file__).parent.parent)
    environment = os.environ | {"SAM2ADAPT_HOME": str(home), "PYTHONPATH": engine, "PYTHONIOENCODING": "utf-8"}
    command = [sys.executable, "-m", "sam2adapt", *map(str, arguments)]
    return subprocess.run(command, env=environment, capture_output=True, encoding="utf-8", timeout=600, check=False)


def test_user_errors_leave_with_status_2_one_sentence_and_a_remedy(tmp_path):
    result = _sam2adapt("info", tmp_path / "no.safetensors", home=tmp_path)
    assert result.returncode == 2
    assert result.stdout == ""
    sentence, remedy = result.stderr.strip().splitlines()
    assert "does not exist" in sentence
    assert remedy == "Check the path."


def test_models_and_info_do_not_import_torch(home):
    write_model(home / "models" / "m.safetensors", name="mine")
    code = (
        "import sys; from sam2adapt.cli.app import main; status = main(sys.argv[1:]);"
        "loaded = sorted({'torch', 'monai', 'sam2'} & set(sys.modules)); sys.exit(str(loaded) if loaded else status)"
    )
    engine = str(Path(sam2adapt.__file__).parent.parent)
    environment = os.environ | {"PYTHONPATH": engine}
    for arguments in (["models"], ["info", "mine"], ["models", "add", str(home / "models" / "m.safetensors")]):
        command = [sys.executable, "-c", code, *arguments]
        result = subprocess.run(
            command, env=environment, capture_output=True, encoding="utf-8", timeout=600, check=False
        )
        assert (result.returncode, result.stderr) == (0, "")
        assert "mine" in result.stdout
