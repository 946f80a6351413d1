"""The fault campaign: random tries of many kinds against the engine, counted.

``python Testing/campaigns/run.py --seed 1 --count 100`` prints a report in Markdown: for each kind of try how many
survived, were refused cleanly, lost something, hung, died, ended with a traceback or took too much memory. The exit
status is 1 if there was a fault. A fault is tried again with ``--only KIND --seed S --first NUMBER --count 1``.
``--plant DEFECT`` puts a known defect into the engine first, to see that the campaign finds it. It needs Linux (fork);
as root it also tries full disks and closed folders. Nothing outside a temporary folder is changed, nor is the machine's
clock.
"""

import argparse
import contextlib
import os
import random
import resource
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")  # children are forked, and threads do not follow

import contents
import processes
from outcomes import Tally, report
from planted import DEFECTS
from world import World

Try = Callable[[random.Random, World, Path], tuple[str, str]]
#: Each kind of try, and how many of these there are for 100 of the cheapest.
KINDS: dict[str, tuple[Try, int]] = {
    "model files": (contents.model_file, 100),
    "image headers": (contents.image_header, 100),
    "stored in other ways": (contents.stored_in_other_ways, 30),
    "printing": (contents.printed, 20),
    "jumping clock": (contents.jumping_clock, 10),
    "server": (processes.server, 50),
    "killed": (processes.killed, 10),
    "no room": (processes.no_room, 20),
    "no rights": (processes.no_rights, 20),
    "two at once": (processes.two_at_once, 20),
}
UNITS = {"server": processes.MESSAGES // 2}  # messages of a session, about


def reason_to_leave_out(kind: str, folder: Path) -> str:
    """Why a kind cannot be tried here; "" if it can."""
    if kind == "no room" and not processes.can_mount(folder):
        return "disks of a chosen size cannot be made here; be root"
    if kind == "no rights" and os.geteuid() != 0:
        return "rights cannot be dropped here; be root"
    return ""


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


def run(
    seed: int, tries: dict[str, Sequence[int]], plant: str = "", seconds: float | None = None, until: str = "",
    say: Callable[[str], None] = lambda text: None,
) -> list[Tally]:  # fmt: skip
    """Do a campaign.

    :param tries: of each kind the numbers of the tries.
    :param plant: a defect of ``planted.DEFECTS`` to put into the engine.
    :param seconds: time for each kind, after which no further try of it is begun; ``until``: an outcome that ends it.
    :param say: is told what each kind came to.
    """
    tallies = []
    with campaign_folder() as folder, DEFECTS[plant].planted() if plant else contextlib.nullcontext():
        world = World.make(folder / "world")
        for kind, numbers in tries.items():
            tally = Tally(kind, left_out=reason_to_leave_out(kind, folder))
            started = time.monotonic()
            for number in numbers if not tally.left_out else ():
                if (seconds is not None and time.monotonic() - started > seconds) or tally.counts[until]:
                    break
                place = folder / f"try-{number}"
                place.mkdir()
                rng = random.Random(f"{seed}/{kind}/{number}")
                tally.add(number, *KINDS[kind][0](rng, world, place), UNITS.get(kind, 1))
                shutil.rmtree(place, ignore_errors=True)
            tally.seconds = time.monotonic() - started
            say(f"{kind}: {sum(tally.counts.values())} tries, {tally.faulty} faults, {tally.seconds:.0f} s")
            tallies.append(tally)
    return tallies


def main() -> int:
    """Do a campaign and print its report."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seed", type=int, default=0, help="(default: %(default)s)")
    parser.add_argument("--count", type=int, default=100, help="tries of the cheapest kind (default: %(default)s)")
    parser.add_argument("--only", action="append", choices=list(KINDS), help="this kind, so often; again for more")
    parser.add_argument("--first", type=int, default=0, help="number of the first try (default: %(default)s)")
    parser.add_argument("--seconds", type=float, help="time for each kind")
    parser.add_argument("--plant", default="", choices=list(DEFECTS), help="put a known defect into the engine")
    parser.add_argument("-o", "--output", type=Path, help="also write the report here")
    args = parser.parse_args()
    shares = dict.fromkeys(args.only, 100) if args.only else {kind: share for kind, (_, share) in KINDS.items()}
    tries = {kind: range(args.first, args.first + max(1, args.count * share // 100)) for kind, share in shares.items()}
    started = time.monotonic()
    tallies = run(args.seed, tries, args.plant, args.seconds, say=lambda text: print(text, file=sys.stderr))
    usage = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    processor = sum(one.ru_utime + one.ru_stime for one in usage)
    title = f"Fault campaign, seed {args.seed}{f', planted: {args.plant}' if args.plant else ''}: "
    title += f"{time.monotonic() - started:.0f} s, {processor:.0f} s of the processor."
    text = report(tallies, title)
    print(text)
    if args.output:
        args.output.write_text(text, "utf-8")
    return int(any(tally.faulty for tally in tallies))


if __name__ == "__main__":
    sys.exit(main())
