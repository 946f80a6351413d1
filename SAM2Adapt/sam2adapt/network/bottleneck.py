"""A slot for adapters: a bottleneck beside the MLP of one of the trunk's blocks."""

from sam2.modeling.sam2_utils import MLP
from torch import Tensor, nn
from torch.nn import functional as F


class AdaptedMLP(MLP):
    """``sam2``'s MLP with an adapter in parallel; the MLP's parameters keep their names."""

    def __init__(self, mlp: MLP, adapter: "Bottleneck", scale: float):
        nn.Module.__init__(self)
        self.num_layers, self.layers = mlp.num_layers, mlp.layers
        self.sigmoid_output, self.act = mlp.sigmoid_output, mlp.act
        self.adapter, self.scale = adapter, scale

    def forward(self, x: Tensor) -> Tensor:
        """Add the scaled adapter's output to the MLP's, both of tokens (B, H, W, C)."""
        return super().forward(x) + self.scale * self.adapter(x)


class Bottleneck(nn.Module):
    """Down, GELU, a spatial operator on (B, r, H, W), Up; tokens (B, H, W, C) in and out.

    :param spatial: after export, a convolution or a module with a method ``prepared`` that returns its form for tokens.
    """

    def __init__(self, channels: int, width: int, spatial: nn.Module):
        super().__init__()
        self.down = nn.Linear(channels, width)
        self.spatial = spatial
        self.up = nn.Linear(width, channels)
        nn.init.zeros_(self.up.weight)
        nn.init.zeros_(self.up.bias)

    def forward(self, x: Tensor) -> Tensor:
        hidden = F.gelu(self.down(x)).permute(0, 3, 1, 2)
        return self.up(self.spatial(hidden).permute(0, 2, 3, 1))
