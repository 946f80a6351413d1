"""Small trainings that the same command does in one process and, under torchrun, in several.

``python distributed_runs.py FOLDER …`` does all of ``RUNS`` in the folder, and writes ``results.pt``: of each the loss
of every epoch, the weights, and what was said. Then, or only this after ``watched``, it is ``sam2adapt …`` in float64,
and notes in the folder what each process opens to write.
"""

import contextlib
import os
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from adapted import moved
from sam2.modeling.position_encoding import PositionEmbeddingRandom
from sam2adapt import adapters
from sam2adapt.adapters.low_rank_attention import LowRankAttention
from sam2adapt.machine import device, exchange
from sam2adapt.machine.team import Team
from sam2adapt.segmenting import slices
from sam2adapt.segmenting.slices import normalise
from sam2adapt.shared.errors import CancelledError, OutputError, UserError
from sam2adapt.shared.labels.annotation import IGNORE
from sam2adapt.training import features, loop, record, samples, step
from trained import discs, small_trainer

STEPS = 9  # of an epoch, in batches of 4
MIXED = {"float16": torch.float16, "bfloat16": torch.bfloat16}  # runs of these names; all others are in float64

FEWEST = 32  # samples of an epoch
ONE_STEP = {"steps": 1, "warmup": 0}


def cases() -> list:
    """Discs; of two slices a part is not annotated, and of one nothing, so that images weigh differently."""
    case = discs()
    case.target[1, :20], case.target[3, :, 9:] = IGNORE, IGNORE
    case.target[4] = IGNORE
    return [case]


def plain(folder: Path, name: str, settings: dict | None = None, parts: int = 1, run=None, **method):
    """A trainer after its run of one epoch, and what it has said."""
    said: list[str] = []
    watchers = {"say": said.append} if exchange.rank() == 0 else {}
    made = adapters.create(name, method)
    trainer = small_trainer(folder, made, cases(), {"epochs": 1, **(settings or {})}, **watchers)
    trainer.step.parts = parts
    trainer.before = trainer.validation.best
    (run or type(trainer).run)(trainer)
    return trainer, said


@contextlib.contextmanager
def precision(kind: torch.dtype):
    """Short epochs in mixed precision, or with everything in float64.

    Adam takes a full step along a gradient that is nothing but rounding; in float64, almost none is left of that, so
    that results agree on every processor and with any number of threads.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(samples, "_FEWEST", FEWEST)
        found = None if kind == torch.float64 else kind
        patch.setattr(device, "autocast_dtype", lambda device: found)
        patch.setattr(step, "autocast_dtype", lambda device: found)
        if found is None:
            patch.setattr(torch.Tensor, "float", torch.Tensor.double)
            blend = torch.lerp  # of logits, with weights in float32
            patch.setattr(torch, "lerp", lambda start, end, weight: blend(start, end, weight.to(start.dtype)))
            for module in (loop, samples, features, slices):
                patch.setattr(module, "normalise", lambda images: normalise(images.double()))
            encoding = PositionEmbeddingRandom._pe_encoding
            patch.setattr(PositionEmbeddingRandom, "_pe_encoding", lambda own, xy: encoding(own.double(), xy.double()))
            share_batch_norms = exchange.share_batch_norms  # the first that a trainer does with its network
            patch.setattr(exchange, "share_batch_norms", lambda network: share_batch_norms(network.double()))
        yield


def descended(trainer) -> None:
    """One step down the gradient: steps of Adam, or more of them, would show how rounding grows instead."""
    moved(trainer.network)  # so that no gradient is zero
    groups = [{"params": group["params"], "initial": 1.0} for group in trainer.step.optimizer.param_groups]
    trainer.step.optimizer = torch.optim.SGD(groups)
    trainer.validation.restart()
    trainer.before = trainer.validation.best
    trainer.run()


def prepared(trainer) -> None:
    for module in trainer.network.modules():
        if isinstance(module, LowRankAttention):
            module.teacher[0].double()
    trainer.initialise()
    trainer.run()


def without_a_number(trainer) -> None:
    """The loss of one step is no number."""
    whole, calls = trainer.step.loss.forward, iter(range(10**6))
    trainer.step.loss.forward = lambda *args: whole(*args) * (float("nan") if next(calls) == 3 else 1)
    trainer.run()


def without_memory(trainer) -> None:
    """Memory runs out in the last process only, with more than one image at once."""
    whole = trainer.network.forward_with_extras

    def forward(batch, prompts=None):
        if exchange.rank() == exchange.world_size() - 1 and len(batch) > 1:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20 GiB")
        return whole(batch, prompts)

    trainer.network.forward_with_extras = forward
    trainer.run()


def validated(trainer) -> None:
    """Validations that the processes share, each of ten cases; the scores end the run early."""
    scores = iter([0.5, 0.6, 0.4, 0.3, 0.9])

    def validate(watch):
        watch()
        score = next(scores)
        return {"mean": float(np.mean(exchange.map_over_ranks(lambda case: score + case, range(10))))}

    trainer.validation.validate = validate
    trainer.run()


def stopped(trainer) -> None:
    """The first process is asked to pause, go on and stop; the others' watchers say something else."""
    wishes = iter(["run"] * 3 + ["pause"] * 2 + ["run"] * 2 + ["stop"] * 99)
    first = exchange.rank() == 0
    trainer.monitor.control = lambda: next(wishes) if first else "run"
    trainer.run()


def broken(kind: type[UserError]) -> Callable:
    """The first process fails within a step, or as it writes; all learn of it."""

    def run(trainer) -> None:
        if exchange.rank() == 0:
            calls = iter(range(100))
            trainer.monitor.cancelled = lambda: kind is CancelledError and next(calls) == 4
        former = record.save_checkpoint
        if kind is OutputError:
            full = OutputError("The disk is full.", "Wait.")
            record.save_checkpoint = lambda path, state: (_ for _ in ()).throw(full)
        try:
            trainer.run()
        except kind as error:
            trainer.record.say(f"{kind.__name__} in {sum(exchange.all_gather(lambda: 1))}: {error.message}")
        finally:
            record.save_checkpoint = former

    return run


RUNS: dict[str, Callable] = {
    "head": lambda folder: plain(folder, "head", {"epochs": 2}),
    "lora": lambda folder: plain(folder, "lora", rank=2, dropout=0.5, quality=0.1),
    "dual-lw": lambda folder: plain(folder, "dual-lw"),
    "dual-hp": lambda folder: plain(folder, "dual-hp"),
    "balr": lambda folder: plain(folder, "balr", run=prepared, width=8, distil=4, attention=0.5),
    "uneven": lambda folder: plain(folder, "dual-lw", {"batch_size": 5}),
    "lora in parts": lambda folder: plain(folder, "lora", parts=2, rank=2, dropout=0.5),
    "dual-lw in parts": lambda folder: plain(folder, "dual-lw", {"batch_size": 5}, parts=2),
    "bfloat16": lambda folder: plain(folder, "dual-lw", ONE_STEP, run=descended),
    "float16": lambda folder: plain(folder, "lora", ONE_STEP, run=descended, rank=2, dropout=0.5),
    "float16 in parts": lambda folder: plain(folder, "head", ONE_STEP, parts=2, run=descended),
    "quick": lambda folder: plain(folder, "head", {"quick": True}),
    "no number": lambda folder: plain(folder, "head", run=without_a_number),
    "no memory": lambda folder: plain(folder, "dual-lw", {"steps": 3}, run=without_memory),
    "validated": lambda folder: plain(folder, "head", {"epochs": 5, "batch_size": 16, "patience": 2}, run=validated),
    "stopped": lambda folder: plain(folder, "head", run=stopped),
    "cancelled": lambda folder: plain(folder, "head", run=broken(CancelledError)),
    "full disk": lambda folder: plain(folder, "head", run=broken(OutputError)),
    "in time": lambda folder: plain(folder, "head", {"epochs": 500, "max_minutes": 0.01}),
}


def result_of(name: str, folder: Path) -> dict:
    """Do one of ``RUNS``; all processes must end with the same weights."""
    with precision(MIXED.get(name.split(maxsplit=1)[0], torch.float64)):
        trainer, said = RUNS[name](folder / name.replace(" ", "-"))
    state = trainer.network.trained_state()
    everywhere = exchange.all_gather(lambda: (state, trainer.validation.best, trainer.history.step))
    for weights, best, steps in everywhere[1:]:
        assert steps == everywhere[0][2], name
        for own, first in ((weights, everywhere[0][0]), (best, everywhere[0][1])):
            assert [key for key in first if not torch.equal(own[key], first[key])] == [], name
    return {
        "losses": [row["loss"] for row in trainer.history.rows], "before": trainer.before, "weights": state,
        "best": trainer.validation.best, "said": said, "history": vars(trainer.history),
        "bytes": trainer.step.bytes_sent, "trained": trainer.step.trained,
    }  # fmt: skip


def do_all(folder: Path) -> None:
    with exchange.process_group(Team.from_environment()):
        results = {name: result_of(name, folder) for name in RUNS}
        if exchange.rank() == 0:
            torch.save(results, folder / "results.pt")


def watched(notes: Path, arguments: list[str]) -> int:
    """The command line with short epochs in float64, and a note of every file that is opened to be written."""
    from sam2adapt.cli.app import main as command_line

    log = (notes / f"{os.environ['RANK']}.txt").open("w", buffering=1)

    def hook(event: str, args: tuple) -> None:
        if event == "open" and isinstance(args[0], str) and args[2] & (os.O_WRONLY | os.O_RDWR):
            log.write(f"{args[0]}\n")

    sys.addaudithook(hook)
    with precision(torch.float64):
        return command_line(arguments)


def main(arguments: list[str]) -> int:
    if arguments[0] != "watched":
        do_all(Path(arguments[0]))
        return watched(Path(arguments[0]), arguments[1:])
    return watched(Path(arguments[1]), arguments[2:])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
