"""The page of a run: the machine, and of each section its table or in a sentence why there is none."""

from collections.abc import Iterator
from typing import Any

from . import SECTIONS
from .run import section

_STATES = {
    "skipped": "**Not measured.** {}", "unfinished": "**Not measured.** {}", "error": "**Failed.** {}",
    "cut": "**Cut short.** {}",
}  # fmt: skip


def page(result: dict[str, Any]) -> str:
    """All of it as Markdown."""
    lines = ["Made by `python Testing/benchmarks/gpu.py`; all numbers are in the JSON file beside it.", ""]
    if result["machine"]["kind"] != "cuda":
        lines += ["**No GPU was at hand: this run on a processor only shows that the script works.**", ""]
    if result["quick"]:
        lines += ["**With `--quick`: tiny slices and one round; these numbers measure nothing.**", ""]
    lines += [_machine(result), ""]
    for name in SECTIONS:
        if name in result["sections"]:
            lines += [*_section(name, result["sections"][name]), ""]
    missing = [name for name in SECTIONS if name not in result["sections"]]
    if missing:
        lines += [f"Not measured in this run: {', '.join(missing)}.", ""]
    return "\n".join(lines)


def _machine(result: dict[str, Any]) -> str:
    found = result["machine"]
    software = ", ".join(f"{name} {version}" for name, version in found["software"].items())
    words = [f"{found['device']} ({found['half'] or 'no half precision'} is the engine's choice)"]
    if gpu := found.get("gpu"):
        words.append(
            f"{gpu['memory'] / 1e9:.0f} GB, compute capability {gpu['capability']},"
            f" driver {gpu['driver'] or 'not known'}, CUDA {gpu['cuda']}, cuDNN {gpu['cudnn']}"
        )
        words.append(
            f"fp32 products in '{gpu['products']}' precision, fp32 convolutions"
            f" {'may use TF32' if gpu['tf32_convolutions'] else 'without TF32'}, as PyTorch sets them"
        )
    words.append(f"{found['processor']}, {found['cores']} cores, {found['threads']} threads")
    words.append(f"Python {found['python']}, {software}; commit {found['commit'] or 'not known'}")
    words.append(f"{found['time']}; load before {found['load']}")
    return "; ".join([*words, f"{result['minutes']} minutes"])


def _section(name: str, entry: dict[str, Any]) -> Iterator[str]:
    module = section(name)
    yield f"## {module.TITLE}"
    yield ""
    for state, words in _STATES.items():
        if state in entry:
            yield words.format(entry[state])
            yield ""
    if "rows" in entry or "first" in entry:
        yield from _table(name, entry)


def _table(name: str, entry: dict[str, Any]) -> list[str]:
    """The section's own lines; of half a section they may be impossible, and the page must not be lost for that."""
    try:
        return list(section(name).lines(entry))
    except Exception as error:
        return [f"The table could not be made ({type(error).__name__}: {error}); the numbers are in the JSON file."]
