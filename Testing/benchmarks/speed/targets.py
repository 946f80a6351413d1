"""What was aimed at (issue 6 of the project), beside what a run measured."""

import statistics
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

from methods.claims import in_words

from .rounds import Ratio, ratio

ADAPTER_COST = {"dual-lw": 0.05, "lora": 0.05, "dual-hp": 0.15}  # at most, over the bare base
SHARE_OF_PRODUCT = 0.5  # of the rate of a matrix product, at least
AROUND_NETWORK = 0.2  # of the time of ``segment`` for the CT, reading left out, at most
CLICK = 0.3  # seconds that a warm click on Auto-segment may take beside the engine's
MEGABYTES = 1000.0  # of the engine above idle, beside the input and one label volume
OUR_BEST = ("tiny", "dual-lw")


@dataclass(frozen=True)
class Target:
    """One target beside what was measured.

    :param measured: where there are two ways to compare, the less favourable one; ``other`` is then the second.
    :param at_least: it holds from ``wanted`` upwards, else up to ``wanted``.
    :param unit: ``x`` (times), ``%`` (both numbers are shares), ``s`` or ``MB``.
    """

    claim: str
    subject: str
    wanted: float
    measured: float
    at_least: bool
    unit: str
    other: float | None = None

    @property
    def holds(self) -> bool:
        """Whether it was reached."""
        return self.measured >= self.wanted if self.at_least else self.measured <= self.wanted

    def to_json(self) -> dict[str, Any]:
        """All of it, as JSON can hold it."""
        return asdict(self) | {"holds": self.holds, "verdict": in_words(self.holds)}


def targets(result: dict[str, Any]) -> list[Target]:
    """Every target of which the run measured all that it needs.

    :param result: as ``run.measure`` gives it.
    """
    found: list[Target] = []
    if "network" in result:
        rows = {_key(row): row for row in result["network"]["rows"]}
        found += [*_speeds(rows), *_costs(rows), *_shares(rows, result["network"]["products"])]
    return [*found, *_around_networks(result.get("segment", {}), result.get("engine", {})), *_memory(result)]


def _around_networks(segment: dict[str, Any], engine: dict[str, Any]) -> Iterator[Target]:
    for row in segment.get("rows", []):
        if row["volume"] == "CT":
            claim = f"all but network and reading takes at most {AROUND_NETWORK:.0%} of `segment`"
            subject = f"{_size(row['size'])} CT, {row['model']}"
            yield Target(claim, subject, AROUND_NETWORK, statistics.median(row["shares"]), False, "%")
    if clicks := engine.get("clicks"):
        claim = f"bridge and transfer add at most {CLICK:g} s to a warm click"
        yield Target(claim, f"{_size(clicks['voxels'])} CT", CLICK, clicks["total"] - clicks["engine"], False, "s")


def _memory(result: dict[str, Any]) -> Iterator[Target]:
    memory = result.get("memory", {})
    for row in memory.get("engine", []):
        if row["above"] is not None:
            beyond = (row["above"] - row["input"] - row["labels"]) / 1e6
            claim = f"engine's peak above idle, without input and one uint8 label volume, is below {MEGABYTES:g} MB"
            subject = f"{_size([*memory['plane'], row['slices']])}, {memory['model']}"
            yield Target(claim, subject, MEGABYTES, beyond, False, "MB")


def _size(voxels: list[int]) -> str:
    return " x ".join(map(str, voxels))


def _key(row: dict[str, Any]) -> tuple:
    return row["network"], row["variant"], row["form"], row["side"], row["arithmetic"], row["best"]


def _speeds(rows: dict[tuple, dict]) -> Iterator[Target]:
    """Ours, with its best batch, against others with theirs."""
    predictor = {row["arithmetic"]: row for row in rows.values() if row["network"] == "SAM2ImagePredictor"}
    for row in rows.values():
        network, variant, form, side, arithmetic, best = _key(row)
        if form != "exported" or not best:
            continue
        nnunet = rows.get(("nnU-Net 2-D", "", "", side, arithmetic, True))
        if (network, variant) == OUR_BEST:
            if side <= 256:
                for kind, times in (("bf16", 40.0), ("fp32", 100.0)):
                    if kind in predictor:
                        yield _faster(row, predictor[kind], f"SAM2ImagePredictor in {kind}", times)
                if nnunet:
                    yield _faster(row, nnunet, "nnU-Net 2-D", 2.0)
        elif (network, variant) == ("nano", OUR_BEST[1]) and nnunet:
            yield _faster(row, nnunet, "nnU-Net 2-D", 5.0)


def _faster(row: dict, other: dict, name: str, wanted: float) -> Target:
    found = ratio(other["rounds"], row["rounds"])
    return _target(f"at least {wanted:g} times faster a slice than {name}", row, wanted, found, True, "x")


def _costs(rows: dict[tuple, dict]) -> Iterator[Target]:
    for row in rows.values():
        network, variant, form, side, arithmetic, best = _key(row)
        bare = rows.get((network, "bare", "exported", side, arithmetic, best))
        if form == "exported" and variant in ADAPTER_COST and best and bare:
            found = ratio(row["rounds"], bare["rounds"])
            over = Ratio(found.of_medians - 1, found.of_rounds - 1)
            most = ADAPTER_COST[variant]
            yield _target(f"costs at most {most:.0%} over the bare base", row, most, over, False, "%")


def _shares(rows: dict[tuple, dict], products: dict[str, dict]) -> Iterator[Target]:
    for row in rows.values():
        network, variant, form, _, arithmetic, best = _key(row)
        if network == "tiny" and variant in ("bare", OUR_BEST[1]) and form == "exported" and best:
            found = share_of_product(row, products[arithmetic])
            claim = f"computes at half of the rate of a {arithmetic} matrix product at least"
            yield _target(claim, row, SHARE_OF_PRODUCT, found, True, "%")


def share_of_product(row: dict, product: dict) -> Ratio:
    """The row's rate of counted operations as a share of the matrix product's."""
    factor = row["gmac"] / product["gmac"]
    found = ratio(product["rounds"], row["rounds"])
    return Ratio(found.of_medians * factor, found.of_rounds * factor)


def _target(claim: str, row: dict, wanted: float, found: Ratio, at_least: bool, unit: str) -> Target:
    measured, other = (found.smaller, found.larger) if at_least else (found.larger, found.smaller)
    return Target(claim, f"{row['network']} {row['variant']} at {row['side']}", wanted, measured, at_least, unit, other)
