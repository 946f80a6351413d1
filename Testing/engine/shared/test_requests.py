"""The requests: one description of each setting, from which command line, protocol, validation and panels take it."""

import argparse
import dataclasses
import json
import re
import subprocess
import sys
from pathlib import Path

import jsonschema
import pytest
import sam2adapt
from sam2adapt import adapters
from sam2adapt.cli import app
from sam2adapt.cli.options import flags_of
from sam2adapt.network.base import CONFIGS
from sam2adapt.server.methods import METHODS as DONE
from sam2adapt.shared import known_bases, presets, protocol, slicing_axis
from sam2adapt.shared.errors import SettingsError
from sam2adapt.shared.requests.actions import (
    MODALITIES,
    Evaluate,
    Fill,
    Rank,
    Segment,
    SegmentBatch,
    Train,
)
from sam2adapt.shared.requests.fields import SERVER, SHELL, default_of, is_required, key_of, settings_of, subclasses
from sam2adapt.shared.requests.model_actions import AddModel, DescribeModel, DownloadBase, RemoveModel
from sam2adapt.shared.requests.report_actions import Report
from sam2adapt.shared.requests.schema import METHODS, schema
from sam2adapt.training.settings import TrainSettings
from serve_client import Client

COMMANDS = {
    Segment: ("segment",), SegmentBatch: ("segment",), Train: ("train",), Evaluate: ("evaluate",), Rank: ("rank",),
    AddModel: ("models", "add"), RemoveModel: ("models", "remove"), DownloadBase: ("models", "download"),
    DescribeModel: ("info",), Fill: ("fill",), Report: ("report",),
}  # fmt: skip


def options(words: tuple[str, ...]) -> dict[str, argparse.Action]:
    """The arguments of a command by flag; of a positional one by its name."""
    parser = app._parser()
    for word in words:
        below = next(action for action in parser._actions if isinstance(action, argparse._SubParsersAction))
        parser = below.choices[word]
    return {flag: action for action in parser._actions for flag in action.option_strings or [action.dest]}


@pytest.fixture(scope="module")
def server():
    with Client() as client:
        client.receive()
        yield client


def test_every_field_has_a_flag_or_says_that_the_server_alone_has_it():
    missing = []
    for request, words in COMMANDS.items():
        known = options(words)
        for name, one in settings_of(request, SHELL).items():
            if not known.keys() & {*flags_of(name, one), *([name] if one.positional else [])}:
                missing.append((request.__name__, name))
    assert missing == []
    without = {request for request in subclasses() if settings_of(request, SHELL)} - COMMANDS.keys()
    assert {request.__name__ for request in without} <= {"RankVolume", "_Segmenting", "_Ranking"}


def test_a_command_has_no_option_beside_the_fields_of_its_requests():
    for words in set(COMMANDS.values()):
        requests = [request for request, command in COMMANDS.items() if command == words]
        fields = {name for request in requests for name in settings_of(request, SHELL)}
        extra = {action.dest for action in options(words).values()} - fields - {"help", "json"}
        assert extra == set(), words


def test_help_of_options_is_that_of_their_fields():
    for request, words in COMMANDS.items():
        shown = {action.dest: action for action in options(words).values()}
        for name, one in settings_of(request, SHELL).items():
            if name in shown and not (request is Segment and name in settings_of(SegmentBatch)):
                required, default = is_required(request, name), default_of(request, name)
                hidden = required or default in (None, False, "", [], {})
                stated = "" if hidden else f" (default: {str(default).removesuffix('.0')})"
                assert shown[name].help == (one.help and one.help + stated), (words, name)
                assert shown[name].default in ([None] if required or one.kind in ("settings", "slices") else [default])


def test_the_schema_is_valid_and_has_each_method_once():
    found = schema()
    jsonschema.Draft202012Validator.check_schema(found)
    assert METHODS.keys() - DONE.keys() == {protocol.CANCEL, protocol.CONTROL, protocol.SHUTDOWN}
    assert DONE.keys() <= METHODS.keys()
    assert found["$defs"]["estimate"] == {"$ref": "#/$defs/train"}
    printed = subprocess.check_output([sys.executable, "-m", "sam2adapt.shared.requests.schema"], encoding="utf-8")
    assert json.loads(printed) == found
    text = json.dumps(found)
    assert set(re.findall(r"#/\$defs/(\w+)", text)) <= found["$defs"].keys()


def test_what_the_schema_says_of_a_field_is_what_the_field_says():
    definitions = schema()["$defs"]
    for method, request in METHODS.items():
        if "properties" not in (definition := definitions[method]):
            continue
        fields = settings_of(request, SERVER)
        assert list(definition["properties"]) == [key_of(name, one) for name, one in fields.items()]
        assert definition["additionalProperties"] is False
        for name, one in fields.items():
            written = definition["properties"][key_of(name, one)]
            assert (written.get("minimum"), written.get("exclusiveMinimum")) == (one.minimum, one.above), name
            assert (written.get("maximum"), written.get("exclusiveMaximum")) == (one.maximum, one.below), name
            assert (key_of(name, one) in definition.get("required", [])) == is_required(request, name)


def limits() -> list[tuple[type, str, object]]:
    """Values of numbers and choices just outside their limits."""
    found = []
    for request in (Train, Rank, Segment, SegmentBatch, Evaluate, Fill):
        for name, one in settings_of(request).items():
            step = 1 if one.kind == "integer" else 0.5
            values = [one.minimum - step] if one.minimum is not None else []
            values += [one.maximum + step] if one.maximum is not None else []
            values += [value for value in (one.above, one.below) if value is not None]
            values += [float("nan")] if one.kind == "number" else []
            values += [["neither"] if one.kind == "names" else "neither"] if one.choices else []
            found += [(request, name, value) for value in values]
    return found


def given(request: type, **more) -> dict:
    required = {name: "a" for name in settings_of(request) if is_required(request, name)}
    return {**required, **more}


def test_a_value_outside_its_limits_is_no_request():
    told = limits()
    assert len(told) > 40
    for request, name, value in told:
        with pytest.raises(SettingsError) as caught:
            request(**given(request, **{name: value}))
        assert caught.value.setting == (name,)
        if isinstance(value, int | float):
            assert f"'{name.replace('_', ' ')}' cannot be {value}" in caught.value.message
        assert request(**given(request))


@pytest.mark.parametrize(
    ("name", "value", "sentence"),
    [
        ("epochs", 0, "'epochs' cannot be 0: it must be at least 1."),
        ("max_minutes", 0.0, "'max minutes' cannot be 0.0: it must be above 0."),
        ("scale", 1.0, "'scale' cannot be 1.0: it must be at least 0 and below 1."),
        ("modality", "US", "There is no modality 'US'."),
        ("flips", ["diagonal"], "There is no axis to mirror along 'diagonal'."),
        ("preset", "slow", "There is no preset 'slow'."),
    ],
)
def test_the_sentence_is_the_same_at_the_command_line_and_from_the_server(name, value, sentence, server, capsys):
    text = ",".join(value) if isinstance(value, list) else str(value)
    status = app.main(["train", "--images", "/a", "-o", "/b.safetensors", f"--{name.replace('_', '-')}", text])
    assert status == 2
    message, remedy = capsys.readouterr().err.splitlines()
    one = settings_of(Train)[name]
    error = server.error("train", images="/a", output="/b.safetensors", **{key_of(name, one): value})
    assert (error["code"], error["data"]["kind"]) == (1, "SettingsError")
    assert message == f"sam2adapt: {error['message']}" == f"sam2adapt: {sentence}"
    assert error["data"]["setting"] == [key_of(name, one)]
    assert remedy == f"{error['data']['remedy'].removesuffix('.')} (--{name.replace('_', '-')})."


def test_preset_and_method_do_not_go_together():
    with pytest.raises(SettingsError) as caught:
        Train(**given(Train, preset="nano", method="lora"))
    assert caught.value.setting == ("preset", "method")


def test_defaults_of_a_training_are_those_of_the_request():
    """What the rooms below do by themselves, console and tests included, is what command line and panel promise."""
    same = {field.name for field in dataclasses.fields(TrainSettings)} & settings_of(Train).keys() - {"learning_rate"}
    assert len(same) > 15
    assert {name: getattr(TrainSettings(), name) for name in same} == {n: default_of(Train, n) for n in same}


def test_facts_are_those_of_the_rooms_below():
    assert tuple(adapters.METHODS) == presets.METHODS
    assert presets.METHOD in presets.METHODS
    assert {preset.base for preset in presets.PRESETS.values()} <= set(known_bases.NAMES)
    assert {preset.method for preset in presets.PRESETS.values()} <= set(presets.METHODS)
    assert slicing_axis.ENDS.keys() == slicing_axis.NUMBERS.keys()
    assert set(CONFIGS) == set(known_bases.NAMES)
    card = json.loads((Path(sam2adapt.__file__).parent / "modelfiles/schemas/bundle.schema.json").read_text("utf-8"))
    assert card["properties"]["network"]["properties"]["peg"]["enum"] == list(presets.PEG_MODES)
    assert card["properties"]["slices"]["properties"]["axis"]["enum"] == list(slicing_axis.AXES)
    assert card["properties"]["modality"]["enum"] == list(MODALITIES)


def test_whole_numbers_of_json_are_whole_numbers():
    """JSON schema takes 2.0 for an integer; Python's range does not."""
    request = Train.from_params({"images": "/a", "output": "/b", "epochs": 2.0, "size": None})
    assert isinstance(request.epochs, int) and request.epochs == 2 and request.size is None


@pytest.mark.parametrize(
    "words", [["--help"], ["train", "--help"], ["fill", "--help"], ["segment", "--help"], ["models", "download", "-h"]]
)
def test_help_comes_without_torch_and_without_the_libraries_of_images(words):
    code = (
        "import sys\nfrom sam2adapt.cli.app import main\n"
        f"try: main({words!r})\nexcept SystemExit: pass\n"
        "print(*({'torch', 'SimpleITK', 'monai'} & sys.modules.keys()), 'end', file=sys.stderr)"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, encoding="utf-8", check=True)
    assert result.stderr.split() == ["end"]
