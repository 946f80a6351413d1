"""How often a decoder with low-rank attention gives a pixel the class that the original decoder gives it.

    python Testing/benchmarks/low_rank_agreement.py MODEL.safetensors --data DATA/acdc [--shares 0.25] [--steps 300]

The model is taken as trained, its attentions are factorised and distilled on training slices without labels, as method
``balr`` does before a training, and both decoders segment the validation slices. 99 % is what models.md 4 asks for.
"""

import argparse
import copy
from pathlib import Path

import torch
from sam2adapt.adapters.distillation import distil_decoder
from sam2adapt.adapters.low_rank_attention import LowRankAttention, factorise, teacher_of
from sam2adapt.adapters.method import always
from sam2adapt.evaluation.cases import find_cases, read_split, select
from sam2adapt.imaging.volume import read_volume
from sam2adapt.segmenting.model import Model, load_model
from sam2adapt.segmenting.slices import SliceStack
from torch import Tensor

_BATCH, _TRAINING_BATCHES, _TEST_BATCHES = 8, 16, 6


def batches(model: Model, data: Path, part: str, count: int) -> list[Tensor]:
    """Give normalised slices (8, 3, h, w) of a part's cases, spread over the part, their middles of one size."""
    cases = select(find_cases(data / "images", data / "labels"), read_split(data / "split.json"), part)
    slices = []
    for case in cases:
        stack = SliceStack(read_volume(case.image), model.slices)
        slices += [stack.batch(k, k + 1) for k in range(len(stack))]
    side = min(min(image.shape[-2:]) for image in slices) // 32 * 32
    step = max(1, len(slices) // (count * _BATCH))
    chosen = torch.cat([_middle(image, side) for image in slices[::step]])
    return list(chosen.split(_BATCH))[:count]


def _middle(image: Tensor, side: int) -> Tensor:
    top, left = ((n - side) // 2 for n in image.shape[-2:])
    return image[..., top : top + side, left : left + side]


def classes(network: torch.nn.Module, images: list[Tensor]) -> Tensor:
    """Most probable class of every pixel."""
    with torch.inference_mode():
        return torch.cat([network(batch).argmax(dim=1) for batch in images])


def main() -> None:
    """Print one line for each share of the depth that the attentions keep."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("--data", type=Path, required=True, help="folder with images, labels and split.json")
    parser.add_argument("--shares", default="0.1875,0.25,0.5", help="rank / depth of the attentions' heads")
    parser.add_argument("--steps", default="300", help="of distillation, several separated by commas")
    args = parser.parse_args()
    torch.manual_seed(0)
    model = load_model(args.model)
    training, test = (
        batches(model, args.data, part, n) for part, n in (("train", _TRAINING_BATCHES), ("val", _TEST_BATCHES))
    )
    expected = classes(model.network, test)
    inside = expected > 0
    print(f"{len(expected)} slices, {inside.float().mean():.1%} of the pixels in structures")
    for share in map(float, args.shares.split(",")):
        for steps in map(int, args.steps.split(",")):
            network = copy.deepcopy(model.network.plain)
            transformer = network.base.sam_mask_decoder.transformer
            factorise(transformer, share)
            students = [module for module in transformer.modules() if isinstance(module, LowRankAttention)]
            ranks = sorted({student.rank for student in students})
            same = [classes(network, test) == expected]
            errors = distil_decoder(network, teacher_of(transformer), students, training, steps, always)
            same.append(classes(network, test) == expected)
            whole = [f"{s.float().mean():.2%}" for s in same]
            structures = [f"{s[inside].float().mean():.2%}" for s in same]
            print(
                f"share {share:g} (ranks {ranks}), {steps} steps: error {errors[0]:.4f} to {errors[1]:.4f},"
                f" same class {whole[0]} to {whole[1]}, in structures {structures[0]} to {structures[1]}",
                flush=True,
            )


if __name__ == "__main__":
    main()
