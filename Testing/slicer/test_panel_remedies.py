"""Remedies of the engine in the panels: each names controls that the panels have."""

import ast
import re
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
import remedy_texts
from sam2adapt.shared.errors import SettingsError
from sam2adapt.shared.requests.schema import schema

REPOSITORY = Path(__file__).resolve().parents[2]

LIBRARY = REPOSITORY / "SAM2Adapt" / "SAM2AdaptLib"
# Files of the engine whose errors only a command line shows.
SHELL_ONLY = {"cli/segment.py", "cli/remedies.py", "cli/options.py", "requests/evaluate.py"}
# What no panel sets: it writes the groups of cases, the format of results, and the masks of a correction itself,
# declares no slices of a file empty, and shows no series of a folder.
WITHOUT_CONTROL = {"groups", "series", "format", "reference", "empty", "masks"}
# Settings of Slicer's side alone: the protocol does not know where the engine is.
OF_THE_PANELS = {"engineOn"}


def camelCase(name):
    return re.sub("_([a-z])", lambda letter: letter[1].upper(), name)


def shownTexts():
    """Texts of all controls, from the .ui files and from code."""
    texts = set()
    for path in REPOSITORY.glob("SAM2Adapt*/Resources/UI/*.ui"):
        texts |= {(element.text or "").rstrip(":") for element in ET.parse(path).iter("string")}
    for path in LIBRARY.rglob("*.py"):
        if path.name == "Error.py":
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "_":
                texts.add(node.args[0].value)
    return texts


def test_every_setting_that_reaches_a_panel_has_a_control(lib):
    used = {
        camelCase(name)
        for path in remedy_texts.engine_files()
        if remedy_texts.in_engine(path) not in SHELL_ONLY
        for _, name in remedy_texts.settings(path.read_text(encoding="utf-8"))
    }
    assert len(used) > 25
    assert used - lib.Error.controlNames().keys() == WITHOUT_CONTROL


def test_the_table_holds_words_of_the_protocol_only(lib):
    methods = schema()["$defs"]
    known = methods.keys() | {name for method in methods.values() for name in method.get("properties", {})}
    assert lib.Error.controlNames().keys() - known == OF_THE_PANELS


def test_the_controls_exist(lib):
    texts = shownTexts()
    named = {label for words in lib.Error.controlNames().values() for label in re.findall("“(.+?)”", words)}
    assert len(named) > 20
    missing = {label for label in named if not any(text == label or text.startswith(f"{label}:") for text in texts)}
    assert missing == set()


@pytest.mark.parametrize(
    ("setting", "shown"),
    [
        (["batchSize"], "Mend it (“Batch size”)."),
        (["size", "base"], "Mend it (“Image size”, “Base network”)."),
        (["images", "labels"], "Mend it (“Cases”)."),
        (["groups"], "Mend it."),
        (["ofALaterVersion"], "Mend it."),
        ([], "Mend it."),
    ],
)
def test_a_remedy_in_a_panel(setting, shown, lib):
    assert lib.Error.remedyInPanel("Mend it.", setting) == shown


def test_an_error_of_a_shared_part_of_the_engine_names_the_control(lib):
    error = lib.Error.fromUserError(SettingsError("Wrong.", "Mend it.", setting=("batch_size", "device")))
    assert (error.kind, error.remedy) == ("SettingsError", "Mend it (“Batch size”, “Device”).")
    assert error.setting == ("batchSize", "device")
