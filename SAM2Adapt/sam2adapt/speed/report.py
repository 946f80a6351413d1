"""A run's numbers as Markdown."""

from collections.abc import Iterator
from typing import Any

from .targets import share_of_product


def markdown(result: dict[str, Any]) -> str:
    """All tables of a run."""
    lines = [_machine(result), ""]
    for name, write in _SECTIONS.items():
        if name in result:
            lines += [*write(result[name]), ""]
    return "\n".join([*lines, *_targets(result["targets"]), ""])


def _machine(result: dict[str, Any]) -> str:
    found = result["machine"]
    software = ", ".join(f"{name} {version}" for name, version in found["software"].items())
    return (
        f"{found['processor']}, {found['cores']} cores, {found['threads']} threads, {found['device']}"
        f" ({found['half'] or 'no half precision'}); {software}; commit {found['commit']}; {found['time']}; load before"
        f" {found['load']}, after {found['load_after']}; {result['rounds']} rounds, {result['minutes']} minutes"
    )


def _network(section: dict[str, Any]) -> Iterator[str]:
    products = section["products"]
    rates = ", ".join(f"{name} {product['gflops']:.0f} GFLOP/s" for name, product in products.items())
    yield f"**Network alone**, {section['slices']}, {section['classes']} classes; matrix product: {rates}"
    yield ""
    yield from _table(
        ["network", "side", "parameters", "GMAC", "batch 1, ms", "best batch", "ms a slice", "of product"],
        _pairs(section["rows"], products),
    )
    yield ""
    yield from (f"{name}: {about}." for name, about in section["peers"].items())


def _pairs(rows: list[dict], products: dict[str, dict]) -> Iterator[list[str]]:
    """One line for each network, form and side: with single slices, and with the best batch."""
    lines: dict[tuple, dict[bool, dict]] = {}
    for row in rows:
        key = (row["side"], row["network"], row["variant"], row["form"], row["arithmetic"])
        lines.setdefault(key, {})[row["best"]] = row
    for (side, network, variant, form, arithmetic), pair in sorted(lines.items(), key=lambda line: line[0][0]):
        any_row = next(iter(pair.values()))
        name = " ".join(filter(None, (network, variant, form, arithmetic)))
        fastest = pair.get(True, any_row)
        share = share_of_product(fastest, products[arithmetic]).of_medians
        yield [
            name, str(side), f"{any_row['parameters'] / 1e6:.2f} M", f"{any_row['gmac']:.2f}",
            f"{pair[False]['seconds'] * 1000:.1f}" if False in pair else "",
            str(pair[True]["batch"]) if True in pair else "",
            f"{pair[True]['seconds'] * 1000:.1f}" if True in pair else "", f"{share:.0%}",
        ]  # fmt: skip


def _targets(found: list[dict[str, Any]]) -> Iterator[str]:
    if not found:
        return
    yield "**Targets**; of the ratio of medians and the median of the rounds' ratios the less favourable one counts"
    yield ""
    rows = (
        [target["subject"], target["claim"], _number(target, "measured"), f"**{target['verdict']}**"
         if not target["holds"] else target["verdict"]]
        for target in found
    )  # fmt: skip
    yield from _table(["what", "target", "measured", "verdict"], rows)


def _number(target: dict[str, Any], key: str) -> str:
    value, unit = target[key], target["unit"]
    return f"{value:.1%}" if unit == "%" else f"{value:.1f}x" if unit == "x" else f"{value:.2f} {unit}"


def _table(head: list[str], rows) -> Iterator[str]:
    yield f"| {' | '.join(head)} |"
    yield "| " + " | ".join("---" for _ in head) + " |"
    yield from (f"| {' | '.join(row)} |" for row in rows)


_SECTIONS = {"network": _network}
