"""Settings of a training. All of them are stored in the bundle, so that the run can be repeated."""

from dataclasses import asdict, dataclass, field
from pathlib import Path

from ..evaluation.cases import Case
from ..imaging.terminology import Structure
from ..shared import presets
from ..shared.known_bases import NANO
from ..shared.requests.actions import Train


@dataclass
class TrainSettings:
    """How to train.

    :param epochs: passes over the annotated slices.
    :param steps: steps of the optimiser, instead of ``epochs``.
    :param max_minutes: time limit, at which the schedule reaches its end; None: only ``epochs`` or ``steps`` count.
    :param learning_rate: of adapters, head and PEG; ``base_learning_rate``: of SAM2's weights.
    :param warmup: share of the run in which the rate rises linearly; it then falls as a cosine.
    :param ema: decay of the moving average of the weights that is validated and kept.
    :param loss: weights of the terms (``losses.SegmentationLoss``); None: those of the method.
    :param rotation: largest angle of augmentation, degrees; ``scale``: largest relative change of size, of rows and
        columns each; ``flips``: axes that may be mirrored (0 rows, 1 columns).
    :param crop: side of the square crops, pixels; None: chosen from the data.
    :param size: longest side of a typical slice on the model's grid, pixels; None: as in the data, within 160 to 256.
    :param axis: slicing axis; ``modality``: CT, MR, RGB, OTHER; None: read from the data.
    :param validate_every: epochs between validations; None: so that they take about a fifth of the time.
    :param filled_weight: of slices that were filled between drawn ones: the share of the epochs that show them.
    :param quick: train head and decoder only, on features that the encoder computes once.
    :param patience: end after so many validations without a gain; None: do not.
    """

    epochs: int = Train.epochs
    steps: int | None = Train.steps
    max_minutes: float | None = Train.max_minutes
    batch_size: int = Train.batch_size
    learning_rate: float = 1e-3
    base_learning_rate: float = Train.base_learning_rate
    weight_decay: float = Train.weight_decay
    warmup: float = Train.warmup
    clip: float = Train.clip
    ema: float = Train.ema
    loss: dict[str, float] | None = None
    rotation: float = Train.rotation
    scale: float = Train.scale
    flips: list[int] = field(default_factory=list)
    crop: int | None = Train.crop
    size: int | None = Train.size
    axis: str | None = Train.axis
    modality: str | None = Train.modality
    validate_every: int | None = Train.validate_every
    patience: int | None = Train.patience
    filled_weight: float = Train.filled_weight
    quick: bool = Train.quick
    seed: int = Train.seed

    def to_json(self) -> dict:
        """All settings, as JSON can hold them."""
        return asdict(self)


@dataclass
class TrainRequest:
    """What to train, on which cases, and the name of the result.

    :param groups: group of each case id, for example the patient; a random split does not divide a group.
    :param allow_forgetting: write the model to ``output`` even if it has lost what its parent knew.
    :param keep_slices: keep a sample of the slices on this machine, for models that will continue this one.
    :param keep_pieces: leave the largest pieces to ``postprocessing``, instead of choosing steps (``cleaning``) and
        taking those of the continued model.
    :param preview: ``.npy`` file to write the first validation case's labels to, uint8 (K, J, I), at each validation.
    """

    cases: list[Case]
    output: Path
    structures: list[Structure]
    base: str = NANO
    method: str = presets.METHOD
    method_settings: dict = field(default_factory=dict)
    settings: TrainSettings = field(default_factory=TrainSettings)
    split: dict[str, list[str]] | None = None
    groups: dict[str, str] | None = None
    name: str | None = None
    description: str = ""
    license: str = Train.license
    data: str = ""
    peg: str = presets.PEG_ADD
    train_upscaling: bool | None = None
    postprocessing: dict = field(default_factory=dict)
    init: str | None = None
    allow_forgetting: bool = False
    keep_slices: bool = True
    keep_pieces: bool = False
    resume: bool = False
    device: str = "auto"
    preview: Path | None = None

    @property
    def folder(self) -> Path:
        """Run folder beside the bundle: checkpoint, ``log.csv`` and, while it runs, the prepared slices."""
        return self.output.with_suffix(".run")


def usual_rate(base: str, continued: bool = False) -> float:
    """Learning rate for a base: 0.003 for new models on ``nano``, where it was measured, else the default.

    The command is Testing/benchmarks/learning_rate.py.

    :param continued: the model starts from a trained one.
    """
    return 3e-3 if base == NANO and not continued else TrainSettings.learning_rate
