"""Remedies: the engine's sentences suit panel and command line, and the command line adds flags that it has."""

import argparse
import pickle
import re
from dataclasses import fields

import pytest
import remedy_texts
from sam2adapt.cli import app
from sam2adapt.cli.remedies import COMMANDS, shell_remedy
from sam2adapt.server.messages import error_of
from sam2adapt.server.methods import METHODS
from sam2adapt.shared.errors import SettingsError
from sam2adapt.shared.requests.fields import settings_of, subclasses
from sam2adapt.training.settings import TrainSettings


def commands(parser: argparse.ArgumentParser | None = None) -> dict[str, argparse.ArgumentParser]:
    """Parsers of the commands below one, by name."""
    actions = (parser or app._parser())._actions
    return {k: v for a in actions if isinstance(a, argparse._SubParsersAction) for k, v in a.choices.items()}


def flags(parser: argparse.ArgumentParser) -> set[str]:
    """Flags that a command and those below it really take, as their help says."""
    below = set().union(*(flags(child) for child in commands(parser).values())) if parser._subparsers else set()
    return below | set(re.findall(r"--[a-z][a-z-]*", parser.format_help()))


def engine_settings() -> set[str]:
    files = remedy_texts.engine_files()
    return {name for path in files for _, name in remedy_texts.settings(path.read_text(encoding="utf-8"))}


def test_no_sentence_of_the_engine_names_a_flag_or_a_command():
    said = [
        f"{path.relative_to(remedy_texts.ENGINE)}:{line} {text}"
        for path in remedy_texts.engine_files()
        for line, text in remedy_texts.sentences(path.read_text(encoding="utf-8"))
        if remedy_texts.SHELL_WORDS.search(text)
    ]
    assert said == []
    details = (remedy_texts.ENGINE / "modelfiles" / "summary.py").read_text(encoding="utf-8")  # Slicer shows them, too
    assert not remedy_texts.SHELL_WORDS.search(details)


@pytest.mark.parametrize(
    "source",
    [
        'raise SettingsError("Wrong.", "Give --base.")',
        'raise SettingsError(f"{x} in --flips is wrong.", "Mend it.")',
        '_HINT = "or use --from FILE."\nraise DownloadError("No.", _HINT)',
        'def _hint(): return "Run `sam2adapt models add FILE`."\nraise ModelNotFoundError("No.", _hint())',
        'remedy = "Go on with --resume." if epoch else "Start again."\nraise CancelledError("No.", remedy)',
        'say("Go on with --resume.")',
        'logger.warning("See the command line.")',
        'raise errors.SettingsError("Wrong.", "Decompress with gdcmconv --raw.")',
    ],
)
def test_a_flag_or_command_is_seen_wherever_it_hides(source):
    assert [text for _, text in remedy_texts.sentences(source) if remedy_texts.SHELL_WORDS.search(text)]


def test_every_setting_is_a_field_of_a_request_or_an_action():
    parameters = {name for request in subclasses() for name in settings_of(request)}
    known = parameters | {re.sub("[A-Z]", lambda letter: f"_{letter[0].lower()}", name) for name in METHODS}
    unknown = engine_settings() - known
    assert len(engine_settings()) > 25
    assert unknown == set()
    # What loop.py and record.py name at run time:
    assert {field.name for field in fields(TrainSettings)} >= {"batch_size", "axis"}


def test_every_setting_has_a_flag_or_command_that_exists():
    parsers, without = commands(), []
    taken = {command: flags(parser) for command, parser in parsers.items()}
    for name in sorted(engine_settings()):
        remedies = {c: shell_remedy(SettingsError("No.", "Mend it.", setting=name), p) for c, p in parsers.items()}
        if set(remedies.values()) == {"Mend it."}:
            without.append(name)
        for command, remedy in remedies.items():
            assert set(re.findall(r"--[a-z][a-z-]*", remedy)) <= taken[command], (name, command)
    assert without == []
    assert shell_remedy(SettingsError("No.", "Mend it.", setting="colour"), parsers["train"]) == "Mend it."


@pytest.mark.parametrize("words", COMMANDS.values(), ids=COMMANDS)
def test_the_commands_of_actions_exist(words):
    assert app._parser().parse_args(words).command == words[0]


@pytest.mark.parametrize(
    ("command", "setting", "value", "shown"),
    [
        ("train", "batch_size", None, "Mend it (--batch-size)."),
        ("train", ("size", "base"), None, "Mend it (--size, --base)."),
        ("train", "settings", None, "Mend it (--set)."),
        ("train", "download_base", "tiny", "Mend it (sam2adapt models download tiny)."),
        ("train", "any_modality", None, "Mend it."),  # train has no such flag
        ("segment", "any_modality", None, "Mend it (--any-modality)."),
        ("segment", "series", "1.2.3", "Mend it (--series 1.2.3)."),
        ("models", "source", None, "Mend it (--from)."),
        ("models", "remove_model", "my lungs@1", 'Mend it (sam2adapt models remove "my lungs@1").'),
        ("models", "add_model", None, "Mend it (sam2adapt models add FILE)."),
    ],
)
def test_a_remedy_at_the_command_line(command, setting, value, shown):
    error = SettingsError("No.", "Mend it.", setting=setting, value=value)
    assert shell_remedy(error, commands()[command]) == shown


def test_the_server_tells_settings_as_the_protocol_writes_them():
    error = SettingsError("No.", "Mend it.", setting=("max_minutes", "download_base"), value="1")
    told = error_of(error)
    assert told["message"] == "No."
    assert told["data"] == {
        "kind": "SettingsError", "remedy": "Mend it.", "setting": ["maxMinutes", "downloadBase"], "value": "1",
    }  # fmt: skip
    assert error_of(SettingsError("No.", "Mend it."))["data"] == {"kind": "SettingsError", "remedy": "Mend it."}


def test_an_error_keeps_its_setting_on_its_way_to_another_process():
    error = pickle.loads(pickle.dumps(SettingsError("No.", "Mend it.", setting="base", value="nano")))
    assert (error.message, error.remedy, error.setting, error.value) == ("No.", "Mend it.", ("base",), "nano")


def test_a_command_that_fails_prints_the_flag(tmp_path, capsys):
    for part in ("images", "labels"):
        (tmp_path / part).mkdir()
    (tmp_path / "images" / "a.nii.gz").touch()
    (tmp_path / "labels" / "a.nii.gz").touch()
    folders = ["--images", str(tmp_path / "images"), "--labels", str(tmp_path / "labels")]
    assert app.main(["train", *folders, "-o", str(tmp_path / "m.safetensors")]) == 2
    assert capsys.readouterr().err == (
        "sam2adapt: No classes are given.\n"
        'Give the label values and the names of the classes (--classes "1=right ventricle,2=myocardium").\n'
    )
