"""``sam2adapt rank``: which volumes, and which slices of them, are most worth correcting next."""

import argparse
import sys
from pathlib import Path

from ..modelfiles.catalog import find_model
from ..shared import paths
from ..shared.errors import InputFileError, UserError
from ..shared.files import check_output, write_json
from .remedies import shell_remedy


def add_rank_parser(commands) -> None:
    """Add the sub-command ``rank``."""
    parser = commands.add_parser(
        "rank",
        help="say which volumes are most worth correcting next",
        description="Order volumes without labels by how unsure a model is of them, the least sure first.",
    )
    parser.add_argument("inputs", type=Path, nargs="+", help="image files, or folders of them")
    parser.add_argument("--model", required=True, help="name of a model or a model file")
    parser.add_argument("--top", type=int, help="print only so many volumes")
    parser.add_argument("--slices", type=int, default=5, help="slices to name in each volume (default: 5)")
    parser.add_argument("--any-modality", action="store_true", help="do not refuse another modality than the model's")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--json", type=Path, help="also write all numbers here")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> None:
    """Rank and print; a volume that cannot be ranked is named and does not stop the others."""
    from ..imaging.volume import check_input, read_volume
    from .progress import Bar

    if args.json:
        check_output(args.json)
    ranked, failed = [], []

    def fail(path: Path, error: UserError) -> None:
        failed.append((path, error))
        print(f"{path}: {error.message} {shell_remedy(error, args.parser)}", file=sys.stderr)

    files = []
    for path in _files(args.inputs):
        try:
            files.append(check_input(path))
        except UserError as error:
            fail(path, error)
    if not files:
        raise InputFileError("None of the volumes could be ranked.", "See the reasons above.")
    find_model(args.model)

    from ..machine.device import choose_device
    from ..segmenting.model import load_model
    from ..segmenting.rank import rank_volume, to_json

    model = load_model(args.model, choose_device(args.device)[0])
    bar = Bar("Ranking", "volume")
    for number, path in enumerate(files):
        try:
            ranked.append((path, rank_volume(read_volume(path), model, args.slices, args.any_modality)))
        except UserError as error:
            fail(path, error)
        bar.update(number + 1, len(files))
    bar.close()
    ranked.sort(key=lambda pair: -pair[1].score)
    for path, result in ranked[: args.top]:
        print(_line(path, result))
    if args.json:
        content = {
            "model": model.name,
            "ranked": [{"input": str(path), **to_json(result)} for path, result in ranked],
            "failed": [{"input": str(path), "message": str(error)} for path, error in failed],
        }
        write_json(args.json, content)
    if not ranked:
        raise InputFileError("None of the volumes could be ranked.", "See the reasons above.")


def _files(inputs: list[Path]) -> list[Path]:
    from ..evaluation.cases import images_by_name

    files = []
    for path in inputs:
        found = list(images_by_name(path).values()) if paths.is_dir(path) else []
        files += found or [path]  # a folder without image files may be a DICOM series
    return files


def _line(path: Path, result) -> str:
    places = ", ".join(str(one.index) for one in result.slices)
    nothing = "" if result.found else ", nothing found"
    return (
        f"{result.score:.3f}  {path.name}: uncertainty {result.uncertainty:.3f}, "
        f"disagreement {result.disagreement:.3f}{nothing}; slices {places or 'none'}"
    )
