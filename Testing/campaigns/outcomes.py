"""What a try can come to, and the report of a campaign."""

from collections import Counter
from dataclasses import dataclass, field

SURVIVED, REFUSED = "survived", "refused cleanly"
LOST, HUNG, DIED, TRACEBACK, MEMORY = "lost", "hung", "died", "traceback", "memory"
OUTCOMES = (SURVIVED, REFUSED, LOST, HUNG, DIED, TRACEBACK, MEMORY)
FAULTS = OUTCOMES[2:]
_SHOWN = 5  # faults of a kind that a report describes


@dataclass
class Tally:
    """Outcomes of the tries of one kind.

    :ivar units: what was tried in all, messages for instance, where a try holds several.
    :ivar faults: number of the try, outcome and what was seen, of the first faults.
    """

    kind: str
    counts: Counter = field(default_factory=Counter)
    units: int = 0
    seconds: float = 0.0
    faults: list[tuple[int, str, str]] = field(default_factory=list)
    left_out: str = ""

    def add(self, number: int, outcome: str, seen: str = "", units: int = 1) -> None:
        """Count a try."""
        self.counts[outcome] += 1
        self.units += units
        if outcome in FAULTS:
            self.faults.append((number, outcome, seen))

    @property
    def faulty(self) -> int:
        """How many tries were faults."""
        return sum(self.counts[outcome] for outcome in FAULTS)


def report(tallies: list[Tally], title: str) -> str:
    """The report in Markdown."""
    lines = [title, "", f"| kind | tries | units | s a try | {' | '.join(OUTCOMES)} |"]
    lines.append("| --- " * (4 + len(OUTCOMES)) + "|")
    for tally in tallies:
        tries = sum(tally.counts.values())
        counts = " | ".join(str(tally.counts[outcome]) for outcome in OUTCOMES)
        pace = f"{tally.seconds / tries:.2f}" if tries else "-"
        lines.append(f"| {tally.kind} | {tries} | {tally.units} | {pace} | {counts} |")
    total = Counter()
    for tally in tallies:
        total.update(tally.counts)
    counts = " | ".join(str(total[outcome]) for outcome in OUTCOMES)
    units = sum(tally.units for tally in tallies)
    lines += [f"| **all** | {sum(total.values())} | {units} | | {counts} |", ""]
    lines += [f"Not tried: {tally.kind}: {tally.left_out}" for tally in tallies if tally.left_out]
    for tally in tallies:
        for number, outcome, seen in tally.faults[:_SHOWN]:
            text = " ".join(seen.split())[-300:].encode("ascii", "backslashreplace").decode()
            lines.append(f"- {tally.kind}, try {number}, {outcome}: `{text}`")
        if len(tally.faults) > _SHOWN:
            lines.append(f"- {tally.kind}: {len(tally.faults) - _SHOWN} more")
    return "\n".join(lines) + "\n"
