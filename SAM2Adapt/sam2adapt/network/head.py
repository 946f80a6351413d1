"""K-class decoding with SAM2's mask decoder, without prompts by default (models.md 1.5).

For all methods, and ours: each class has a token and a last hyper-network layer, which start from those of the
pretrained single mask; everything in between is SAM2's. (The dual-adapter paper extends the decoder to K classes
without saying how.) ``MaskDecoder.forward`` is not used, because it may replace a mask by a more stable one.
"""

import torch
from sam2.modeling.sam.mask_decoder import MaskDecoder
from torch import Tensor, nn
from torch.nn import functional as F

from .attention import share_token_weight


class QualityHead(nn.Module):
    """SAM2's IoU prediction for K classes: its first layers, frozen, and a last one that starts from the first mask's.

    257 parameters a class at D = 256.
    """

    def __init__(self, decoder: MaskDecoder, num_classes: int):
        super().__init__()
        last = decoder.iou_prediction_head.layers[-1]
        self.weight = nn.Parameter(last.weight[:1].detach().repeat(num_classes, 1))
        self.bias = nn.Parameter(last.bias[:1].detach().repeat(num_classes))

    def forward(self, decoder: MaskDecoder, token: Tensor) -> Tensor:
        """Predict the IoU (B, K), 0 to 1, of every class from the output IoU token (B, D)."""
        mlp = decoder.iou_prediction_head
        for layer in mlp.layers[:-1]:
            token = mlp.act(layer(token))
        return F.linear(token, self.weight, self.bias).float().sigmoid()


class ClassHead(nn.Module):
    """Class tokens (K, D) and per-class hyper-network layers (K, D/8, D); K counts the background.

    8,480 parameters a class at D = 256. At its initial state every class map equals SAM2's single-mask output.
    """

    def __init__(self, decoder: MaskDecoder, num_classes: int):
        super().__init__()
        last = decoder.output_hypernetworks_mlps[0].layers[2]
        self.num_classes = num_classes
        self.quality: QualityHead | None = None
        self.tokens = nn.Parameter(decoder.mask_tokens.weight[:1].detach().repeat(num_classes, 1))
        self.weight = nn.Parameter(last.weight.detach().repeat(num_classes, 1, 1))
        self.bias = nn.Parameter(last.bias.detach().repeat(num_classes, 1))
        share_token_weight(decoder.transformer, 2, num_classes, decoder.num_mask_tokens - 1)

    def forward(
        self,
        decoder: MaskDecoder,
        embedding: Tensor,
        positions: Tensor,
        high_resolution: tuple[Tensor, Tensor],
        prompts: Tensor | None = None,
    ) -> tuple[Tensor, Tensor, Tensor | None]:
        """Decode the image embedding (B, D, h, w) with positions (B or 1, D, h, w) and prompts' tokens (B, N, D).

        :return: a kernel for each class (B, K, D/8), the pixel features (B, D/8, 4h, 4w) to multiply with it, and the
            expected IoU (B, K) or, without a quality head, None.
        """
        batch = embedding.shape[0]
        tokens = self.all_tokens(decoder).expand(batch, -1, -1)
        if prompts is not None:
            tokens = torch.cat([tokens, prompts], dim=1)
        hidden, source = decoder.transformer(embedding, positions.expand(batch, -1, -1, -1), tokens)
        pixels = self._upscale(decoder, source.transpose(1, 2).reshape(embedding.shape), high_resolution)
        kernels = self._kernels(decoder, hidden[:, 2 : 2 + self.num_classes])
        quality = None if self.quality is None else self.quality(decoder, hidden[:, 1])
        return kernels, pixels, quality

    def all_tokens(self, decoder: MaskDecoder) -> Tensor:
        """All tokens (K + 5, D) of the decoder; those of the classes begin at 2."""
        return torch.cat(
            [decoder.obj_score_token.weight, decoder.iou_token.weight, self.tokens, decoder.mask_tokens.weight[1:]]
        )

    def _kernels(self, decoder: MaskDecoder, hidden: Tensor) -> Tensor:
        mlp = decoder.output_hypernetworks_mlps[0]
        for layer in mlp.layers[:2]:
            hidden = mlp.act(layer(hidden))
        return torch.einsum("bkd,kcd->bkc", hidden, self.weight) + self.bias

    @staticmethod
    def _upscale(decoder: MaskDecoder, source: Tensor, high_resolution: tuple[Tensor, Tensor]) -> Tensor:
        deconv1, norm, act1, deconv2, act2 = decoder.output_upscaling
        s0, s1 = high_resolution
        return act2(deconv2(act1(norm(deconv1(source) + s1))) + s0)
