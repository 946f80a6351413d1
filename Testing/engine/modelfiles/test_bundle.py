"""Model files: written and read back exactly, and every fault told in a sentence."""

import contextlib
import errno
import json
import os
import pickle
import stat
import sys

import pytest
import torch
from example_models import card, tensors, write_base, write_model, write_raw
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors import safe_open
from sam2adapt.modelfiles.bundle import read_bundle, read_card, validate_card, write_bundle
from sam2adapt.modelfiles.card import read_base_card
from sam2adapt.shared import files
from sam2adapt.shared.errors import InputFileError, ModelFileError, OutputError, UserError


def resave(path, new_card: dict):
    """Write a card into a model file as an outsider would: digest not renewed, tensors kept."""
    return write_raw(path, {"sam2adapt": json.dumps(new_card)})


def fails(path, pattern: str, read=read_card) -> ModelFileError:
    with pytest.raises(ModelFileError, match=pattern) as caught:
        read(path)
    assert str(path) in caught.value.message
    assert caught.value.remedy.endswith(".")
    return caught.value


# What is written comes back


def test_round_trip(tmp_path):
    path = tmp_path / "modèle.safetensors"
    written = write_bundle(path, card(), tensors())
    bundle = read_bundle(path)
    assert bundle.card == written == read_card(path)
    assert {key: value for key, value in written.items() if key != "digest"} == card()
    assert bundle.path == path
    assert bundle.tensors.keys() == tensors().keys()
    for name, tensor in tensors().items():
        assert bundle.tensors[name].dtype == tensor.dtype
        assert torch.equal(bundle.tensors[name], tensor)


def test_metadata_has_one_entry_and_nothing_else_is_in_the_folder(tmp_path):
    path = write_model(tmp_path / "m.safetensors")
    with safe_open(path, "pt") as file:
        assert list(file.metadata()) == ["sam2adapt"]
    assert os.listdir(tmp_path) == ["m.safetensors"]


def test_tensors_that_share_memory_or_need_gradients_are_written(tmp_path):
    weight = torch.randn(4, 6, requires_grad=True)
    write_bundle(tmp_path / "m.safetensors", card(), {"a": weight, "b": weight[:, ::2], "c": weight.t()})
    read = read_bundle(tmp_path / "m.safetensors").tensors
    assert torch.equal(read["b"], weight[:, ::2])
    assert torch.equal(read["c"], weight.t())


def test_digest_depends_on_card_names_shapes_kinds_and_bytes(tmp_path):
    base = {"x": torch.zeros(2, 2), "y": torch.ones(4)}
    variants = [
        (card(), base),
        (card(version="1.0.1"), base),
        (card(), {"x": torch.zeros(4), "y": torch.ones(4)}),
        (card(), {"x": torch.zeros(2, 2, dtype=torch.int32), "y": torch.ones(4)}),
        (card(), {"y": torch.zeros(2, 2), "x": torch.ones(4)}),
        (card(), {"x": torch.zeros(2, 2), "y": torch.tensor([1.0, 1.0, 1.0, 1.5])}),
    ]
    digests = [write_bundle(tmp_path / "m.safetensors", c, t)["digest"] for c, t in variants]
    assert len(set(digests)) == len(digests)
    again = write_bundle(tmp_path / "n.safetensors", card(digest="sha256:" + "0" * 64), dict(reversed(base.items())))
    assert again["digest"] == digests[0]


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX permissions")
def test_others_may_read_a_model(tmp_path):
    old = os.umask(0o022)
    try:
        path = write_model(tmp_path / "m.safetensors")
    finally:
        os.umask(old)
    assert stat.S_IMODE(path.stat().st_mode) == 0o644


# Files that are no model


def test_missing_file_and_folder(tmp_path):
    with pytest.raises(InputFileError, match="does not exist"):
        read_card(tmp_path / "no.safetensors")
    with pytest.raises(InputFileError, match="is a folder"):
        read_card(tmp_path)


@pytest.mark.parametrize("data", [b"", b"short", b"PNG is not what this is, really", b"\0" * 100])
def test_not_safetensors(tmp_path, data):
    path = tmp_path / "m.safetensors"
    path.write_bytes(data)
    fails(path, "not a safetensors file")


class Bomb:
    exploded = False

    def __reduce__(self):
        return (setattr, (Bomb, "exploded", True))


def test_pickle_is_never_unpickled(tmp_path):
    path = tmp_path / "m.safetensors"
    torch.save({"model": Bomb()}, path)
    fails(path, "pickle", read_bundle)
    path.write_bytes(pickle.dumps(Bomb(), protocol=2))
    fails(path, "pickle", read_bundle)
    path.write_bytes(pickle.dumps(Bomb(), protocol=4))
    fails(path, "not a safetensors file|pickle", read_bundle)
    assert not Bomb.exploded


def test_huge_header_length(tmp_path):
    path = tmp_path / "m.safetensors"
    path.write_bytes((1 << 62).to_bytes(8, "little") + b'{"a": 1}' * 10)
    fails(path, "header claims")


@pytest.mark.parametrize("keep", [20, 300])
def test_truncated_header(tmp_path, keep):
    path = write_model(tmp_path / "m.safetensors")
    path.write_bytes(path.read_bytes()[:keep])
    fails(path, "cut off inside its header")


def test_truncated_body(tmp_path):
    path = write_model(tmp_path / "m.safetensors")
    data = path.read_bytes()
    path.write_bytes(data[:-3])
    fails(path, f"cut off: it has {len(data) - 3} of {len(data)} bytes")


def test_bytes_after_the_end(tmp_path):
    path = write_model(tmp_path / "m.safetensors")
    path.write_bytes(path.read_bytes() + b"more")
    fails(path, "damaged")


def test_foreign_file_and_base_weights(tmp_path):
    fails(write_raw(tmp_path / "foreign.safetensors", None), "not made by SAM2Adapt")
    fails(write_raw(tmp_path / "other.safetensors", {"format": "pt"}), "not made by SAM2Adapt")
    fails(write_base(tmp_path / "nano.safetensors"), "holds base weights")
    fails(write_model(tmp_path / "m.safetensors"), "holds a model", read_base_card)


@pytest.mark.parametrize("text", ["", "{", "not json", '{"name": NaN}', '{"a": 1, "a": 2}', "[" * 100_000])
def test_broken_json(tmp_path, text):
    fails(write_raw(tmp_path / "m.safetensors", {"sam2adapt": text}), "not readable JSON")


@pytest.mark.parametrize("text", ["[]", "null", "3", '"text"'])
def test_card_that_is_no_object(tmp_path, text):
    fails(write_raw(tmp_path / "m.safetensors", {"sam2adapt": text}), "is not of type 'object'")


@pytest.mark.parametrize("base_card", ["[]", "{}", '{"format": "sam2adapt-base", "id": "../x"}'])
def test_base_card_that_is_not_valid(tmp_path, base_card):
    fails(write_raw(tmp_path / "b.safetensors", {"sam2adapt_base": base_card}), "not valid", read_base_card)


# Versions and tampering


def test_newer_version_says_what_to_install(tmp_path):
    newer = card(schema_version=2, training__software={"sam2adapt": "3.1.4"}, digest="new", extra=[1])
    error = fails(resave(tmp_path / "m.safetensors", newer), r"written by SAM2Adapt 3\.1\.4")
    assert "3.1.4" in error.remedy
    newer["training"] = "moved"
    error = fails(resave(tmp_path / "m.safetensors", newer), "a newer SAM2Adapt")
    assert error.remedy == "Update SAM2Adapt."


def test_older_or_strange_version_is_refused(tmp_path):
    for version in (0, "1", 1.5, None, True):
        fails(resave(tmp_path / "m.safetensors", card(schema_version=version)), "schema_version|digest")


def test_tampered_tensor(tmp_path):
    path = write_model(tmp_path / "m.safetensors")
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    assert read_card(path)["name"] == "torso CT"
    fails(path, "changed after it was made", read_bundle)


def test_tampered_card(tmp_path):
    path = write_model(tmp_path / "m.safetensors")
    data = path.read_bytes()
    path.write_bytes(data.replace(b"0.9375", b"0.9975"))
    fails(path, "changed after it was made", read_bundle)


def test_card_without_digest(tmp_path):
    fails(resave(tmp_path / "m.safetensors", card()), "'digest' is missing")


def test_not_finite_tensors(tmp_path):
    path = tmp_path / "m.safetensors"
    for bad in (float("nan"), float("inf")):
        for kind in (torch.float32, torch.float16, torch.bfloat16, torch.float8_e5m2):
            with pytest.raises(ModelFileError, match="'w' holds NaN or infinite"):
                write_bundle(path, card(), {"w": torch.tensor([1.0, bad]).to(kind)})
    assert not path.exists()


def test_not_finite_tensors_in_a_file(tmp_path, monkeypatch):
    path = tmp_path / "m.safetensors"
    with monkeypatch.context() as patch:
        patch.setattr("sam2adapt.modelfiles.bundle._not_finite", lambda tensors: None)
        write_bundle(path, card(), {"w": torch.tensor([1.0, float("nan")])})
    fails(path, "in tensor 'w'", read_bundle)


@given(position=st.integers(0, 10**6), value=st.integers(1, 255), length=st.integers(0, 10**6))
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_damage_is_a_user_error(tmp_path, position, value, length):
    """One byte changed anywhere, or the file cut anywhere, is refused, or (padding) changes nothing that is read."""
    path = write_model(tmp_path / "m.safetensors")
    whole = path.read_bytes()
    original = read_card(path)
    changed = bytearray(whole)
    changed[position % len(whole)] ^= value
    path.write_bytes(changed)
    with contextlib.suppress(UserError):
        assert read_bundle(path).card == original
    path.write_bytes(whole[: length % len(whole)])
    with pytest.raises(UserError):
        read_bundle(path)


# Cards


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"surprise": 1}, "surprise"),
        ({"format": "other"}, "format"),
        ({"name": ""}, "name"),
        ({"name": "../../evil"}, "name"),
        ({"name": ".hidden"}, "name"),
        ({"name": "a@b"}, "name"),
        ({"name": "two\nlines"}, "two.nlines"),
        ({"version": ""}, "version"),
        ({"license": ""}, "license"),
        ({"created": "yesterday"}, "created"),
        ({"created": "2026-13-45T00:00:00Z"}, "created"),
        ({"created": "2026-01-01T00:00:00+02:00"}, "created"),
        ({"parent": "sha256:xyz"}, "parent"),
        ({"digest": "md5:0"}, "digest"),
        ({"method__name": "Dual LW"}, "method.name"),
        ({"method__more": 1}, "method"),
        ({"base__sha256": "A" * 64}, "base.sha256"),
        ({"classes": []}, "classes"),
        ({"classes__extra": 0}, None),
        ({"modality": "US"}, "modality"),
        ({"slices__orientation": "LLS"}, "slices.orientation"),
        ({"slices__axis": "oblique"}, "slices.axis"),
        ({"slices__spacing": [1.0]}, "slices.spacing"),
        ({"slices__spacing": [1.0, 0.0]}, "slices.spacing"),
        ({"slices__spacing": None}, "slices.size"),
        ({"slices__context": 2}, "slices.context"),
        ({"slices__normalization__low": 500}, "slices.normalization.low"),
        ({"slices__normalization": {"kind": "percentile", "low": 1, "high": 101}}, "slices.normalization"),
        ({"network__peg": "maybe"}, "network.peg"),
        ({"network__train_upscaling": "yes"}, "network.train_upscaling"),
        ({"postprocessing__minimum_ml": -1}, "postprocessing.minimum_ml"),
        ({"postprocessing__fill_holes": [2]}, "postprocessing.fill_holes"),
        ({"postprocessing__largest_together": [1, 2]}, "postprocessing.largest_together"),
        ({"training__split": {"train": []}}, "training.split"),
        ({"training__minutes": float("nan")}, "training.minutes"),
        ({"training__settings": {"deep": [1, {"x": float("inf")}]}}, r"training.settings.deep\[1\].x"),
        ({"metrics__dice__mean": 1.5}, "metrics"),
        ({"metrics": {"dice": {"mean": 1}}}, "metrics"),
        ({"description": "\ud800"}, "characters"),
    ],
)
def test_wrong_field_is_named(changes, field):
    if field is None:
        wrong = card()
        wrong["classes"][0]["extra"] = 0
        field = r"classes\[0\]"
    else:
        wrong = card(**changes)
    with pytest.raises(ModelFileError, match=field):
        validate_card(wrong)


@pytest.mark.parametrize("field", [key for key in card() if key != "metrics"])
def test_missing_field_is_named(field):
    wrong = card()
    del wrong[field]
    with pytest.raises(ModelFileError, match=f"'{field}' is a required property"):
        validate_card(wrong)


@pytest.mark.parametrize(
    ("index", "entry", "problem"),
    [
        (1, {"id": 1}, "same id"),
        (1, {"name": "Right Lung"}, "same name"),
        (0, {"id": 0}, r"classes\[0\].id"),
        (0, {"id": 256}, r"classes\[0\].id"),
        (0, {"name": " lung"}, "spaces at its ends"),
        (0, {"color": [0, 0, 255]}, r"classes\[0\].color"),
    ],
)
def test_wrong_classes(index, entry, problem):
    wrong = card(postprocessing={"largest_component": [], "fill_holes": [], "minimum_ml": 0})
    wrong["classes"][index] |= entry
    with pytest.raises(ModelFileError, match=problem):
        validate_card(wrong)


def test_valid_cards():
    validate_card(card())
    validate_card(card(metrics=None, training__minutes=None, slices__spacing=None, slices__size=256))
    validate_card(card(created="2026-11-21T08:00:00Z", parent="sha256:" + "0" * 64, slices__orientation="SRA"))
    validate_card(card(slices__spacing=(1, 2), method__settings={"places": ("a", "b")}))


def test_read_checks_the_schema(tmp_path):
    fails(resave(tmp_path / "m.safetensors", card(modality="US")), "'modality'.*'US' is not one of")


# Writing fails cleanly


def test_wrong_suffix_or_nothing_to_write(tmp_path):
    with pytest.raises(OutputError, match="not a name for a model"):
        write_bundle(tmp_path / "m.pt", card(), tensors())
    with pytest.raises(ModelFileError, match="no trained tensor"):
        write_bundle(tmp_path / "m.safetensors", card(), {})


def test_missing_folder(tmp_path):
    with pytest.raises(OutputError, match="does not exist"):
        write_bundle(tmp_path / "no" / "m.safetensors", card(), tensors())


def test_target_that_is_a_folder(tmp_path):
    (tmp_path / "m.safetensors").mkdir()
    with pytest.raises(OutputError, match="cannot be written"):
        write_bundle(tmp_path / "m.safetensors", card(), tensors())
    assert os.listdir(tmp_path) == ["m.safetensors"]


@pytest.mark.parametrize("step", ["fsync", "replace"])
@pytest.mark.parametrize(("number", "words"), [(errno.ENOSPC, "disk is full"), (errno.EACCES, "cannot be written")])
def test_failure_while_writing_keeps_the_old_file(tmp_path, monkeypatch, step, number, words):
    path = write_model(tmp_path / "m.safetensors")
    before = path.read_bytes()

    def fail(*args):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(files.os, step, fail)
    with pytest.raises(OutputError, match=words):
        write_model(path, version="2")
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == ["m.safetensors"]
