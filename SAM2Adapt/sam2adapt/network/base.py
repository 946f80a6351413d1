"""The image path of SAM 2.1, built from the classes of the ``sam2`` package, without its memory modules.

Parameter names are those of the official checkpoints, so that these load strictly. Two things differ, which limit SAM2
to 1024 x 1024 pixels: the tiling of the window position embedding, and the fixed grid of the dense position encoding.
"""

from dataclasses import dataclass

import torch
from sam2.modeling.backbones.hieradet import Hiera, MultiScaleBlock
from sam2.modeling.backbones.image_encoder import FpnNeck, ImageEncoder
from sam2.modeling.sam.mask_decoder import MaskDecoder
from sam2.modeling.sam.prompt_encoder import PromptEncoder
from sam2.modeling.sam.transformer import TwoWayTransformer
from torch import Tensor, nn
from torch.nn import functional as F

from ..machine.interruption import look
from ..shared.known_bases import NANO
from .attention import use_key_bias
from .windows import window_attention

STRIDE = 32  # of the deepest stage: the input is padded to a multiple of it


@dataclass(frozen=True)
class BaseConfig:
    """Sizes of one base network (SAM 2.1 configuration files; ``nano`` is ours)."""

    embed_dim: int
    num_heads: int
    stages: tuple[int, int, int, int]
    global_att_blocks: tuple[int, ...]
    window_spec: tuple[int, int, int, int] = (8, 4, 14, 7)
    background_size: tuple[int, int] = (7, 7)
    decoder_dim: int = 256
    decoder_mlp_dim: int = 2048
    window_multiple: int = 224  # with image sizes that are multiples of this, no window is partly empty

    @property
    def channels(self) -> tuple[int, ...]:
        """Channels of the four stages, shallow to deep."""
        return tuple(self.embed_dim * 2**i for i in range(4))


CONFIGS = {
    NANO: BaseConfig(
        48,
        1,
        (1, 2, 5, 2),
        (4, 6, 7),
        window_spec=(8, 4, 8, 8),
        decoder_dim=128,
        decoder_mlp_dim=512,
        window_multiple=32,
    ),
    "tiny": BaseConfig(96, 1, (1, 2, 7, 2), (5, 7, 9)),
    "small": BaseConfig(96, 1, (1, 2, 11, 2), (7, 10, 13)),
    "base_plus": BaseConfig(112, 2, (2, 3, 16, 3), (12, 16, 20), background_size=(14, 14)),
    "large": BaseConfig(144, 2, (2, 6, 36, 4), (23, 33, 43), window_spec=(8, 4, 16, 8), window_multiple=256),
}


class Block(MultiScaleBlock):
    """SAM2's block; in training on a CPU it computes nothing for the padded positions of windows at the edges."""

    def forward(self, x: Tensor) -> Tensor:
        """Map tokens (B, H, W, C) to (B, H, W, C') or, if the block pools, (B, H / 2, W / 2, C')."""
        if not (self.training and x.device.type == "cpu"):
            return super().forward(x)
        n = self.norm1(x)
        shortcut = x if self.dim == self.dim_out else self._pooled(self.proj(n))
        # Their gradients are joined by one copy; those of two slices would each fill the whole tensor.
        queries, keys_values = self.attn.qkv(n).split((self.dim_out, 2 * self.dim_out), dim=-1)
        queries, padding = self._pooled(queries), self.attn.qkv.bias[self.dim_out :].to(keys_values.dtype)
        attended = window_attention(queries, keys_values, self.attn.num_heads, self.window_size, padding)
        x = shortcut + self.attn.proj(attended)
        return x + self.mlp(self.norm2(x))

    def _pooled(self, x: Tensor) -> Tensor:
        return x if self.pool is None else self.pool(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)


class AnySizeHiera(Hiera):
    """SAM2's Hiera trunk for any input whose height and width are multiples of 32.

    ``peg`` is applied after the first block (CPVT's place for a conditional position encoding).
    With ``use_position_embedding`` false there is no learnt embedding; a PEG in mode ``replace`` does its work.
    """

    def __init__(self, **settings):
        super().__init__(**settings)
        self.peg = nn.Identity()
        self.use_position_embedding = True
        for block in self.blocks:
            block.__class__ = Block  # parameters and their names stay

    def _get_pos_embed(self, hw: tuple[int, int]) -> Tensor:
        # The original tiles floor(h / 8) windows, which fits multiples of 32 pixels only for some window sizes.
        window = self.pos_embed_window
        repeats = [1, 1, *(-(-n // m) for n, m in zip(hw, window.shape[-2:], strict=True))]
        tiled = window.tile(repeats)[..., : hw[0], : hw[1]]
        return (F.interpolate(self.pos_embed, size=hw, mode="bicubic") + tiled).permute(0, 2, 3, 1)

    def forward(self, images: Tensor) -> list[Tensor]:
        """Map (B, 3, H, W) images to four maps (B, C_i, H / s_i, W / s_i) at strides 4, 8, 16, 32."""
        x = self.patch_embed(images)
        if self.use_position_embedding:
            x = x + self._get_pos_embed(x.shape[1:3])
        maps = []
        for i, block in enumerate(self.blocks):
            look()
            x = block(x)
            if i == 0:
                x = self.peg(x)
            if i in self.stage_ends:
                maps.append(x.permute(0, 3, 1, 2))
        return maps


class _NoPositions(nn.Module):
    """Stands in for the neck's sine encoding, which only the memory modules read."""

    def forward(self, x: Tensor) -> Tensor:
        return x.new_zeros(())


class ImagePath(nn.Module):
    """Encoder, prompt encoder and mask decoder of SAM 2.1 with the official parameter names.

    ``features`` is what ``SAM2ImagePredictor.set_image`` computes, for any size; decoding is in ``head.py``.
    """

    def __init__(self, config: BaseConfig):
        super().__init__()
        self.config = config
        dim = config.decoder_dim
        trunk = AnySizeHiera(
            embed_dim=config.embed_dim,
            num_heads=config.num_heads,
            stages=config.stages,
            global_att_blocks=config.global_att_blocks,
            window_spec=config.window_spec,
            window_pos_embed_bkg_spatial_size=config.background_size,
        )
        neck = FpnNeck(
            position_encoding=_NoPositions(),
            d_model=dim,
            backbone_channel_list=list(config.channels[::-1]),
            fpn_top_down_levels=[2, 3],
            fpn_interp_model="nearest",
        )
        self.image_encoder = ImageEncoder(trunk=trunk, neck=neck, scalp=1)
        self.sam_prompt_encoder = PromptEncoder(
            embed_dim=dim, image_embedding_size=(64, 64), input_image_size=(1024, 1024), mask_in_chans=16
        )
        self.sam_mask_decoder = MaskDecoder(
            transformer_dim=dim,
            transformer=use_key_bias(
                TwoWayTransformer(depth=2, embedding_dim=dim, num_heads=8, mlp_dim=config.decoder_mlp_dim)
            ),
            iou_head_hidden_dim=dim,
            use_high_res_features=True,
            iou_prediction_use_sigmoid=True,
            pred_obj_scores=True,
            pred_obj_scores_mlp=True,
        )
        self.no_mem_embed = nn.Parameter(torch.zeros(1, 1, dim))

    def features(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Encode (B, 3, H, W) images, H and W multiples of 32.

        :return: embedding (B, D, H/16, W/16), high-resolution maps s0 (B, D/8, H/4, W/4) and s1 (B, D/4, H/8, W/8).
        """
        level0, level1, embedding = self.image_encoder(images)["backbone_fpn"]
        embedding = embedding + self.no_mem_embed.view(1, -1, 1, 1)
        return embedding, self.sam_mask_decoder.conv_s0(level0), self.sam_mask_decoder.conv_s1(level1)

    def initialise(self) -> "ImagePath":
        """Initial values for training from nothing (ViT's: truncated normal of 0.02, zero biases)."""
        trunk = self.image_encoder.trunk
        nn.init.trunc_normal_(trunk.pos_embed, std=0.02)
        nn.init.trunc_normal_(trunk.pos_embed_window, std=0.02)
        for module in trunk.modules():
            if isinstance(module, nn.Linear):
                nn.init.trunc_normal_(module.weight, std=0.02)
                nn.init.zeros_(module.bias)
        return self


def pad_to_stride(images: Tensor, stride: int = STRIDE) -> Tensor:
    """Repeat the last row and column of (B, C, H, W) until H and W are multiples of the stride (models.md 1.3)."""
    bottom, right = -images.shape[-2] % stride, -images.shape[-1] % stride
    return F.pad(images, (0, right, 0, bottom), mode="replicate") if bottom or right else images
