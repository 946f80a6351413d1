"""A small network that learns from the drawn slices alone how grey levels and carried drawings make a structure."""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

_WIDTH = 64
_STEPS = 200
_BATCH = 4096
_RATE = 2e-3
_LOGIT_LIMIT = 12.0
OPINIONS = 3  # distance, flow and growth, the first maps of the evidence
_FIRST_WEIGHTS = (0.1, 0.3, 0.5)  # of the opinions, before anything is learnt


class PixelLearner:
    """A pixel classifier with one output a structure, so that structures may overlap.

    It starts from a fixed weighing of the opinions, and a second training from where the first ended.

    :param seed: of initial weights and batches; the same seed gives the same result.
    """

    def __init__(self, seed: int = 0):
        self._seed = seed
        self._network: _Network | None = None

    def fit(self, inputs: np.ndarray, targets: np.ndarray, known: np.ndarray, tell: Callable[[float], None]) -> None:
        """Train on pixels.

        :param inputs: (P, 3 S + F) opinions on each of S structures, then features of the image.
        :param targets: (P, S) 0 or 1; :param known: (P, S) false where a structure was not drawn.
        :param tell: is told the share that is done; may raise to stop.
        """
        generator = torch.Generator().manual_seed(self._seed)
        x, y = torch.from_numpy(inputs), torch.from_numpy(targets.astype(np.float32))
        weight = torch.from_numpy(known.astype(np.float32))
        warm = self._network is not None and self._network.shape == (x.shape[1], y.shape[1])
        if not warm:
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(self._seed)
                self._network = _Network(x, y.shape[1])
        steps = _STEPS // 4 if warm else _STEPS
        optimiser = torch.optim.AdamW(self._network.parameters(), weight_decay=1e-3)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, _RATE / 2 if warm else _RATE, total_steps=steps)
        for step in range(steps):
            tell(step / steps)
            chosen = torch.randint(len(x), (_BATCH,), generator=generator)
            loss = F.binary_cross_entropy_with_logits(self._network(x[chosen]), y[chosen], weight[chosen])
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()

    @torch.no_grad()
    def predict(self, inputs: np.ndarray) -> np.ndarray:
        """Logits (S, H, W) of a slice's inputs (3 S + F, H, W)."""
        pixels = torch.from_numpy(inputs.reshape(len(inputs), -1)).T
        logits = torch.cat([self._network(part) for part in pixels.split(65536)])
        return logits.clamp(-_LOGIT_LIMIT, _LOGIT_LIMIT).T.reshape(-1, *inputs.shape[1:]).numpy()


class _Network(nn.Module):
    """Opinions, weighed, plus what a multi-layer perceptron makes of all inputs, which is nothing at first."""

    def __init__(self, inputs: Tensor, structures: int):
        super().__init__()
        self.shape = (inputs.shape[1], structures)
        self.register_buffer("mean", inputs.mean(0))
        self.register_buffer("scale", inputs.std(0) + 1e-3)
        self.weights = nn.Parameter(torch.tensor(_FIRST_WEIGHTS).repeat(structures, 1))
        self.layers = nn.Sequential(
            nn.Linear(inputs.shape[1], _WIDTH), nn.GELU(), nn.Linear(_WIDTH, _WIDTH), nn.GELU(),
            nn.Linear(_WIDTH, structures),
        )  # fmt: skip
        nn.init.zeros_(self.layers[-1].weight)
        nn.init.zeros_(self.layers[-1].bias)

    def forward(self, x: Tensor) -> Tensor:
        opinions = x[:, : self.weights.numel()].reshape(-1, *self.weights.shape)
        return self.layers((x - self.mean) / self.scale) + (opinions * self.weights).sum(-1)
