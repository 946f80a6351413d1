"""Base weights on this machine: official checkpoints, our own files, and the memory of their checksums."""

import hashlib
import json
import os
import zipfile

import pytest
from example_models import write_base, write_raw
from sam2adapt.modelfiles import bases
from sam2adapt.modelfiles.bases import (
    base_file,
    base_present,
    check_base,
    download_base,
    file_sha256,
    official_info,
    remove_base,
)
from sam2adapt.shared import files
from sam2adapt.shared.errors import (
    ChecksumError,
    InputFileError,
    ModelFileError,
    WeightsMissingError,
)
from sam2adapt.shared.known_bases import BASES, BaseInfo


@pytest.fixture
def tiny(empty_home, tmp_path, monkeypatch):
    """A small file that passes for the official 'tiny' checkpoint; unpickling it would fail."""
    path = tmp_path / "copy" / "sam2.1_hiera_tiny.pt"
    path.parent.mkdir()
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("data.pkl", b"no pickle at all" * 100)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    info = BaseInfo("tiny", path.name, path.stat().st_size, digest, path.as_uri(), "Apache-2.0")
    monkeypatch.setitem(BASES, "tiny", info)
    monkeypatch.setattr(bases, "_REMEMBER_ABOVE", 0)
    return path


# Base weights


def test_official_table_is_that_of_the_publisher():
    digest = {
        "tiny": "7402e0d864fa82708a20fbd15bc84245c2f26dff0eb43a4b5b93452deb34be69",
        "small": "6d1aa6f30de5c92224f8172114de081d104bbd23dd9dc5c58996f0cad5dc4d38",
        "base_plus": "a2345aede8715ab1d5d31b4a509fb160c5a4af1970f199d9054ccfb746c004c5",
        "large": "2647878d5dfa5098f2f8649825738a9345572bae2d4350a2468587ece47dd318",
    }
    size = {"tiny": 156008466, "small": 184416285, "base_plus": 323606802, "large": 898083611}
    assert {key: info.sha256 for key, info in BASES.items()} == digest
    assert {key: info.bytes for key, info in BASES.items()} == size
    assert [info.file for info in BASES.values()] == [f"sam2.1_hiera_{key}.pt" for key in BASES]


@pytest.mark.parametrize("base_id", list(BASES))
def test_missing_official_weights_say_everything(empty_home, base_id):
    with pytest.raises(WeightsMissingError) as caught:
        base_file(base_id)
    info = BASES[base_id]
    assert info.file in caught.value.message
    assert f"{round(info.bytes / 1e6)} MB" in caught.value.message
    assert (caught.value.setting, caught.value.value) == (("download_base",), base_id)
    for words in (info.url, str(empty_home / "bases"), "download it"):
        assert words in caught.value.remedy
    assert info.url == f"https://dl.fbaipublicfiles.com/segment_anything_2/092824/{info.file}"


def test_missing_nano_and_unknown_base(empty_home):
    with pytest.raises(WeightsMissingError, match="nano") as caught:
        base_file("nano")
    assert "Install SAM2Adapt again" in caught.value.remedy
    with pytest.raises(WeightsMissingError, match="did you mean 'tiny'") as caught:
        base_file("tyni")
    assert "base_plus" in caught.value.remedy


def test_bundled_nano_and_own_bases(empty_home, bundled):
    assert base_file("nano") == bundled / "nano.safetensors"
    own = write_base(empty_home / "bases" / "anything.safetensors", "my-base")
    assert base_file("my-base") == own
    assert base_present("nano")
    assert not base_present("tiny")


def test_a_model_gets_the_very_base_that_it_asks_for(empty_home, bundled):
    newer = empty_home / "bases" / "nano2.safetensors"
    write_raw(newer, {"sam2adapt_base": json.dumps({"format": "sam2adapt-base", "id": "nano", "data": "other"})})
    assert base_file("nano", file_sha256(newer)) == newer
    assert base_file("nano", file_sha256(bundled / "nano.safetensors")) == bundled / "nano.safetensors"
    with pytest.raises(ModelFileError) as caught:
        base_file("nano", "f" * 64)
    assert "f" * 64 in caught.value.message
    assert file_sha256(bundled / "nano.safetensors") in caught.value.message


def test_base_by_path(empty_home, bundled, tmp_path):
    path = write_base(tmp_path / "x.safetensors")
    assert base_file(path) == base_file(str(path)) == path
    with pytest.raises(InputFileError, match="does not exist"):
        base_file(tmp_path / "no.safetensors")
    with pytest.raises(ModelFileError, match="holds a model"):
        base_file(bundled / "torso_ct.safetensors")
    with pytest.raises(ModelFileError, match="SHA-256 f"):
        base_file(path, "f" * 64)


def test_official_checkpoint_by_path_or_in_the_folder(tiny, empty_home):
    assert base_file(tiny) == tiny
    assert official_info(tiny) == BASES["tiny"]
    assert download_base("tiny") == empty_home / "bases" / tiny.name
    assert base_file("tiny", BASES["tiny"].sha256) == empty_home / "bases" / tiny.name
    with pytest.raises(ModelFileError, match="needs base weights"):
        base_file("tiny", "f" * 64)


@pytest.mark.parametrize("name", ["evil.pt", "evil.pth", "evil.safetensors"])
def test_other_pickles_are_refused_unread(empty_home, tmp_path, name):
    path = tmp_path / name
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("data.pkl", b"cos\nsystem\n")
    with pytest.raises(ChecksumError, match="not an official") as caught:
        base_file(path)
    assert (caught.value.setting, caught.value.value) == (("download_base",), "tiny")
    assert official_info(path) is None


def test_damaged_official_checkpoint_says_so(tiny):
    tiny.write_bytes(tiny.read_bytes()[:-10])
    with pytest.raises(ChecksumError, match=f"{tiny.stat().st_size} of {BASES['tiny'].bytes} bytes") as caught:
        check_base(tiny)
    assert (caught.value.setting, caught.value.value) == (("download_base",), "tiny")


def test_damaged_file_in_the_folder_is_never_used(tiny, empty_home):
    path = download_base("tiny")
    path.write_bytes(b"PK\x03\x04" + path.read_bytes()[4:-1] + b"x")
    with pytest.raises(ChecksumError):
        base_file("tiny")
    assert not base_present("tiny")
    download_base("tiny")
    assert base_present("tiny")


def test_download_from_a_copy_and_removal(tiny, empty_home):
    seen = []
    path = download_base("tiny", source=tiny, progress=lambda *step: seen.append(step))
    assert seen[-1] == (BASES["tiny"].bytes,) * 2
    part = path.with_name(path.name + ".part")
    part.write_bytes(b"rest")
    assert remove_base("tiny") == [path, part]
    assert list((empty_home / "bases").iterdir()) == []
    with pytest.raises(WeightsMissingError):
        remove_base("tiny")


def test_download_of_what_is_not_official(empty_home, tmp_path):
    with pytest.raises(WeightsMissingError, match="no base 'tinny' to download; did you mean 'tiny'"):
        download_base("tinny")
    (tmp_path / "wrong.pt").write_bytes(b"wrong")
    with pytest.raises(ChecksumError, match="5 bytes instead of"):
        download_base("small", source=tmp_path / "wrong.pt")


# Remembered checksums


@pytest.fixture
def hashed(monkeypatch):
    """The files that were really read for their SHA-256."""
    seen = []

    def count(path, *args):
        seen.append(path)
        return files.hash_file(path, *args)

    monkeypatch.setattr(bases, "hash_file", count)
    return seen


def test_large_file_is_hashed_once(tiny, empty_home, hashed):
    assert file_sha256(tiny) == file_sha256(tiny) == BASES["tiny"].sha256
    assert hashed == [tiny]
    assert (
        json.loads((empty_home / "checksums.json").read_text("utf-8"))[str(tiny.resolve())]["sha256"]
        == BASES["tiny"].sha256
    )


def test_changed_file_is_hashed_again(tiny, hashed):
    file_sha256(tiny)
    data = bytearray(tiny.read_bytes())
    data[-1] ^= 1
    tiny.write_bytes(data)
    os.utime(tiny, ns=(0, tiny.stat().st_mtime_ns + 1))
    assert file_sha256(tiny) == hashlib.sha256(data).hexdigest()
    assert len(hashed) == 2


def test_small_file_is_not_remembered(empty_home, bundled, hashed):
    file_sha256(bundled / "nano.safetensors")
    assert not empty_home.exists()


@pytest.mark.parametrize("text", ["", "[]", "{}", "null", '{"PATH": 3}', '{"PATH": {}}', '{"PATH": {"size": "x"}}'])
def test_damaged_memory_is_replaced(tiny, empty_home, text):
    empty_home.mkdir(exist_ok=True)
    (empty_home / "checksums.json").write_text(text.replace("PATH", str(tiny.resolve())))
    assert file_sha256(tiny) == BASES["tiny"].sha256
    assert (
        json.loads((empty_home / "checksums.json").read_text("utf-8"))[str(tiny.resolve())]["size"]
        == BASES["tiny"].bytes
    )


def test_memory_that_cannot_be_written_is_no_failure(tiny, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("SAM2ADAPT_HOME", str(tmp_path / "file"))
    assert file_sha256(tiny) == BASES["tiny"].sha256


def test_sha256_of_a_missing_file(empty_home, tmp_path):
    with pytest.raises(InputFileError):
        file_sha256(tmp_path / "no.pt")
