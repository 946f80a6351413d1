"""Models known on this machine."""

import os
import subprocess
import sys

import pytest
from example_models import write_base, write_model, write_raw
from sam2adapt.modelfiles import catalog
from sam2adapt.modelfiles.bases import (
    file_sha256,
)
from sam2adapt.modelfiles.catalog import add_model, find_model, list_models, remove_model
from sam2adapt.shared.errors import (
    InputFileError,
    ModelFileError,
    ModelNotFoundError,
    OutputError,
    SettingsError,
)

NUMBERED = {"training__split": {"train": ["case 1", "case 2"], "val": ["case 3"]}}  # a model of today


# Folders


def test_home_is_that_of_the_environment_or_of_the_user(monkeypatch, tmp_path):
    monkeypatch.setenv("SAM2ADAPT_HOME", str(tmp_path))
    assert catalog.home() == tmp_path
    monkeypatch.delenv("SAM2ADAPT_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    assert catalog.home() == tmp_path / ".sam2adapt"


def test_listing_and_looking_up_make_no_folder(empty_home):
    assert list_models() == []
    with pytest.raises(ModelNotFoundError):
        find_model("x")
    assert not empty_home.exists()


# Models


def test_list_skips_base_weights_and_reports_broken_files(empty_home, bundled):
    write_model(empty_home / "models" / "mine.safetensors", name="heart", metrics=None, base__id="tiny")
    (empty_home / "models" / "broken.safetensors").write_bytes(b"x" * 50)
    write_raw(empty_home / "models" / "foreign.safetensors", None)
    entries = {entry.name: entry for entry in list_models()}
    assert list(entries) == ["heart", "broken", "foreign", "torso CT"]
    assert (entries["heart"].where, entries["torso CT"].where) == ("own", "bundled")
    assert entries["heart"].dice is None
    assert entries["torso CT"].dice == 0.9375
    assert "not a safetensors file" in str(entries["broken"].error)
    assert "not made by SAM2Adapt" in str(entries["foreign"].error)
    assert not entries["heart"].base_present


def test_base_present_needs_the_very_file(empty_home, bundled):
    digest = file_sha256(bundled / "nano.safetensors")
    write_model(empty_home / "models" / "good.safetensors", name="good", base__sha256=digest)
    present = {entry.name: entry.base_present for entry in list_models()}
    assert present == {"good": True, "torso CT": False}


def test_find_by_name_version_and_path(empty_home, bundled, tmp_path, monkeypatch):
    assert find_model("torso CT") == find_model("TORSO ct") == bundled / "torso_ct.safetensors"
    assert find_model("torso CT@1.0.0") == bundled / "torso_ct.safetensors"
    elsewhere = write_model(tmp_path / "x.safetensors")
    assert find_model(elsewhere) == elsewhere
    assert find_model(str(elsewhere)) == elsewhere
    monkeypatch.chdir(tmp_path)
    assert find_model("x.safetensors").resolve() == elsewhere


def test_own_model_goes_first_and_the_newest_of_them(empty_home, bundled):
    old = write_model(empty_home / "models" / "b.safetensors", version="2.0", created="2026-01-01T00:00:00Z")
    new = write_model(empty_home / "models" / "a.safetensors", version="1.5", created="2026-02-01T00:00:00Z")
    assert find_model("torso CT") == new
    assert find_model("torso CT@2.0") == old
    assert find_model("torso CT@1.0.0") == bundled / "torso_ct.safetensors"
    assert [entry.version for entry in list_models()] == ["1.5", "2.0", "1.0.0"]


def test_file_in_the_working_folder_does_not_hide_a_model(empty_home, bundled, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "torso CT").write_text("a stray file")
    assert find_model("torso CT") == bundled / "torso_ct.safetensors"


def test_unknown_name_suggests_close_ones(empty_home, bundled):
    with pytest.raises(ModelNotFoundError, match="No model 'torso-tc'") as caught:
        find_model("torso-tc")
    assert "Did you mean 'torso CT'?" in caught.value.remedy
    with pytest.raises(ModelNotFoundError) as caught:
        find_model("zebrafish")
    assert "torso CT" in caught.value.remedy


def test_unknown_name_without_any_model(empty_home):
    with pytest.raises(ModelNotFoundError) as caught:
        find_model("torso")
    assert caught.value.setting == ("add_model",)


@pytest.mark.parametrize("name", ["no.safetensors", "no.pt", "./no", "folder/no"])
def test_path_that_does_not_exist(empty_home, name):
    with pytest.raises(InputFileError, match="does not exist"):
        find_model(name)


def test_only_model_of_a_name_is_broken(empty_home):
    (empty_home / "models").mkdir(parents=True)
    (empty_home / "models" / "liver.safetensors").write_bytes(b"x" * 50)
    with pytest.raises(ModelFileError, match="not a safetensors file"):
        find_model("liver")


def test_add_copies_and_remove_deletes(empty_home, tmp_path):
    source = write_model(tmp_path / "x.safetensors", **NUMBERED)
    added = add_model(source)
    assert added == empty_home / "models" / "torso-ct-1.0.0.safetensors"
    assert added.read_bytes() == source.read_bytes()
    assert find_model("torso CT") == added
    assert add_model(source) == add_model(added) == added
    assert remove_model("Torso CT") == added
    assert os.listdir(empty_home / "models") == []
    assert source.exists()


def test_processes_that_add_at_once_leave_one_copy_of_each_model(empty_home, tmp_path):
    """Two models of one file name, each added by two processes."""
    sources = [write_model(tmp_path / f"{name}.safetensors", name=name, **NUMBERED) for name in ("a model", "a-model")]
    code = "import sys; from sam2adapt.cli.app import main; input(); sys.exit(main(sys.argv[1:]))"
    running = [
        subprocess.Popen([sys.executable, "-c", code, "models", "add", path], stdin=subprocess.PIPE,
                         stdout=subprocess.DEVNULL)
        for path in sources * 2
    ]  # fmt: skip
    for process in running:  # all are past their imports, about, when they may begin
        process.stdin.write(b"\n")
        process.stdin.close()
    assert [process.wait() for process in running] == [0] * 4
    own = [entry for entry in list_models() if entry.where == catalog.OWN]
    assert sorted(entry.name for entry in own) == ["a model", "a-model"]
    assert sorted(path.name for path in (empty_home / "models").iterdir()) == [
        "a-model-1.0.0-2.safetensors", "a-model-1.0.0.safetensors",
    ]  # fmt: skip


def test_copies_that_were_made_by_hand_can_be_removed(empty_home):
    files_ = [write_model(empty_home / "models" / f"{number}.safetensors") for number in range(2)]
    with pytest.raises(SettingsError, match=r"0\.safetensors, 1\.safetensors"):
        remove_model("torso CT")
    assert remove_model("1.safetensors") == files_[1] and remove_model("torso CT") == files_[0]


def test_add_does_not_replace_another_model_of_that_name_and_version(empty_home, tmp_path):
    added = add_model(write_model(tmp_path / "x.safetensors"))
    before = added.read_bytes()
    with pytest.raises(SettingsError, match="exists already") as caught:
        add_model(write_model(tmp_path / "y.safetensors", description="other"))
    assert (caught.value.setting, caught.value.value) == (("remove_model",), "torso CT@1.0.0")
    assert added.read_bytes() == before
    second = add_model(write_model(tmp_path / "z.safetensors", version="1.1"))
    assert second.name == "torso-ct-1.1.safetensors"


def test_names_that_make_the_same_file_name_live_side_by_side(empty_home, tmp_path):
    first = add_model(write_model(tmp_path / "x.safetensors", name="lung ü"))
    second = add_model(write_model(tmp_path / "y.safetensors", name="lung ö"))
    assert first != second
    assert find_model("lung ö") == second


def test_add_refuses_what_is_not_a_whole_unchanged_model(empty_home, tmp_path):
    path = write_model(tmp_path / "x.safetensors")
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    with pytest.raises(ModelFileError, match="changed after it was made"):
        add_model(path)
    with pytest.raises(ModelFileError, match="base weights"):
        add_model(write_base(tmp_path / "b.safetensors"))
    with pytest.raises(InputFileError):
        add_model(tmp_path / "no.safetensors")
    assert not empty_home.exists()


def test_add_to_a_home_that_cannot_be_made(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("SAM2ADAPT_HOME", str(tmp_path / "file"))
    with pytest.raises(OutputError, match="cannot be made") as caught:
        add_model(write_model(tmp_path / "x.safetensors"))
    assert "SAM2ADAPT_HOME" in caught.value.remedy


def test_remove_refuses_unknown_bundled_and_ambiguous_names(empty_home, bundled):
    with pytest.raises(ModelNotFoundError):
        remove_model("zebra")
    with pytest.raises(SettingsError, match="comes with SAM2Adapt"):
        remove_model("torso CT")
    first = write_model(empty_home / "models" / "a.safetensors", version="2")
    second = write_model(empty_home / "models" / "b.safetensors", version="3")
    with pytest.raises(SettingsError, match="2 models") as caught:
        remove_model("torso CT")
    assert '"torso CT@2"' in caught.value.remedy
    assert '"torso CT@3"' in caught.value.remedy
    assert remove_model("torso CT@3") == second
    assert remove_model("torso CT") == first


def test_broken_model_is_removed_by_its_file_name(empty_home):
    path = empty_home / "models" / "liver.safetensors"
    path.parent.mkdir(parents=True)
    path.write_bytes(b"x")
    assert remove_model("liver") == path
    assert not path.exists()
