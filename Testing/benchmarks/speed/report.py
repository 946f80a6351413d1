"""A run's numbers as Markdown."""

import statistics
from collections.abc import Iterable, Iterator
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
    yield from table(
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


def _segment(section: dict[str, Any]) -> Iterator[str]:
    yield "**`segment` from file to file**, seconds; `alone` is the network run again with nothing beside it; tiny's"
    yield "weights are random, and its classes are put in by grey level, so that there is something to clean"
    yield ""
    parts = list(dict.fromkeys(name for row in section["rows"] for name in row["parts"] if name != "slices"))
    rows = (
        [row["volume"], _size(row["size"]), row["model"], *(f"{row['parts'][name]:.2f}" for name in parts),
         f"{statistics.median(row['shares']):.0%}"]
        for row in section["rows"]
    )  # fmt: skip
    yield from table(["volume", "voxels", "model", *parts, "not network, without reading"], rows)


def _engine(section: dict[str, Any]) -> Iterator[str]:
    yield f"**Engine**, {section['model']}, {_size(section['volume'])} voxels; the disk's cache is warm"
    yield ""
    parts = ", ".join(f"{name} {seconds:.2f}" for name, seconds in section["warm_parts"].items())
    rows = [
        ["from start to greeting", f"{section['ready']:.2f}", ""],
        ["from start to the first result (cold)", f"{section['first']:.2f}", ""],
        ["another request (warm)", f"{section['warm']:.2f}", parts],
    ]
    if clicks := section["clicks"]:
        parts = ", ".join(f"{name} {clicks[name]:.2f}" for name in ("transfer", "engine", "import", "other"))
        rows.append(["a warm click on Auto-segment", f"{clicks['total']:.2f}", parts])
    yield from table(["", "seconds", "of it"], rows)
    if not section["clicks"]:
        yield ""
        yield "The click was not measured: it needs the repository, the extras slicer and gui, and --data."


def _training(section: dict[str, Any]) -> Iterator[str]:
    first = section["rows"][0]
    epoch = f"{first['steps']} steps of {first['batch']} slices"
    yield f"**An epoch of training**, base {section['base']}, {section['slices']}, {epoch}"
    yield ""
    rows = ([row["way"], f"{row['seconds']:.1f}", _megabytes(row["above"])] for row in section["rows"])
    yield from table(["method", "seconds", "memory above the process, MB"], rows)


def _memory(section: dict[str, Any]) -> Iterator[str]:
    yield "**Peak memory of one slice**, a process each, MB"
    yield ""
    rows = ([row["name"], _megabytes(row["idle"]), _megabytes(row["above"])] for row in section["networks"])
    yield from table(["network", "with the network, at rest", "above that"], rows)
    yield ""
    yield f"**Peak memory of the engine**, {section['model']}, {_size(section['plane'])} in plane, MB"
    yield ""
    rows = (
        [str(row["slices"]), *(_megabytes(row[name]) for name in ("idle", "above", "input", "labels")),
         f"{row['wall']:.1f}"]
        for row in section["engine"]
    )  # fmt: skip
    yield from table(["slices", "idle", "above idle", "of it input", "of it labels", "seconds"], rows)


def _scaling(section: dict[str, Any]) -> Iterator[str]:
    yield f"**Scaling**, {section['slices']} slices of {section['side']} where nothing else is said"
    yield ""
    rows = (
        [row["base"], row["curve"], str(row["value"]), f"{row['seconds'] * 1000:.1f}", _megabytes(row["above"])]
        for row in section["rows"]
    )
    yield from table(["model", "against", "value", "ms a slice", "memory above the process, MB"], rows)


def _profile(section: dict[str, Any]) -> Iterator[str]:
    yield "**What the networks' time goes into**, operators without those that they call"
    yield ""
    for row in section["rows"]:
        yield f"- {row['name']}, {row['batch']} slices of {row['side']}: " + ", ".join(
            f"{name} {share:.0%}" for name, share in row["operators"].items()
        )


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
    yield from table(["what", "target", "measured", "verdict"], rows)


def _number(target: dict[str, Any], key: str) -> str:
    value, unit = target[key], target["unit"]
    return f"{value:.1%}" if unit == "%" else f"{value:.1f}x" if unit == "x" else f"{value:.2f} {unit}"


def _megabytes(size: int | None) -> str:
    return "" if size is None else f"{size / 1e6:.0f}"


def _size(voxels: list[int]) -> str:
    return " x ".join(map(str, voxels))


def table(head: list[str], rows: Iterable[list[str]]) -> Iterator[str]:
    """Lines of a table of Markdown."""
    yield f"| {' | '.join(head)} |"
    yield "| " + " | ".join("---" for _ in head) + " |"
    yield from (f"| {' | '.join(row)} |" for row in rows)


_SECTIONS = {
    "network": _network, "segment": _segment, "engine": _engine, "training": _training, "memory": _memory,
    "scaling": _scaling, "profile": _profile,
}  # fmt: skip
