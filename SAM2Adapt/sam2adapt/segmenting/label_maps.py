"""Labels on the native grid from logits on the model's grid, without computing all logits on the native grid."""

import torch
from torch import Tensor

from ..machine.interruption import look

_LOGITS_AT_ONCE = 1 << 22


def label_maps(logits: Tensor, values: Tensor, size: tuple[int, int]) -> Tensor:
    """Label each pixel with the class of the largest logit, interpolated bilinearly (pixel edges onto pixel edges).

    A native pixel lies between four pixels of the model's grid. If one class is the largest at all four, it is also the
    largest in between, so no logit needs to be interpolated. Only the other pixels, along the borders of structures,
    are computed.

    :param logits: (B, K, h, w) float32.
    :param values: (K,) uint8, label value of each class.
    :param size: (H, W) of the native grid.
    :return: (B, H, W) uint8; if logits are equal, the first class wins.
    """
    values = values.to(logits.device)
    labels = values[logits.max(dim=1).indices]
    if logits.shape[-2:] == size:
        return labels
    rows, columns = (_Axis(n, native, logits.device) for n, native in zip(logits.shape[-2:], size, strict=True))
    below, right = labels.index_select(1, rows.following), labels.index_select(2, columns.following)
    mixed = (labels != below) | (labels != right) | (labels != below.index_select(2, columns.following))
    labels = labels.index_select(2, columns.low).index_select(1, rows.low)
    by_class = logits.movedim(1, 0).reshape(logits.shape[1], -1)
    at_once = max(1, _LOGITS_AT_ONCE // (len(values) * rows.most * columns.most))
    for cells in mixed.nonzero().split(at_once):
        look()
        _label_cells(labels, by_class, values, cells, rows, columns)
    return labels


class _Axis:
    """Positions of native pixels on the model's grid, along one axis.

    An example with n = 2 pixels of the model's grid and 6 native pixels: the centres of the native pixels are at -0.33
    (taken as 0), 0, 0.33, 0.67, 1 and 1.33 on the model's axis. ``low`` is 0 0 0 0 1 1, ``weight`` is 0 0 0.33 0.67 0
    0.33, and ``most`` is 4. The last pixel is its own neighbour, so its weight does not matter.

    :ivar following: (n,) index of the next pixel of the model's grid; for the last pixel, its own index.
    :ivar low: (native,) index of the pixel of the model's grid before a native pixel; ``weight``: weight of the next
        one.
    :ivar most: largest number of native pixels between two pixels of the model's grid.
    """

    def __init__(self, n: int, native: int, device: torch.device):
        place = ((torch.arange(native, device=device) + 0.5) * (n / native) - 0.5).clamp_(min=0)
        pixels = torch.arange(n, device=device)
        self.following = (pixels + 1).clamp_(max=n - 1)
        self.low = place.long()
        self.weight = place - self.low
        # Native pixels first[p] to end[p] - 1 lie between pixels p and p + 1 of the model's grid.
        self._first, self._end = torch.searchsorted(self.low, pixels), torch.searchsorted(self.low, pixels, right=True)
        self.most = int((self._end - self._first).max())

    def between(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """Native pixels between pixels (N,) of the model's grid and the next ones.

        :return: indices (N, most), and (N, most) whether each is valid, because some pixels have fewer than ``most``.
        """
        native = self._first[pixels][:, None] + torch.arange(self.most, device=pixels.device)
        return native.clamp(max=len(self.low) - 1), native < self._end[pixels][:, None]


def _label_cells(labels: Tensor, by_class: Tensor, values: Tensor, cells: Tensor, rows: _Axis, columns: _Axis) -> None:
    """Label all native pixels in some cells of the model's grid, in place.

    A cell is the square between four pixels of the model's grid; the upper left one names it. It holds up to Y x X
    native pixels, with Y = ``rows.most`` and X = ``columns.most``. The logits of its corners are interpolated first
    along the upper and lower edge, then between the two edges.

    :param labels: (B, H, W) on the native grid.
    :param by_class: (K, B h w) logits.
    :param cells: (N, 3): image, row and column of each cell.
    """
    image, row, column = cells.unbind(1)
    height, width = len(rows.following), len(columns.following)

    def corner(row: Tensor, column: Tensor) -> Tensor:
        return by_class.index_select(1, (image * height + row) * width + column)[..., None, None]  # (K, N, 1, 1)

    below, right = rows.following[row], columns.following[column]
    (y, y_inside), (x, x_inside) = rows.between(row), columns.between(column)  # (N, Y) and (N, X)
    across, down = columns.weight[x][:, None, :], rows.weight[y][:, :, None]  # (N, 1, X) and (N, Y, 1)
    upper = torch.lerp(corner(row, column), corner(row, right), across)  # (K, N, 1, X)
    lower = torch.lerp(corner(below, column), corner(below, right), across)
    winners = torch.lerp(upper, lower, down).max(dim=0).indices  # (N, Y, X) class indices
    place = (image[:, None] * labels.shape[1] + y)[:, :, None] * labels.shape[2] + x[:, None, :]  # (N, Y, X)
    inside = y_inside[:, :, None] & x_inside[:, None, :]
    labels.view(-1)[place[inside]] = values[winners[inside]]
