"""Cards with a right digest that ask for what is not possible: each is a model-file error, at once."""

import json

import pytest
from example_models import card
from model_files import nested, rewritten
from sam2adapt.modelfiles.card import read_card, read_verified_card
from sam2adapt.modelfiles.summary import describe_card
from sam2adapt.segmenting.model import load_model
from sam2adapt.server import methods
from sam2adapt.server.messages import encode
from sam2adapt.server.task import Task
from sam2adapt.server.warm_models import WarmModels
from sam2adapt.shared.errors import ModelFileError, SettingsError, VolumeError


def of(changed: dict) -> str:
    path = changed.pop("path")
    with pytest.raises(ModelFileError) as caught:
        read_card(path)
    return caught.value.message


@pytest.mark.parametrize(
    ("change", "word"),
    [
        (lambda card: card["slices"].update(normalization={"kind": "range", "low": 0, "high": 10**399}), "64 bits"),
        (lambda card: card["slices"].update(normalization={"kind": "range", "low": 0, "high": 1e13}), "maximum"),
        (lambda card: card["slices"].update(normalization={"kind": "range", "low": 0, "high": 1e-300}), "below 'high'"),
        (lambda card: card["slices"].update(spacing=[1e-6, 1e-6]), "minimum"),
        (lambda card: card["slices"].update(spacing=[1000, 1000]), "maximum"),
        (lambda card: card["training"].update(seed=1 << 63), "64 bits"),
        (lambda card: card["training"].update(seed=10**5000), "not readable JSON"),
        (lambda card: card["training"]["settings"].update(deep=nested(40)), "nested too deeply"),
        (lambda card: card["training"]["settings"].update(deep=nested(490)), "nested too deeply"),
        (lambda card: card["training"]["split"].update(more=3), "training.split.more"),
        (lambda card: card["postprocessing"].update(minimum_ml=1e300), "maximum"),
        (lambda card: card.update(description="x" * 30_000), "too long"),
        (lambda card: card.update(metrics={"subset": "", "dice": {"mean": 0}, "cases": [3]}), "metrics.cases"),
    ],
)  # fmt: skip
def test_numbers_that_no_model_has_are_refused(change, word, bundle_file):
    rewritten(bundle_file, bundle_file, change)
    assert word in of({"path": bundle_file})


@pytest.mark.parametrize(
    "settings",
    [{"rank": "four"}, {"rank": True}, {"rank": 10**9}, {"rank": 1 << 19}, {"alpha": 1e300}, {"encoder": [[1]]},
     {"dropout": None}, {"no_such": 1}, {"rank": 2, "encoder": 7}],
    ids=str,
)  # fmt: skip
def test_settings_of_no_network_are_a_fault_of_the_file(settings, bundle_file):
    rewritten(bundle_file, bundle_file, lambda card: card.update(method={"name": "lora", "settings": settings}))
    read_verified_card(bundle_file)
    with pytest.raises(ModelFileError) as caught:
        load_model(bundle_file)
    assert str(bundle_file) in caught.value.message or "do not fit" in caught.value.message


def test_an_answer_that_cannot_be_encoded_is_an_error_and_not_the_end(bundle_file):
    rewritten(bundle_file, bundle_file, lambda card: card["training"]["settings"].update(deep=nested(25)))
    answer = methods.call(WarmModels(), Task(1, "modelDetails", {"name": str(bundle_file)}, lambda *_: None))
    assert json.loads(encode({"id": 1, "result": answer}))["result"]["kind"] == "model"


def test_a_volume_that_would_be_too_large_on_the_models_grid_is_refused(make_model):
    from engine_fixtures import blobs
    from sam2adapt.segmenting.predict import segment

    model = make_model(slices={"spacing": [1e-5, 1e-5], "size": None})
    with pytest.raises(VolumeError, match="8,388,608 pixels are the most"):
        segment(blobs(), model)


def test_tiny_slices_come_in_batches_of_what_the_network_pads_them_to(make_model):
    from engine_fixtures import blobs
    from sam2adapt.segmenting.predict import Options, _batch_size
    from sam2adapt.segmenting.slices import SliceStack

    model = make_model(slices={"spacing": [100, 100], "size": None})
    stack = SliceStack(blobs(), model.slices)
    assert stack.size == (1, 1) and _batch_size(stack, model, Options()) == 8 * 256 * 256 // 32**2


@pytest.mark.parametrize("mark", ["\x1b[31m", "\u202e", "\u2066", "\x9b", "\r", "\x07", "\u2028"])
def test_nothing_in_a_card_moves_the_cursor(mark):
    nasty = card(description=f"one{mark}\ntwo", license=mark, training__data={mark: mark})
    nasty["classes"][0]["terminology"] = f"a~b~SCT^1^{mark}~~"
    lines = describe_card(nasty, {})
    assert not any(mark in line or "\n" in line for line in lines) and "two" in lines
    assert all(line.isprintable() for line in lines)


def test_settings_from_people_are_refused_with_the_type_that_is_needed():
    from sam2adapt import adapters

    with pytest.raises(SettingsError, match=r"'rank' of method 'lora' cannot be 'four'\. Give a whole number\."):
        adapters.create("lora", {"rank": "four"})
    assert adapters.create("lora", {"encoder": "qkv", "alpha": None, "rank": 4}).rank == 4
