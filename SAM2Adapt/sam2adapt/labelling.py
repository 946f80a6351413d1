"""Labels on the native grid out of logits on the model's grid, without the logits of all classes on the native grid."""

import torch
from torch import Tensor

_MIXED = -1  # in the place of a label: the pixels around do not agree
_LOGITS_AT_ONCE = 1 << 22


def label_maps(logits: Tensor, values: Tensor, size: tuple[int, int]) -> Tensor:
    """Label each pixel with the class of the largest logit, interpolated bilinearly (pixel edges onto pixel edges).

    Where the four pixels of the model's grid around one of the native grid have the same largest class, so has every
    mean of the four: only the others, along the borders of structures, are interpolated.

    :param logits: (B, K, h, w) float32.
    :param values: (K,) label value of each class, 0 to 255.
    :param size: (H, W) of the native grid.
    :return: (B, H, W) uint8; of equal logits the first class wins.
    """
    labels = values.to(logits.device, torch.int16)[logits.max(dim=1).indices]
    if logits.shape[-2:] == size:
        return labels.to(torch.uint8)
    rows, columns = (_Axis(n, wanted, logits.device) for n, wanted in zip(logits.shape[-2:], size, strict=True))
    below, right = labels.index_select(1, rows.following), labels.index_select(2, columns.following)
    agreed = (labels == below) & (labels == right) & (labels == below.index_select(2, columns.following))
    labels = labels.masked_fill_(~agreed, _MIXED).index_select(2, columns.low).index_select(1, rows.low)
    flat = labels.view(-1)
    mixed = (flat == _MIXED).nonzero().squeeze(1)
    by_class = logits.movedim(1, 0).reshape(logits.shape[1], -1)
    for pixels in mixed.split(max(1, _LOGITS_AT_ONCE // len(values))):
        flat[pixels] = values.to(flat)[_interpolated(by_class, pixels, rows, columns).max(dim=0).indices]
    return labels.to(torch.uint8)


class _Axis:
    """Where the pixels of one axis of the native grid lie on the model's.

    :ivar low: (wanted,) the pixel before, :ivar high: the one after, :ivar weight: of the one after.
    :ivar following: (n,) the neighbour of each pixel of the model's grid; the last has itself.
    """

    def __init__(self, n: int, wanted: int, device: torch.device):
        place = ((torch.arange(wanted, device=device) + 0.5) * (n / wanted) - 0.5).clamp_(min=0)
        self.following = torch.arange(1, n + 1, device=device).clamp_(max=n - 1)
        self.low = place.long()
        self.high = self.following[self.low]
        self.weight = place - self.low


def _interpolated(by_class: Tensor, pixels: Tensor, rows: _Axis, columns: _Axis) -> Tensor:
    """Logits (K, P) at flat indices (P,) of the native grid, from (K, B * h * w)."""
    height, width = len(rows.low), len(columns.low)
    y, x = pixels // width % height, pixels % width
    start = pixels // (width * height) * len(rows.following)

    def row(y: Tensor) -> Tensor:
        first = (start + y) * len(columns.following)
        ends = (by_class.index_select(1, first + at[x]) for at in (columns.low, columns.high))
        return torch.lerp(*ends, columns.weight[x])

    return torch.lerp(row(rows.low[y]), row(rows.high[y]), rows.weight[y])
