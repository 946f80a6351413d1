"""What a try can come to, the tallies of a campaign, which go on in another run, and its report."""

import json
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

SURVIVED, REFUSED = "survived", "refused cleanly"
LOST, HUNG, DIED, TRACEBACK, MEMORY = "lost", "hung", "died", "traceback", "memory"
OUTCOMES = (SURVIVED, REFUSED, LOST, HUNG, DIED, TRACEBACK, MEMORY)
FAULTS = OUTCOMES[2:]
_SHOWN = 5  # faults of a kind that a report describes

Verdict = tuple[str, str]  # an outcome, and what was seen


@dataclass
class Found:
    """What a try came to that holds several: each counts by itself.

    :ivar units: what was tried in all, messages for instance.
    :ivar reached: how often something was reached, and ``of``: out of how many.
    """

    verdicts: list[Verdict]
    units: int = 0
    reached: Counter = field(default_factory=Counter)
    of: Counter = field(default_factory=Counter)


@dataclass
class Tally:
    """Outcomes of the tries of one kind.

    :ivar next: number of the next try.
    :ivar faults: number of the try, outcome and what was seen, of the faults.
    """

    kind: str
    next: int = 0
    counts: Counter = field(default_factory=Counter)
    units: int = 0
    seconds: float = 0.0
    most_memory: int = 0
    faults: list[tuple[int, str, str]] = field(default_factory=list)
    reached: Counter = field(default_factory=Counter)
    of: Counter = field(default_factory=Counter)
    left_out: str = ""

    def add(self, number: int, found: Verdict | Found) -> None:
        """Count a try."""
        if not isinstance(found, Found):
            found = Found([found])
        for outcome, seen in found.verdicts:
            self.counts[outcome] += 1
            if outcome in FAULTS:
                self.faults.append((number, outcome, seen))
        self.units += found.units or len(found.verdicts)
        self.reached += found.reached
        self.of += found.of
        self.next = number + 1

    @property
    def tries(self) -> int:
        """How many there were."""
        return sum(self.counts.values())

    @property
    def faulty(self) -> int:
        """How many tries were faults."""
        return sum(self.counts[outcome] for outcome in FAULTS)


def load(path: Path | None, seed: int) -> dict[str, Tally]:
    """The tallies of earlier parts of a campaign, by kind; none if there is no such file yet.

    :raises ValueError: they are of another seed.
    """
    if path is None or not path.exists():
        return {}
    content = json.loads(path.read_text("utf-8"))
    if content["seed"] != seed:
        raise ValueError(f"'{path}' holds a campaign of seed {content['seed']}, not {seed}.")
    return {row["kind"]: _tally(row) for row in content["tallies"]}


def _tally(row: dict[str, Any]) -> Tally:
    counters = {name: Counter(row.pop(name)) for name in ("counts", "reached", "of")}
    faults = [tuple(fault) for fault in row.pop("faults")]
    return Tally(**row, **counters, faults=faults)


def save(path: Path | None, seed: int, tallies: dict[str, Tally]) -> None:
    """Keep the tallies for the next part of the campaign."""
    if path is not None:
        part = path.with_suffix(".part")
        part.write_text(json.dumps({"seed": seed, "tallies": [vars(tally) for tally in tallies.values()]}), "utf-8")
        part.replace(path)


def report(tallies: list[Tally], title: str) -> str:
    """The report in Markdown."""
    lines = [title, "", f"| kind | tries | units | s a try | most MB | {' | '.join(OUTCOMES)} |"]
    lines.append("| --- " * (5 + len(OUTCOMES)) + "|")
    total = Counter()
    for tally in tallies:
        counts = " | ".join(str(tally.counts[outcome]) for outcome in OUTCOMES)
        pace = f"{tally.seconds / tally.tries:.2f}" if tally.tries else "-"
        memory = f"{tally.most_memory / 1e6:.0f}"
        lines.append(f"| {tally.kind} | {tally.tries} | {tally.units} | {pace} | {memory} | {counts} |")
        total.update(tally.counts)
    counts = " | ".join(str(total[outcome]) for outcome in OUTCOMES)
    units = sum(tally.units for tally in tallies)
    lines += [f"| **all** | {sum(total.values())} | {units} | | | {counts} |", ""]
    for tally in tallies:
        if tally.of:
            shares = (f"`{name}` {tally.reached[name]} of {tally.of[name]}" for name in sorted(tally.of))
            lines.append(f"- {tally.kind}, worked to the end: {', '.join(shares)}.")
    lines += [f"- Not tried: {tally.kind}: {tally.left_out}." for tally in tallies if tally.left_out]
    for tally in tallies:
        for number, outcome, seen in tally.faults[:_SHOWN]:
            text = " ".join(seen.split())[-300:].encode("ascii", "backslashreplace").decode()
            lines.append(f"- {tally.kind}, try {number}, {outcome}: `{text}`")
        if len(tally.faults) > _SHOWN:
            lines.append(f"- {tally.kind}: {len(tally.faults) - _SHOWN} more")
    return "\n".join(lines) + "\n"
