"""``sam2adapt train``: from folders of images and labels to a model file."""

import argparse
import dataclasses
import json
import os
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from ..imaging.terminology import Structure, describe
from ..modelfiles.card import read_card
from ..shared import paths
from ..shared.errors import ClassesError, ForgettingError, InputFileError, OutputError, SettingsError, UserError
from ..shared.files import check_output

if TYPE_CHECKING:
    from ..evaluation.cases import Case
    from ..training.settings import TrainRequest


def add_train_parser(commands) -> None:
    """Add the sub-command ``train``."""
    parser = commands.add_parser(
        "train",
        help="train an adapter",
        description="Train an adapter from images and labels. Under torchrun (`torchrun --nproc-per-node 8 -m sam2adapt"
        " train …`) several processes compute each batch together.",
    )
    data = parser.add_argument_group("data")
    data.add_argument("--images", type=Path, required=True, help="folder of images, or an MSD / nnU-Net folder")
    data.add_argument("--labels", type=Path, help="folder of label maps of the same names; 255 = not annotated")
    data.add_argument("--split", type=Path, help='JSON {"train": [...], "val": [...]}; without it a fifth is held out')
    data.add_argument("--groups", type=Path, help='JSON {"case": "patient"}: cases that a drawn split keeps together')
    data.add_argument(
        "--all-for-training", action="store_true", help="hold nothing out: no validation, last epoch kept"
    )
    data.add_argument("--classes", help='label values and names, as in "1=right ventricle,2=myocardium"')
    data.add_argument("--modality", choices=("CT", "MR", "RGB", "OTHER"), help="without it: read from the data")
    data.add_argument("--axis", choices=("axial", "coronal", "sagittal", "acquisition"), help="slicing axis")
    data.add_argument("--size", type=int, help="pixels of the longest side of a typical slice for the network")
    network = parser.add_argument_group("network")
    network.add_argument("--preset", help="nano, nano-wide, fast, balanced or max: base, method and size in one word")
    network.add_argument("--base", help="nano, tiny, small, base_plus, large or a file (default: nano)")
    network.add_argument(
        "--method", help="head, lora, dual-hp, dual-lw, balr, detail, refine, combined or full (default: dual-lw)"
    )
    network.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="a setting of the method")
    network.add_argument("--peg", choices=("add", "replace", "none"), help="position encoding generator (default: add)")
    network.add_argument(
        "--train-upscaling", action=argparse.BooleanOptionalAction, help="also the decoder's upscaling"
    )
    network.add_argument("--init", help="model to start from; base, method and settings are then its own")
    network.add_argument(
        "--allow-forgetting", action="store_true", help="also take a model that has lost what the one of --init knew"
    )
    network.add_argument("--quick", action="store_true", help="train head and decoder only, on features computed once")
    _add_run_options(parser.add_argument_group("run"))
    _add_card_options(parser.add_argument_group("model card"))
    parser.set_defaults(run=run)


def _add_run_options(group) -> None:
    group.add_argument("--epochs", type=int, default=100)
    group.add_argument("--steps", type=int, help="steps of the optimiser, in the place of --epochs")
    group.add_argument("--max-minutes", type=float, help="end after this time, whatever the epochs")
    group.add_argument("--patience", type=int, help="end after so many validations without a gain")
    group.add_argument("--batch-size", type=int, default=8)
    group.add_argument("--learning-rate", type=float, help="(default: 0.003 for a new model on nano, else 0.001)")
    group.add_argument("--crop", type=int, help="side of the training crops, pixels")
    group.add_argument("--rotation", type=float, default=20.0, help="largest rotation in augmentation, degrees")
    group.add_argument(
        "--scale", type=float, default=0.25, help="largest change of size in augmentation (default: 0.25)"
    )
    group.add_argument("--flips", type=_names, default=[], help="rows, columns: mirror where left and right are alike")
    group.add_argument("--seed", type=int, default=0)
    group.add_argument("--resume", action="store_true", help="go on from the run's last whole epoch")
    group.add_argument("--device", default="auto")


def _add_card_options(group) -> None:
    group.add_argument("-o", "--output", type=Path, required=True, help="model file to write, .safetensors")
    group.add_argument("--name", help="name of the model (default: the file's)")
    group.add_argument("--description", default="")
    group.add_argument("--license", default="unspecified", help="licence of the model")
    group.add_argument("--data-summary", default="", help="what it was trained on, from where")
    group.add_argument(
        "--largest-component", type=_names, default=[], help="classes of which only the largest piece is kept"
    )
    group.add_argument(
        "--largest-together", type=_names, default=[], help="classes side by side: keep their largest piece as one"
    )
    group.add_argument("--fill-holes", type=_names, default=[], help="classes whose holes are filled")
    group.add_argument("--minimum-ml", type=float, default=0.0, help="drop smaller pieces")


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]


def cases_and_classes(images: Path, labels: Path | None, classes: str | None):
    """Cases and structures of two folders, or of an MSD / nnU-Net folder with its ``dataset.json``."""
    from ..evaluation.cases import dataset_folders, find_cases

    names = {}
    if labels is None:
        if not paths.is_file(images / "dataset.json"):
            raise InputFileError(
                f"'{images}' has no dataset.json that names the labels.",
                "Give the folder of the label maps.",
                setting="labels",
            )
        images, labels, names = dataset_folders(images)
    names = parse_classes(classes) if classes else names
    return find_cases(images, labels), [describe(value, name) for value, name in sorted(names.items())]


def parse_classes(text: str) -> dict[int, str]:
    """Read ``1=right ventricle,2=myocardium``.

    :raises ClassesError: not of this form, or a value or name twice.
    """
    names: dict[int, str] = {}
    for part in text.split(","):
        value, _, name = (piece.strip() for piece in part.partition("="))
        if not value.isdigit() or not name:
            raise ClassesError(
                f"'{part.strip()}' is not a label value with the name of a class.",
                'Write "1=right ventricle,2=myocardium", with values from 1 to 254.',
                setting="classes",
            )
        add_class(names, int(value), name)
    return names


def add_class(names: dict[int, str], value: int, name: str) -> None:
    """Add the name of a label value to those known so far.

    :raises ClassesError: a value that no class may have, a name that reports need, or either of them twice.
    """
    if not 1 <= value <= 254:
        raise ClassesError(f"{value} is not a label value of a class.", "Use values from 1 to 254.")
    if name.lower() == "mean":
        raise ClassesError("A class cannot be named 'mean', the word of the reports.", "Choose another name.")
    if value in names or name.lower() in (known.lower() for known in names.values()):
        raise ClassesError(f"The classes name '{value}={name}' twice.", "Give each value and each name once.")
    names[value] = name


def _settings(args: argparse.Namespace):
    from ..training.settings import TrainSettings

    axes = {"rows": 0, "columns": 1}
    if unknown := set(args.flips) - axes.keys():
        raise SettingsError(
            f"Images cannot be mirrored along '{unknown.pop()}'.", "Choose rows, columns, or both.", setting="flips"
        )
    flips = [axes[name] for name in args.flips]
    names = {field.name for field in dataclasses.fields(TrainSettings)} - {"flips"}
    given = {name: value for name, value in vars(args).items() if name in names}
    return TrainSettings(**given, flips=flips)


def _method_settings(pairs: list[str]) -> dict:
    settings = {}
    for pair in pairs:
        name, _, value = pair.partition("=")
        try:
            settings[name.replace("-", "_")] = json.loads(value)
        except ValueError:
            settings[name.replace("-", "_")] = value
    return settings


def _network(args: argparse.Namespace) -> dict:
    """Base, method and its settings from ``--preset`` or ``--init``, with what else was said on top of it."""
    from ..adapters.presets import PRESETS

    if args.preset is None:
        first = _network_of(args.init) if args.init else {"base": "nano", "method": "dual-lw", "peg": "add"}
        same = args.method in (None, first["method"])
        given = {name: getattr(args, name) for name in ("base", "method", "peg", "train_upscaling")}
        return {
            **first, **{name: value for name, value in given.items() if value is not None},
            "method_settings": (first.get("method_settings", {}) if same else {}) | args.set,
        }  # fmt: skip
    if args.preset not in PRESETS:
        raise SettingsError(
            f"There is no preset '{args.preset}'.", f"Choose one of: {', '.join(PRESETS)}.", setting="preset"
        )
    if args.method:
        raise SettingsError(
            f"The preset '{args.preset}' has a method of its own, so no method can be chosen beside it.",
            "Leave the preset or the method out.",
            setting=("preset", "method"),
        )
    preset = PRESETS[args.preset]
    args.size = args.size or preset.size
    return {
        "base": args.base or preset.base, "method": preset.method, "method_settings": preset.settings | args.set,
        "peg": args.peg or "add",
        "train_upscaling": preset.train_upscaling if args.train_upscaling is None else args.train_upscaling,
    }  # fmt: skip


def _network_of(model: str) -> dict:
    """Base, method and its settings of a model."""
    from ..modelfiles.catalog import find_model

    card = read_card(find_model(model))
    method, network = card["method"], card["network"]
    return {"base": card["base"]["id"], "method": method["name"], "method_settings": method["settings"], **network}


def read_groups(path: Path) -> dict[str, str]:
    """Read which cases belong together: ``{"case": "patient", ...}``.

    :raises InputFileError: the file cannot be read, or holds something else.
    """
    try:
        groups = json.loads(paths.read_text(path))
    except ValueError as error:
        raise InputFileError(
            f"The groups '{path}' cannot be read: {error}.", "Check the file.", setting="groups"
        ) from error
    if not isinstance(groups, dict) or not all(isinstance(group, str) for group in groups.values()):
        raise InputFileError(f"The groups '{path}' are not a JSON object of names.", 'Write {"case": "patient", ...}.')
    return groups


def _ids(names: list[str], structures: list[Structure]) -> list[int]:
    known = {structure.name.lower(): structure.id for structure in structures}
    if unknown := [name for name in names if name.lower() not in known]:
        raise ClassesError(f"'{unknown[0]}' is not among the classes.", f"They are: {', '.join(known)}.")
    return [known[name.lower()] for name in names]


def train_request(args: argparse.Namespace, cases: "list[Case]", structures: list[Structure]) -> "TrainRequest":
    """What to train, from the values of the sub-command's options.

    :param args: as the parser gives them, but ``set`` is a dict and ``split`` may hold the split itself.
    :raises ClassesError, SettingsError: options that do not go together.
    """
    from ..evaluation.cases import read_split
    from ..training.settings import TrainRequest, usual_rate

    if not structures:
        raise ClassesError(
            "No class is named.",
            "Give the label values and the names of the classes.",
            setting="classes",
            value="1=right ventricle,2=myocardium",
        )
    split = args.split
    if args.all_for_training:
        split = {"train": [case.id for case in cases], "val": []}
    elif isinstance(split, Path):
        split = read_split(split)
    network = _network(args)  # first: a preset also sets the size
    if args.learning_rate is None:
        args.learning_rate = usual_rate(network["base"], continued=bool(args.init))
    return TrainRequest(
        cases=cases,
        output=args.output,
        structures=structures,
        **network,
        settings=_settings(args),
        split=split,
        **{key: getattr(args, key) for key in ("name", "description", "license", "init", "resume", "device")},
        groups=read_groups(args.groups) if args.groups else None,
        allow_forgetting=args.allow_forgetting,
        data=args.data_summary,
        postprocessing={
            **({"largest_together": _ids(args.largest_together, structures)} if args.largest_together else {}),
            "largest_component": _ids(args.largest_component, structures),
            "fill_holes": _ids(args.fill_holes, structures),
            "minimum_ml": args.minimum_ml,
        },
    )


def run(args: argparse.Namespace) -> None:
    """Train as the command line says, and print what was reached."""
    if os.environ.get("WORLD_SIZE", "1") == "1":  # several agree on the same, which takes torch
        _check_files(args)

    from ..machine.exchange import agreed, joined
    from ..machine.team import Team

    team = Team.from_environment()
    args.set = _method_settings(args.set)
    try:
        with joined(team):
            request = agreed(lambda: train_request(args, *cases_and_classes(args.images, args.labels, args.classes)))
            _train(args, request)
    except UserError:
        if team.size > 1:  # torchrun ends all when it sees that one has failed, and each shall end by itself
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
        if team.rank == 0:
            raise
        sys.exit(2)  # the first one says why


def _check_files(args: argparse.Namespace) -> None:
    """Refuse at once what the file system makes impossible."""
    from ..evaluation.cases import read_split

    if paths.exists(args.output.parent, OutputError):
        check_output(args.output)
    cases_and_classes(args.images, args.labels, None)
    if args.split:
        read_split(args.split)
    if args.groups:
        read_groups(args.groups)


def _train(args: argparse.Namespace, request: "TrainRequest") -> None:
    from ..machine import exchange
    from ..training.run import train
    from .progress import Bar, duration

    bar = Bar("Training", "%") if exchange.number() == 0 else None

    def progress(state) -> None:
        dice = "" if state.dice is None else f", best Dice {state.dice:.4f}"
        if state.epoch:
            note = f"epoch {state.epoch} of {state.epochs}, loss {state.loss:.3f}{dice}"
        else:
            note = f"preparing the network, {state.prepared:.0%}"
        bar.update(state.fraction * 100, 100, note)

    def say(text: str) -> None:
        print(text, file=sys.stderr, flush=True)

    path = train(request, progress, say)
    if bar:
        bar.close()
        _summary(path, duration)
    if path != request.output:
        former = read_card(path)["training"]["replay"]["former"]
        raise ForgettingError(
            f"The new model forgets: on what '{args.init}' was validated on, Dice falls from {former['before']:.4f} to"
            f" {former['after']:.4f}. '{request.output}' was not written; the model lies at '{path}'.",
            "Add cases of the former training, or resume and take the new model all the same.",
            setting=("resume", "allow_forgetting"),
        )


def _summary(path: Path, duration) -> None:
    card = read_card(path)
    training = card["training"]
    print(f"{path}: {training['epochs']} epochs in {duration(training['minutes'] * 60)}")
    if processes := training.get("processes"):
        print(f"  {processes['count']} processes, {processes['bytes_per_step']:,} bytes exchanged per step")
    if card["metrics"]:
        for name, value in card["metrics"]["dice"].items():
            print(f"  validation Dice, {name}: {'-' if value is None else f'{value:.4f}'}")
    if former := training.get("replay", {}).get("former"):
        print(f"  Dice on the former model's validation slices: {former['after']:.4f}, before {former['before']:.4f}")
