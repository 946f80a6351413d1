"""Texts from files as a terminal or a panel may show them."""

import unicodedata

#: What a terminal obeys, and what reorders or hides the letters around it: control, format and separator characters,
#: and halves of surrogate pairs.
_UNSAFE = ("Cc", "Cf", "Cs", "Zl", "Zp")
_HARMLESS = "\u200c\u200d"  # joiners, which Persian and Indian scripts need


def visible(text: str, keep: str = "") -> str:
    """A text in which control characters, line breaks and marks of reading direction are shown as escapes.

    :param keep: characters that stay, line breaks for instance.
    """
    if text.isprintable():
        return text
    return "".join(c if c in keep or not is_unsafe(c) else escaped(c) for c in text)


def is_unsafe(character: str) -> bool:
    """Whether a character can change how those around it are shown."""
    return unicodedata.category(character) in _UNSAFE and character not in _HARMLESS


def escaped(character: str) -> str:
    r"""``\u202e`` and the like, which JSON reads back as the character."""
    number = ord(character)
    if number > 0xFFFF:
        number -= 0x10000
        return f"\\u{0xD800 + (number >> 10):04x}\\u{0xDC00 + (number & 0x3FF):04x}"
    return f"\\u{number:04x}"
