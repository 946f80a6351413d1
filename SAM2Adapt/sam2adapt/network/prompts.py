"""Points and boxes that show where a class is, for interactive refinement.

SAM2's prompt encoder turns them into tokens for the mask decoder. SAM2 knows only a single object. Ours (models.md
2.B): a point of the background is SAM2's negative click, and a learnt embedding, which starts at zero, distinguishes
the prompts of K classes. Untrained, prompts work as in SAM2.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from sam2.modeling.sam.prompt_encoder import PromptEncoder
from torch import Tensor, nn
from torch.nn import functional as F

from ..shared.errors import SettingsError

_NEGATIVE, _POSITIVE, _FIRST_CORNER, _LAST_CORNER, _NOTHING = 0, 1, 2, 3, -1  # labels of SAM2's prompt encoder


@dataclass(frozen=True)
class Prompts:
    """Prompts of one image, in pixels from the centre of its first pixel.

    :param points: column, row and class index of each; class 0 is the background.
    :param boxes: first column, first row, last column, last row and class index (not 0) of each.
    """

    points: tuple[tuple[float, float, int], ...] = ()
    boxes: tuple[tuple[float, float, float, float, int], ...] = ()

    def __bool__(self) -> bool:
        return bool(self.points or self.boxes)

    def entries(self) -> list[tuple[float, float, int, int]]:
        """Column, row, SAM2's label and class of every point and every corner of a box."""
        listed = [(x, y, _POSITIVE if number else _NEGATIVE, number) for x, y, number in self.points]
        for left, top, right, bottom, number in self.boxes:
            listed += [(left, top, _FIRST_CORNER, number), (right, bottom, _LAST_CORNER, number)]
        return listed


class PromptTokens(nn.Module):
    """Turns prompts into tokens of the mask decoder.

    :param num_classes: K, background included.
    :param dim: D of the decoder.
    """

    def __init__(self, num_classes: int, dim: int):
        super().__init__()
        self.classes = nn.Parameter(torch.zeros(num_classes, dim))

    def forward(self, encoder: PromptEncoder, prompts: Sequence[Prompts], size: tuple[int, int]) -> Tensor:
        """Encode the prompts of B images of ``size`` (H, W); returns (B, N + 1, D), with N the most that one image has.

        :raises SettingsError: the network lacks a class, or a box is of the background.
        """
        entries = [self._checked(of_image) for of_image in prompts]
        longest = max(map(len, entries))
        # SAM2 pads with tokens that are not points, and always adds one.
        filled = [listed + [(0.0, 0.0, _NOTHING, 0)] * (longest - len(listed)) for listed in entries]
        table = torch.tensor(filled, dtype=torch.float32, device=self.classes.device)
        labels, numbers = table[..., 2], table[..., 3].long()
        # The encoder divides by the image size that it was built for.
        height, width = encoder.input_image_size
        ratio = table.new_tensor([width / size[1], height / size[0]])
        with torch.autocast(table.device.type, enabled=False):  # bfloat16 would round positions to whole patches
            tokens, _ = encoder(points=((table[..., :2] + 0.5) * ratio - 0.5, labels), boxes=None, masks=None)
            return tokens + F.pad(self.classes[numbers] * (labels != _NOTHING).unsqueeze(-1), (0, 0, 0, 1))

    def _checked(self, prompts: Prompts) -> list[tuple[float, float, int, int]]:
        entries = prompts.entries()
        for _, _, label, number in entries:
            lowest = 1 if label >= _FIRST_CORNER else 0
            if not lowest <= number < len(self.classes):
                raise SettingsError(
                    f"There is no class {number} to prompt for.",
                    f"Give points a class from 0 (background) and boxes one from 1 to {len(self.classes) - 1}.",
                )
        return entries
