"""Texts from files as a terminal may show them."""

import json

import pytest
from sam2adapt.shared.safety.texts import escaped, visible


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain, Müller Ω 肝", None), ("👩\u200d⚕️", None), ("\x1b[31mred", "\\u001b[31mred"), ("a\rb", "a\\u000db"),
        ("\u202etxt.exe", "\\u202etxt.exe"), ("\x9b5m", "\\u009b5m"), ("a\nb", "a\\u000ab"), ("\udcff", "\\udcff"),
        ("\u2028\u2029\u200e\u061c\ufeff", "\\u2028\\u2029\\u200e\\u061c\\ufeff"),
    ],
)  # fmt: skip
def test_visible(text, shown):
    assert visible(text) == (shown or text)


def test_escapes_are_those_of_json():
    for character in "\x1b\u202e\U000e0041":
        assert json.loads(f'"{escaped(character)}"') == character
    assert visible("a\nb\x1b", "\n") == "a\nb\\u001b"
