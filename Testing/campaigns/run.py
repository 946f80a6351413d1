"""The fault campaign: random tries of many kinds against the engine and its installer, counted.

``python Testing/campaigns/run.py --seed 1 --count 100`` prints a report in Markdown: for each kind of try how many
survived, were refused cleanly, lost something, hung, died, ended with a traceback or took too much memory. The exit
status is 1 if there was a fault. A fault is tried again with ``--only KIND --seed S --first NUMBER --count 1``.
``--long`` does the whole campaign, some hours of a processor; with ``--state FILE`` it goes on where it was stopped.
``--plant DEFECT`` puts a known defect into the engine first, to see that the campaign finds it. It needs Linux (fork);
as root it also tries full disks and closed folders. Nothing outside a temporary folder is changed, nor is the machine's
clock.
"""

import argparse
import contextlib
import os
import random
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")  # children are forked, and threads do not follow

import clock
import contents
import image_headers
import installation
import model_changes
import processes
import sessions
from children import Most
from outcomes import Found, Tally, Verdict, load, report, save
from planted import DEFECTS
from world import World


@dataclass(frozen=True)
class Kind:
    """A kind of try.

    :ivar share: how many of these there are for ``--count`` 100; ``long``: in the long form.
    :ivar missing: given a folder, says why it cannot be tried here; "" if it can.
    """

    do: Callable[[random.Random, World, Path], Verdict | Found]
    share: int
    long: int
    missing: Callable[[Path], str] = lambda folder: ""


KINDS: dict[str, Kind] = {
    "model files": Kind(model_changes.model_file, 20, 10_000 // model_changes.FILES),
    "image headers": Kind(image_headers.image_header, 30, 2000 // image_headers.IMAGES),
    "stored in other ways": Kind(contents.stored_in_other_ways, 30, 100),
    "shrinking images": Kind(contents.shrinking, 10, 100),
    "printing": Kind(contents.printed, 20, 60),
    "jumping clock": Kind(clock.jumping_clock, 10, 25),
    "server": Kind(sessions.session, 30, 100_000 // sessions.MESSAGES),
    "killed training": Kind(processes.killed("train"), 10, 50),
    "killed batch": Kind(processes.killed("batch"), 10, 50),
    "killed filling": Kind(processes.killed("fill"), 10, 50),
    "killed segmenting": Kind(processes.killed("segment"), 10, 50),
    "killed installation": Kind(installation.killed, 10, 50, installation.reason_to_leave_out),
    "no room": Kind(processes.no_room, 20, 200, processes.no_disks),
    "no rights": Kind(processes.no_rights, 20, 200, processes.no_other_user),
    "two at once": Kind(processes.two_at_once, 20, 100),
}


@contextlib.contextmanager
def campaign_folder() -> Iterator[Path]:
    """A temporary folder, which is also that of all that the engine makes."""
    folder = Path(tempfile.mkdtemp(prefix="campaign-"))
    former, tempfile.tempdir = tempfile.tempdir, str(folder)
    try:
        yield folder
    finally:
        tempfile.tempdir = former
        shutil.rmtree(folder, ignore_errors=True)


class Campaign:
    """A campaign at work, which may go on with one that was stopped.

    :param state: file of the tallies so far, or None.
    :param plant: a defect of ``planted.DEFECTS`` to put into the engine.
    :param say: is told what each kind came to.
    """

    def __init__(
        self, seed: int, state: Path | None = None, plant: str = "", say: Callable[[str], None] = lambda text: None
    ):
        self.seed, self._state, self._plant, self._say = seed, state, plant, say
        self.tallies = load(state, seed)

    def run(self, tries: dict[str, Sequence[int]], seconds: float | None = None, until: str = "") -> list[Tally]:
        """Do the tries of which no earlier part has done any, a bit of each kind in turn.

        :param tries: of each kind the numbers of the tries.
        :param seconds: after which no further try is begun.
        :param until: an outcome that ends the tries of a kind.
        """
        started = time.monotonic()
        with campaign_folder() as folder, DEFECTS[self._plant].planted() if self._plant else contextlib.nullcontext():
            world = World.make(folder / "world")
            waiting = {kind: self._waiting(kind, numbers, folder) for kind, numbers in tries.items()}
            while any(waiting.values()):
                if seconds is not None and time.monotonic() - started > seconds:
                    break
                kind = max(waiting, key=lambda kind: len(waiting[kind]) / max(1, len(tries[kind])))
                tally = self.tallies[kind]
                self._try(tally, waiting[kind].pop(0), world, folder)
                if tally.counts[until]:
                    waiting[kind].clear()
                if not waiting[kind]:
                    self._say(f"{kind}: {tally.tries} tries, {tally.faulty} faults, {tally.seconds:.0f} s")
        return list(self.tallies.values())

    def _waiting(self, kind: str, numbers: Sequence[int], folder: Path) -> list[int]:
        tally = self.tallies.setdefault(kind, Tally(kind))
        tally.left_out = KINDS[kind].missing(folder)
        return [] if tally.left_out else [number for number in numbers if number >= tally.next]

    def _try(self, tally: Tally, number: int, world: World, folder: Path) -> None:
        place = folder / f"try-{tally.kind.replace(' ', '-')}-{number}"
        place.mkdir()
        began, Most.memory = time.monotonic(), 0
        tally.add(number, KINDS[tally.kind].do(random.Random(f"{self.seed}/{tally.kind}/{number}"), world, place))
        tally.seconds += time.monotonic() - began
        tally.most_memory = max(tally.most_memory, Most.memory)
        shutil.rmtree(place, ignore_errors=True)
        save(self._state, self.seed, self.tallies)


def main() -> int:
    """Do a campaign and print its report."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seed", type=int, default=0, help="(default: %(default)s)")
    parser.add_argument("--count", type=int, default=100, help="scales the number of tries (default: %(default)s)")
    parser.add_argument("--long", action="store_true", help="the numbers of the long campaign instead")
    parser.add_argument("--only", action="append", choices=list(KINDS), help="this kind, so often; again for more")
    parser.add_argument("--first", type=int, default=0, help="number of the first try (default: %(default)s)")
    parser.add_argument("--seconds", type=float, help="time after which no further try is begun")
    parser.add_argument("--state", type=Path, help="file that keeps the counts, from which the next run goes on")
    parser.add_argument("--plant", default="", choices=list(DEFECTS), help="put a known defect into the engine")
    parser.add_argument("-o", "--output", type=Path, help="also write the report here")
    args = parser.parse_args()
    share = {kind: args.count if args.only else args.count * KINDS[kind].share // 100 for kind in args.only or KINDS}
    count = {kind: KINDS[kind].long if args.long else max(1, number) for kind, number in share.items()}
    campaign = Campaign(args.seed, args.state, args.plant, lambda text: print(text, file=sys.stderr, flush=True))
    tallies = campaign.run({kind: range(args.first, args.first + n) for kind, n in count.items()}, args.seconds)
    title = f"Fault campaign, seed {args.seed}{f', planted: {args.plant}' if args.plant else ''}: "
    title += f"{sum(tally.seconds for tally in tallies):.0f} s."
    text = report(tallies, title)
    print(text)
    if args.output:
        args.output.write_text(text, "utf-8")
    return int(any(tally.faulty for tally in tallies))


if __name__ == "__main__":
    sys.exit(main())
