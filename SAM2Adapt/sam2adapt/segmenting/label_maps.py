"""Labels on the native grid out of logits on the model's grid, without the logits of all classes on the native grid."""

import torch
from torch import Tensor

_LOGITS_AT_ONCE = 1 << 22


def label_maps(logits: Tensor, values: Tensor, size: tuple[int, int]) -> Tensor:
    """Label each pixel with the class of the largest logit, interpolated bilinearly (pixel edges onto pixel edges).

    Where the four pixels of the model's grid around one of the native grid have the same largest class, so has every
    mean of the four: only the others, along the borders of structures, are interpolated.

    :param logits: (B, K, h, w) float32.
    :param values: (K,) uint8, label value of each class.
    :param size: (H, W) of the native grid.
    :return: (B, H, W) uint8; of equal logits the first class wins.
    """
    values = values.to(logits.device)
    labels = values[logits.max(dim=1).indices]
    if logits.shape[-2:] == size:
        return labels
    rows, columns = (_Axis(n, wanted, logits.device) for n, wanted in zip(logits.shape[-2:], size, strict=True))
    below, right = labels.index_select(1, rows.following), labels.index_select(2, columns.following)
    mixed = (labels != below) | (labels != right) | (labels != below.index_select(2, columns.following))
    labels = labels.index_select(2, columns.low).index_select(1, rows.low)
    by_class = logits.movedim(1, 0).reshape(logits.shape[1], -1)
    at_once = max(1, _LOGITS_AT_ONCE // (len(values) * rows.most * columns.most))
    for cells in mixed.nonzero().split(at_once):
        _label_cells(labels, by_class, values, cells, rows, columns)
    return labels


class _Axis:
    """Where the pixels of one axis of the native grid lie on the model's.

    :ivar following: (n,) the neighbour of each pixel of the model's grid; the last has itself.
    :ivar low: (wanted,) the pixel of the model's grid before a native one, :ivar weight: of the neighbour after it.
    :ivar most: native pixels between two neighbours, at most.
    """

    def __init__(self, n: int, wanted: int, device: torch.device):
        place = ((torch.arange(wanted, device=device) + 0.5) * (n / wanted) - 0.5).clamp_(min=0)
        own = torch.arange(n, device=device)
        self.following = (own + 1).clamp_(max=n - 1)
        self.low = place.long()
        self.weight = place - self.low
        self._first, self._end = torch.searchsorted(self.low, own), torch.searchsorted(self.low, own, right=True)
        self.most = int((self._end - self._first).max())

    def pixels(self, own: Tensor) -> tuple[Tensor, Tensor]:
        """Native pixels (N, most) between pixels (N,) of the model's grid and their neighbours, and which are such."""
        pixels = self._first[own][:, None] + torch.arange(self.most, device=own.device)
        return pixels.clamp(max=len(self.low) - 1), pixels < self._end[own][:, None]


def _label_cells(labels: Tensor, by_class: Tensor, values: Tensor, cells: Tensor, rows: _Axis, columns: _Axis) -> None:
    """Label the native pixels between pixels of the model's grid and their neighbours, in place.

    :param labels: (B, H, W), :param by_class: (K, B * h * w) logits, :param cells: (N, 3) image, row and column.
    """
    image, row, column = cells.unbind(1)
    corners = [
        by_class.index_select(1, (image * len(rows.following) + r) * len(columns.following) + c)[..., None, None]
        for r in (row, rows.following[row])
        for c in (column, columns.following[column])
    ]
    (y, y_inside), (x, x_inside) = rows.pixels(row), columns.pixels(column)
    weight = columns.weight[x][:, None, :]
    upper, lower = torch.lerp(*corners[:2], weight), torch.lerp(*corners[2:], weight)
    winners = torch.lerp(upper, lower, rows.weight[y][:, :, None]).max(dim=0).indices
    place = (image[:, None] * labels.shape[1] + y)[:, :, None] * labels.shape[2] + x[:, None, :]
    inside = y_inside[:, :, None] & x_inside[:, None, :]
    labels.view(-1)[place[inside]] = values[winners[inside]]
