"""``sam2adapt train``: train a model file from folders of images and labels."""

import argparse
import os
import signal
import sys
from typing import Any

from ..shared.errors import ForgettingError, UserError
from ..shared.requests.actions import Train
from .options import add_options, request_of
from .progress import Bar, duration, leads


def add_train_parser(commands) -> None:
    """Add the sub-command ``train``."""
    parser = commands.add_parser(
        "train",
        help="train a model from images and labels",
        description="Train a model from images and labels. Start it with torchrun (`torchrun --nproc-per-node 8 -m"
        " sam2adapt train …`) to let several processes share each step.",
    )
    add_options(parser, Train)
    parser.set_defaults(run=_run)


def _run(args: argparse.Namespace) -> None:
    try:
        _train(request_of(args, Train))
    except UserError:
        # torchrun ends all processes when one fails; let each end by itself.
        if os.environ.get("WORLD_SIZE", "1") != "1":
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
        if leads():
            raise
        sys.exit(2)  # the process that leads prints the reason


def _train(request: Train) -> None:
    """Train; the process that leads prints the result."""
    from ..requests.train import train

    bar = Bar("Training", "%") if leads() else None

    def progress(state) -> None:
        dice = "" if state.dice is None else f", best Dice {state.dice:.4f}"
        if state.epoch:
            note = f"epoch {state.epoch} of {state.epochs}, loss {state.loss:.3f}{dice}"
        else:
            note = f"preparing the network, {state.prepared:.0%}"
        bar.update(state.fraction * 100, 100, note)

    result = train(request, progress, lambda text: print(text, file=sys.stderr, flush=True))
    if bar:
        bar.close()
        _print_result(result)
    if result["bundle"] != request.output:
        former = result["former"]
        raise ForgettingError(
            f"The new model forgets: on the slices that '{request.init}' was validated on, Dice falls from"
            f" {former['before']:.4f} to {former['after']:.4f}. '{request.output}' was not written; the model is in"
            f" '{result['bundle']}'.",
            "Add cases of the former training, or resume and accept the new model.",
            setting=("resume", "allow_forgetting"),
        )


def _print_result(result: dict[str, Any]) -> None:
    print(f"{result['bundle']}: {result['epochs']} epochs in {duration(result['minutes'] * 60)}")
    if processes := result["processes"]:
        print(f"  {processes['count']} processes, {processes['bytes_per_step']:,} bytes exchanged per step")
    for name, value in (result["dice"] or {}).items():
        print(f"  validation Dice, {name}: {'-' if value is None else f'{value:.4f}'}")
    if former := result["former"]:
        print(f"  Dice on the former model's validation slices: {former['after']:.4f}, before {former['before']:.4f}")
