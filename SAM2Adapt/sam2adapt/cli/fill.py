"""``sam2adapt fill``: a volume from a few drawn slices."""

import argparse
import math
import sys
from pathlib import Path

from ..imaging.image_files import LABEL_SUFFIXES, suffix_of
from ..shared.errors import OutputError
from ..shared.files import check_output, write_json

_AXES = {"K": 0, "J": 1, "I": 2}


def add_fill_parser(commands) -> None:
    """Add the sub-command ``fill``."""
    parser = commands.add_parser(
        "fill",
        help="fill a volume from a few drawn slices",
        description="Fill the slices between drawn ones. Drawings are a label map whose voxels are 255 where nothing "
        "is drawn, or a .seg.nrrd whose empty slices between drawn ones are to be filled. Drawn voxels never change.",
    )
    parser.add_argument("image", type=Path, metavar="IMAGE", help="volume file, or DICOM file or folder")
    parser.add_argument("--labels", type=Path, required=True, help="drawings on the voxels of the image")
    parser.add_argument(
        "-o", "--output", type=Path, required=True, help=".seg.nrrd (named segments), .nii.gz, .nrrd, .mha"
    )
    parser.add_argument("--axis", choices=tuple(_AXES), help="voxel axis across drawn slices (default: as they lie)")
    parser.add_argument(
        "--structures", type=_names, help="names of the label values 1, 2, …, or the segments to fill; commas between"
    )
    parser.add_argument(
        "--empty", action="append", default=[], type=_empty, metavar="NAME:SLICES",
        help='slices in which a structure is drawn empty, from 0, for instance "liver:0,12"; may be repeated',
    )  # fmt: skip
    parser.add_argument("--series", help="SeriesInstanceUID, for a DICOM folder with several series")
    parser.add_argument("--seed", type=int, default=0, help="of what is learnt from the drawn slices (default: 0)")
    parser.add_argument("--json", type=Path, help="also write expected Dice, uncertainty of each slice, and times")
    parser.set_defaults(run=_run)


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]


def _empty(text: str) -> tuple[str, list[int]]:
    name, _, places = text.rpartition(":")
    try:
        return name, [int(place) for place in places.split(",")]
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"'{text}' is not NAME:SLICE,SLICE,…") from error


def _run(args: argparse.Namespace) -> None:
    from ..imaging.volume import read_volume
    from .progress import Bar

    if suffix_of(args.output) not in LABEL_SUFFIXES:
        raise OutputError(
            f"'{args.output.name}' has no suffix of a format that can be written.",
            f"Use one of {', '.join(LABEL_SUFFIXES)}.",
        )
    check_output(args.output, libraries=True)
    if args.json:
        check_output(args.json)
    volume = read_volume(args.image, args.series)

    from ..filling.drawing_files import read_drawings, write_filling
    from ..filling.filler import Filler

    axis = None if args.axis is None else _AXES[args.axis]
    drawings, structures = read_drawings(args.labels, volume, args.structures, axis, dict(args.empty))
    filler = Filler(volume, args.seed)
    bar = Bar("Filling", "%")
    filling = filler.fill(drawings, lambda share: bar.update(round(100 * share), 100))
    bar.close()
    write_filling(args.output, filling, structures, volume)
    for warning in filling.warnings:
        print(f"warning: {warning}", file=sys.stderr)
    for name, dice in zip(filling.names, filling.expected_dice, strict=True):
        print(f"{name}: {'nothing to fill' if math.isnan(dice) else f'expected Dice {dice:.2f}'}")
    if filling.next_slice is not None:
        along = next(name for name, number in _AXES.items() if number == filling.axis)
        print(f"draw slice {filling.next_slice} along {along} next; filled in {filling.seconds['total']:.1f} s")
    if args.json:
        write_json(args.json, filling.to_json())
