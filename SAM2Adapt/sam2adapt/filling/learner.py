"""Small networks and trees that learn from the drawn slices how grey levels and carried drawings make a structure.

Each of them leaves out some of the drawn slices. So there is an honest answer for every drawn slice, that of those
which have not seen it, and for all other slices the mean of several answers.
"""

import copy
import itertools
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .opinions.evidence import OPINIONS
from .threads import beside, results_of
from .trees import Trees

FOLDS = 3
_WIDTH = 64
_STEPS = 130
_BATCH = 3072
_RATE = 3e-3
_LOGIT_LIMIT = 12.0
_DOUBT = 3.0  # logit: where the networks are surer, the trees are not asked
_CHUNK = 4096  # pixels at a time, so that what is in between stays in the cache
_FIRST_WEIGHTS = (0.1, 0.3, 0.25, 0.25)  # of the opinions, before anything is learnt
_SURER = 0.2  # the share of a structure's pixels, or of those outside it, whose opinions lie beyond their limit


class PixelLearner:
    """Pixel classifiers with one output a structure, so that structures may overlap.

    The networks start from a fixed weighing of the opinions, and a second training from where the first ended. Trees
    cannot learn on: they are grown anew.

    :param seed: of initial weights and batches; the same seed gives the same result.
    """

    def __init__(self, seed: int = 0):
        self._seed = seed
        self._network: _Networks | None = None
        self._trees = Trees(seed)
        self._limits: np.ndarray | None = None  # of the opinions

    def fit(
        self, inputs: np.ndarray, targets: np.ndarray, known: np.ndarray, fold: np.ndarray,
        tell: Callable[[float], None],
    ) -> None:  # fmt: skip
        """Train on pixels, networks and trees side by side; who stops keeps what was learnt before.

        :param inputs: (P, 4 S + F) opinions on each of S structures, then features of the image.
        :param targets: (P, S) 0 or 1; :param known: (P, S) false where a structure was not drawn.
        :param fold: (P,) which network must not see the pixel.
        :param tell: is told the share that is done; may raise to stop.
        """
        # Where all that is drawn lies in one fold, its network has nothing else to learn from.
        seen = [np.flatnonzero(fold != k) for k in range(FOLDS)]
        seen = [own if len(own) else np.arange(len(fold)) for own in seen]
        given = (inputs, targets, known, seen)
        trees = Trees(self._seed)
        trees.plan(FOLDS, targets.shape[1])
        with beside(2) as (pool, stopped):
            growing = [pool.submit(trees.fit, *given, stopped.is_set)]
            network = self._fit_networks(*given, tell)
            growing.append(pool.submit(trees.fit, *given, stopped.is_set))  # where the networks were
            results_of(growing, lambda: tell(1.0))
        self._network, self._trees, self._limits = network, trees, _limits(inputs, targets, known)

    def _fit_networks(
        self, inputs: np.ndarray, targets: np.ndarray, known: np.ndarray, seen: list[np.ndarray],
        tell: Callable[[float], None],
    ) -> "_Networks":  # fmt: skip
        generator = torch.Generator().manual_seed(self._seed)
        x, y = torch.from_numpy(inputs), torch.from_numpy(targets.astype(np.float32))
        weight = torch.from_numpy(known.astype(np.float32))
        places = [torch.from_numpy(own) for own in seen]
        warm = self._network is not None and self._network.shape == (x.shape[1], y.shape[1])
        if warm:
            network = copy.deepcopy(self._network)
        else:
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(self._seed)
                network = _Networks(x, y.shape[1])
        steps = _STEPS // 4 if warm else _STEPS
        optimiser = torch.optim.AdamW(network.parameters(), weight_decay=1e-3)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, _RATE / 2 if warm else _RATE, total_steps=steps)
        for step in range(steps):
            tell(step / steps)
            chosen = torch.stack([own[torch.randint(len(own), (_BATCH,), generator=generator)] for own in places])
            # The sum over networks: none learns more slowly because there are others.
            loss = FOLDS * F.binary_cross_entropy_with_logits(network(x[chosen]), y[chosen], weight[chosen])
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
        return network

    @torch.no_grad()
    def predict(self, inputs: np.ndarray, fold: int | None = None) -> np.ndarray:
        """Logits (S, H, W) of a slice's inputs (4 S + F, H, W).

        Beside a drawn slice, opinions are surer than on any hidden slice that was learnt from, and of numbers that it
        has never seen a network may make anything. So no opinion counts as surer than ``_limits`` allows.

        :param fold: of a drawn slice, for the answer of those that have not seen it.
        """
        opinions, rest = np.split(inputs.reshape(len(inputs), -1), [self._limits.shape[1]])
        pixels = np.concatenate([np.clip(opinions, *self._limits[..., None]), rest])
        networks = [self._network.answering(k) for k in (range(FOLDS) if fold is None else [fold])]
        chunks = torch.from_numpy(pixels).split(_CHUNK, 1)
        logits = torch.cat([_mean_answer(networks, part) for part in chunks], 1).numpy()
        for index, own in enumerate(logits):
            open_ = np.flatnonzero(np.abs(own) < _DOUBT)
            said = self._trees.predict(pixels[:, open_].T, index, fold) if len(open_) else None
            if said is not None:
                own[open_] = (own[open_] + np.clip(said, -_LOGIT_LIMIT, _LOGIT_LIMIT)) / 2
        return logits.reshape(-1, *inputs.shape[1:])


def _limits(inputs: np.ndarray, targets: np.ndarray, known: np.ndarray) -> np.ndarray:
    """The lowest and the highest value (2, 4 S) that opinions on S structures may have, as ``fit`` is given them.

    The lowest is a quantile of the pixels outside a structure, the highest one of those inside, however few they are.
    """
    count = targets.shape[1] * OPINIONS
    limits = np.stack([inputs[:, :count].min(0), inputs[:, :count].max(0)])
    for index in range(targets.shape[1]):
        own = slice(index * OPINIONS, (index + 1) * OPINIONS)
        for limit, share, side in zip(limits, (_SURER, 1 - _SURER), (False, True), strict=True):
            pixels = known[:, index] & ((targets[:, index] > 0) == side)
            if pixels.any():
                limit[own] = np.quantile(inputs[pixels, own], share, axis=0)
    return limits


def _mean_answer(networks: list[Callable[[Tensor], Tensor]], pixels: Tensor) -> Tensor:
    return sum(network(pixels).clamp(-_LOGIT_LIMIT, _LOGIT_LIMIT) for network in networks) / len(networks)


class _Networks(nn.Module):
    """Opinions, weighed, plus what a multi-layer perceptron makes of all inputs, which is nothing at first."""

    def __init__(self, inputs: Tensor, structures: int):
        super().__init__()
        self.shape = (inputs.shape[1], structures)
        self.register_buffer("mean", inputs.mean(0))
        self.register_buffer("scale", inputs.std(0) + 1e-3)
        self.weights = nn.Parameter(torch.tensor(_FIRST_WEIGHTS).repeat(FOLDS, structures, 1))
        sizes = (inputs.shape[1], _WIDTH, _WIDTH, structures)
        self.matrices = nn.ParameterList(
            torch.randn(FOLDS, before, after) / before**0.5
            if after is not structures
            else torch.zeros(FOLDS, before, after)
            for before, after in itertools.pairwise(sizes)
        )
        self.shifts = nn.ParameterList(torch.zeros(FOLDS, 1, after) for after in sizes[1:])

    def forward(self, x: Tensor) -> Tensor:
        """Logits (K, P, S) of pixels (K, P, 4 S + F)."""
        opinions = x[..., : self.shape[1] * OPINIONS].unflatten(-1, (self.shape[1], OPINIONS))
        result = (opinions * self.weights[:, None]).sum(-1)
        x = (x - self.mean) / self.scale
        for number, (matrix, shift) in enumerate(zip(self.matrices, self.shifts, strict=True)):
            x = torch.baddbmm(shift, F.gelu(x) if number else x, matrix)
        return result + x

    def answering(self, fold: int) -> Callable[[Tensor], Tensor]:
        """One network in the form that predicts: logits (S, P) of pixels (4 S + F, P).

        Each input's values lie together, as the maps have them, and are scaled by the first matrix; the opinions are
        weighed by one product.
        """
        matrices = [matrix[fold].T.contiguous() for matrix in self.matrices]
        matrices[0] = (matrices[0] / self.scale).contiguous()
        shifts = [shift[fold].T for shift in self.shifts]
        shifts[0] = shifts[0] - matrices[0] @ self.mean[:, None]
        opinions = torch.block_diag(*self.weights[fold])

        def logits(pixels: Tensor) -> Tensor:
            x = torch.addmm(shifts[0], matrices[0], pixels)
            x = torch.addmm(shifts[1], matrices[1], F.gelu(x))
            return torch.addmm(shifts[2], matrices[2], F.gelu(x)) + opinions @ pixels[: opinions.shape[1]]

        return logits
