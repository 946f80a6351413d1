"""The header of model files, read by engine and Slicer alike."""

import json

import pytest
from safetensors import SafetensorError, safe_open
from sam2adapt.modelfiles import card
from sam2adapt.shared.errors import ModelFileError
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


def entry(kind: str, shape: object, begin: int, end: int) -> dict:
    return {"dtype": kind, "shape": shape, "data_offsets": [begin, end]}


PLAIN = {"a": entry("F32", [2], 0, 8)}
#: Headers, and how many bytes follow.
HEADERS = [
    (PLAIN, 8),
    (PLAIN, 7),
    (PLAIN, 9),
    ({}, 0),
    ({}, 1),
    (b"{}   \n", 0),
    (b"{} x", 0),
    (b'{"a":NaN}', 0),
    ('{"__metadata__":{"a":"b"}}'.encode("utf-16-le"), 0),
    ({"b": entry("F32", [1], 4, 8), "a": entry("F32", [1], 0, 4)}, 8),
    ({"a": entry("F32", [0], 0, 0), "b": entry("F32", [1], 0, 4), "c": entry("F32", [0, 1 << 62], 4, 4)}, 4),
    ({"a": entry("F32", [1], 4, 8)}, 8),
    ({"a": entry("F32", [2], 0, 8), "b": entry("F32", [1], 4, 8)}, 8),
    ({"a": {**PLAIN["a"], "more": 1}}, 8),
    ({"a": {"dtype": "F32", "data_offsets": [0, 8]}}, 8),
    ({"a": 5}, 8),
    ({"a": {**PLAIN["a"], "data_offsets": [0, 8, 8]}}, 8),
    ({"a": {**PLAIN["a"], "data_offsets": "08"}}, 8),
    ({"__metadata__": {"a": "b"}, **PLAIN}, 8),
    ({"__metadata__": None, **PLAIN}, 8),
    ({"__metadata__": {"a": 1}, **PLAIN}, 8),
    ({"__metadata__": ["a"], **PLAIN}, 8),
    ({"__metadata__": {"a": "\ud800"}, **PLAIN}, 8),
    *(
        ({"a": entry("F32", shape, 0, 8)}, 8)
        for shape in ([3], [2.0], [-2], [True, 2], [], [2, 1], None, "2", [1 << 62, 1 << 62])
    ),
    *(
        ({"a": entry(kind, [4], 0, size)}, size)
        for kind in ("BOOL", "U8", "F8_E4M3", "F16", "BF16", "I32", "F64", "C64", "F4", "F6_E2M3", "X", 5, None)
        for size in (2, 3, 4, 8, 16, 32)
    ),
    ({"a": entry("F4", [3], 0, 2)}, 2),
]


def test_headers_are_taken_and_refused_as_by_the_library(tmp_path):
    taken = 0
    for header, length in HEADERS:
        path = file_with(tmp_path, header if isinstance(header, bytes) else json.dumps(header).encode())
        path.write_bytes(path.read_bytes() + bytes(length))
        try:
            with safe_open(path, framework="numpy") as file:
                slices = {name: file.get_slice(name) for name in file.keys()}
                expected = file.metadata() or {}, {n: (s.get_dtype(), tuple(s.get_shape())) for n, s in slices.items()}
        except SafetensorError:
            with pytest.raises(ModelFileError, match=r"damaged|cut off|not a safetensors file"):
                card.read_header(path)
        else:
            metadata, tensors = card.read_header(path)
            assert (metadata, {name: (one.dtype, one.shape) for name, one in tensors.items()}) == expected, header
            taken += 1
    assert taken == 19
