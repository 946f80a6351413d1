"""What each method costs on each base, beside what its paper claims; all of it computed, from shapes alone.

The published figures are the named constants of this file, with their sources; every verdict follows from them and from
what was computed. ``Testing/benchmarks/README.md`` explains each row.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import product
from typing import Any

from sam2adapt import adapters

from .decoder_memory import DecoderMemory, decoder_memory
from .multiplications import MeasuredMethod, measure

BASES = ("tiny", "small", "base_plus", "large")
IMAGE_SIZES = (224, 256, 512)
MEMORY_SIZES = (256, 512, 1024)
CLASSES = 4

# Parameters of SAM 2.1 with its memory modules, which the papers' shares refer to (models.md 1.1; a test counts them).
FULL_PARAMETERS = {"tiny": 38_962_498, "small": 46_060_354, "base_plus": 80_850_178, "large": 224_446_642}

# GMAC of one image. README of github.com/usagisukisuki/G-SAM, by the authors of the dual adapters; their counter leaves
# out the products inside attentions: the linear layers and convolutions of ViT-B at 1024 alone come to 372.
PUBLISHED_GMAC = {"AdaptFormer": 386.48, "SAM ViT-B": 371.98, "SAMUS": 145.87}

SAM2LORA_SHARE = 0.05  # trained, at most; arXiv 2510.10288, abstract
DUAL_REDUCTION = 0.87  # of the computation of heavyweight medical SAM adaptations; arXiv 2605.05979, abstract
BALR_SHARE = 0.018  # trained; arXiv 2509.24204, abstract
BALR_MEMORY = 0.75  # of the decoder's attention saved; arXiv 2509.24204, abstract

# Methods with their defaults, and SAM2LoRA with the rank that its authors' code has.
VARIANTS: dict[str, tuple[str, dict]] = {
    "head": ("head", {}),
    "lora": ("lora", {}),
    "lora rank 64": ("lora", {"rank": 64}),
    "dual-hp": ("dual-hp", {}),
    "dual-lw": ("dual-lw", {}),
    "balr": ("balr", {}),
    "detail": ("detail", {}),
    "refine": ("refine", {}),
    "combined": ("combined", {}),
    "full": ("full", {}),
}


@dataclass(frozen=True)
class Verdict:
    """A published claim beside what was computed; it holds if ours, rounded as the paper's, is at least as good.

    :param published: the paper's figure, and ``measured``: ours, both as shares.
    :param base: that it is computed for; None: all have the same.
    :param side: of the image, pixels; ``against``: what it is compared with; None: neither matters.
    """

    method: str
    claim: str
    published: float
    measured: float
    holds: bool
    base: str | None = None
    side: int | None = None
    against: str | None = None

    @property
    def words(self) -> str:
        """The verdict in words."""
        return in_words(self.holds)

    def to_json(self) -> dict[str, Any]:
        """All of it, as JSON can hold it."""
        return asdict(self) | {"verdict": self.words}


def in_words(holds: bool) -> str:
    """A verdict in words."""
    return "holds" if holds else "falls short"


@dataclass(frozen=True)
class Benchmark:
    """Everything that was computed: sizes by base and variant, memory by image size."""

    sizes: dict[str, dict[str, MeasuredMethod]]
    memory: dict[int, DecoderMemory]

    def image_parameters(self, base: str) -> int:
        """Parameters of the base without its memory modules, which segmentation of images never uses."""
        head = self.sizes[base]["head"]
        return head.training.parameters - head.trained

    def shares(self, base: str, variant: str) -> tuple[float, float]:
        """Share of the full base that is trained, and of its image mode."""
        trained = self.sizes[base][variant].trained
        return trained / FULL_PARAMETERS[base], trained / self.image_parameters(base)

    def verdicts(self) -> list[Verdict]:
        """Every published claim on every base that was measured."""
        return [*self._shares(), *self._reductions(), *self._savings()]

    def _shares(self) -> Iterator[Verdict]:
        for base in self.sizes:
            for variant in ("lora", "lora rank 64"):
                share, _ = self.shares(base, variant)
                holds = share < SAM2LORA_SHARE
                yield Verdict(variant, "less than 5 % trained", SAM2LORA_SHARE, share, holds, base)
            share, _ = self.shares(base, "balr")
            yield Verdict("balr", "1.8 % trained", BALR_SHARE, share, round(share, 3) <= BALR_SHARE, base)

    def _reductions(self) -> Iterator[Verdict]:
        for base, methods in self.sizes.items():
            for variant in ("dual-hp", "dual-lw"):
                for side, cost in methods[variant].costs.items():
                    for other, published in PUBLISHED_GMAC.items():
                        reduction = 1 - cost.gmac_without_attention / published
                        holds = round(reduction, 2) >= DUAL_REDUCTION
                        claim = "87 % less computation"
                        yield Verdict(variant, claim, DUAL_REDUCTION, reduction, holds, base, side, other)

    def _savings(self) -> Iterator[Verdict]:
        for side, memory in self.memory.items():
            holds = round(memory.saved, 2) >= BALR_MEMORY
            claim = "75 % less memory of the decoder's attentions"
            yield Verdict("balr", claim, BALR_MEMORY, memory.saved, holds, side=side)

    def to_json(self) -> dict[str, Any]:
        """All numbers, as JSON can hold them."""
        return {
            "classes": CLASSES,
            "published": {
                "gmac": PUBLISHED_GMAC, "sam2lora_share": SAM2LORA_SHARE, "dual_reduction": DUAL_REDUCTION,
                "balr_share": BALR_SHARE, "balr_memory": BALR_MEMORY,
            },
            "bases": {base: self._base(base) for base in self.sizes},
            "decoder_memory": {str(side): memory.to_json() for side, memory in self.memory.items()},
            "claims": [verdict.to_json() for verdict in self.verdicts()],
        }  # fmt: skip

    def _base(self, base: str) -> dict[str, Any]:
        methods = {}
        for variant, sizes in self.sizes[base].items():
            of_full, of_image = self.shares(base, variant)
            methods[variant] = sizes.to_json() | {"share_of_full": of_full, "share_of_image_mode": of_image}
        return {
            "full_parameters": FULL_PARAMETERS[base],
            "image_mode_parameters": self.image_parameters(base),
            "methods": methods,
        }


def run(bases: Sequence[str] = BASES, progress: Callable[[int, int], None] | None = None) -> Benchmark:
    """Compute everything for these bases.

    :param progress: called with (networks measured, networks in all).
    """
    sizes: dict[str, dict[str, MeasuredMethod]] = {base: {} for base in bases}
    for number, (base, variant) in enumerate(product(bases, VARIANTS), start=1):
        sizes[base][variant] = measure(base, adapters.create(*VARIANTS[variant]), CLASSES, IMAGE_SIZES)
        if progress:
            progress(number, len(bases) * len(VARIANTS))
    return Benchmark(sizes, {side: decoder_memory(side) for side in MEMORY_SIZES})
