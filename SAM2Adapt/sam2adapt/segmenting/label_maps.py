"""Labels on the native grid out of logits on the model's grid, without the logits of all classes on the native grid."""

import torch
from torch import Tensor

_LOGITS_AT_ONCE = 1 << 22


def label_maps(logits: Tensor, values: Tensor, size: tuple[int, int]) -> Tensor:
    """Label each pixel with the class of the largest logit, interpolated bilinearly (pixel edges onto pixel edges).

    A native pixel lies between four pixels of the model's grid. Where these four have the same largest class, so has
    every mean of the four, and no logit has to be interpolated. Only the other pixels, along the borders of structures,
    are computed.

    :param logits: (B, K, h, w) float32.
    :param values: (K,) uint8, label value of each class.
    :param size: (H, W) of the native grid.
    :return: (B, H, W) uint8; of equal logits the first class wins.
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
        _label_cells(labels, by_class, values, cells, rows, columns)
    return labels


class _Axis:
    """Where the pixels of one axis of the native grid lie on the model's.

    An axis of n = 2 pixels of the model's grid and 6 native ones: centres of native pixels lie at -0.33 (taken as 0),
    0, 0.33, 0.67, 1 and 1.33 on the model's axis. ``low`` is 0 0 0 0 1 1, ``weight`` 0 0 0.33 0.67 0 0.33, and ``most``
    is 4. Behind the last pixel its neighbour is itself, so that its weight does not matter.

    :ivar following: (n,) the neighbour behind each pixel of the model's grid; the last one has itself.
    :ivar low: (native,) the pixel of the model's grid before a native one; ``weight``: that of the neighbour behind.
    :ivar most: native pixels between two neighbours, at most.
    """

    def __init__(self, n: int, native: int, device: torch.device):
        place = ((torch.arange(native, device=device) + 0.5) * (n / native) - 0.5).clamp_(min=0)
        pixels = torch.arange(n, device=device)
        self.following = (pixels + 1).clamp_(max=n - 1)
        self.low = place.long()
        self.weight = place - self.low
        # Native pixels first[p] to end[p] - 1 lie between pixel p of the model's grid and the one behind it.
        self._first, self._end = torch.searchsorted(self.low, pixels), torch.searchsorted(self.low, pixels, right=True)
        self.most = int((self._end - self._first).max())

    def between(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """Native pixels between pixels (N,) of the model's grid and the ones behind them.

        :return: indices (N, most), and (N, most) which of them are meant: some pixels have fewer than ``most``.
        """
        native = self._first[pixels][:, None] + torch.arange(self.most, device=pixels.device)
        return native.clamp(max=len(self.low) - 1), native < self._end[pixels][:, None]


def _label_cells(labels: Tensor, by_class: Tensor, values: Tensor, cells: Tensor, rows: _Axis, columns: _Axis) -> None:
    """Label all native pixels within some cells of the model's grid, in place.

    A cell is the square between four pixels of the model's grid, named after its upper left one. It holds up to Y x X
    native pixels, Y = ``rows.most`` and X = ``columns.most``, at which the logits of its corners are interpolated:
    along the upper and the lower edge first, then between the edges.

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
