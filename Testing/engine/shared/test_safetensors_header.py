"""The header of model files, read by engine and Slicer alike."""

import json

import pytest
from safetensors import safe_open
from sam2adapt.shared.files import bundled_folder
from sam2adapt.shared.safetensors_header import LONGEST, MODEL_KEY, expected_size, read_header, read_metadata


def file_with(folder, header: bytes, length: int | None = None):
    path = folder / "model.safetensors"
    path.write_bytes((len(header) if length is None else length).to_bytes(8, "little") + header)
    return path


def test_metadata_and_size_are_those_of_the_library():
    path = bundled_folder() / "torso-ct.safetensors"
    with safe_open(path, framework="numpy") as file:
        assert read_metadata(path) == file.metadata() and MODEL_KEY in file.metadata()
        assert read_header(path).keys() == {*file.keys(), "__metadata__"}
    assert expected_size(path) == path.stat().st_size


def test_a_file_without_metadata_has_none(tmp_path):
    assert read_metadata(file_with(tmp_path, b"{}")) == {}


@pytest.mark.parametrize(
    ("header", "length"),
    [
        (b"", None),
        (b"{", None),
        (b"[1]", None),
        (b'{"__metadata__": 5}', None),
        (b'{"a":' * 100_000, None),
        (b"{}", LONGEST + 1),
        (b"\xff{}", None),
    ],
)
def test_what_is_no_header_is_one_kind_of_error(tmp_path, header, length):
    with pytest.raises(ValueError):
        read_metadata(file_with(tmp_path, header, length))


def test_a_header_that_does_not_say_where_its_tensors_end(tmp_path):
    for entry in (5, {}, {"data_offsets": [0]}, {"data_offsets": None}):
        with pytest.raises(ValueError, match="where its tensors end"):
            expected_size(file_with(tmp_path, json.dumps({"a": entry}).encode()))
