"""SAM2's decoder attention with a bias on its keys, so that K equal tokens weigh as much as one.

With K class tokens instead of SAM2's single mask token, softmax would count this token K times, and the pretrained
attention pattern would be lost. With a bias of -log K on their keys, K equal tokens act exactly like one. This is ours;
no paper says how added tokens should share the attention.
"""

import math
from typing import NamedTuple

import torch
from sam2.modeling.sam.transformer import Attention, TwoWayTransformer
from torch import Tensor, nn
from torch.nn import functional as F


class KeyBiasAttention(Attention):
    """``sam2``'s ``Attention`` whose score for key j gets ``key_bias[j]`` added (None: the original)."""

    key_bias: Tensor | None

    def __init__(self, *args, **settings):
        super().__init__(*args, **settings)
        self.register_buffer("key_bias", None, persistent=False)

    def forward(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """Attend with queries (B, N, D) to keys and values (B, M, D); returns (B, N, D)."""
        q = self._separate_heads(self.q_proj(q), self.num_heads)
        k = self._separate_heads(self.k_proj(k), self.num_heads)
        v = self._separate_heads(self.v_proj(v), self.num_heads)
        bias = score_bias(self.key_bias, k)
        out = F.scaled_dot_product_attention(q, k, v, attn_mask=bias, dropout_p=self.dropout_p * self.training)
        return self.out_proj(self._recombine_heads(out))


class AttentionParts(NamedTuple):
    """Parts of an attention of the decoder: layers, heads, factor of the scores, and their bias (None: 0)."""

    query: nn.Linear
    key: nn.Linear
    value: nn.Linear
    out: nn.Linear
    heads: int
    scale: float
    bias: Tensor | None


def attention_parts(attention: nn.Module) -> AttentionParts:
    """The parts of an attention: one of SAM2's, or a replacement with a method ``parts``."""
    if not isinstance(attention, Attention):
        return attention.parts()
    layers = (attention.q_proj, attention.k_proj, attention.v_proj, attention.out_proj)
    scale = 1 / math.sqrt(attention.internal_dim // attention.num_heads)
    return AttentionParts(*layers, attention.num_heads, scale, getattr(attention, "key_bias", None))


def score_bias(key_bias: Tensor | None, keys: Tensor) -> Tensor | None:
    """The bias to add to the scores of keys (B, heads, M, d); the last keys, those of prompts, get 0."""
    if key_bias is None:
        return None
    return F.pad(key_bias.to(keys.dtype), (0, keys.shape[-2] - len(key_bias))).view(1, 1, 1, -1)


def use_key_bias(transformer: TwoWayTransformer) -> TwoWayTransformer:
    """Replace the attentions whose keys are tokens by ``KeyBiasAttention``; parameter names stay."""
    for layer in transformer.layers:
        for name in ("self_attn", "cross_attn_image_to_token"):
            old = getattr(layer, name)
            rate = old.embedding_dim // old.internal_dim
            setattr(layer, name, KeyBiasAttention(old.embedding_dim, old.num_heads, downsample_rate=rate))
    return transformer


def share_token_weight(transformer: TwoWayTransformer, before: int, count: int, after: int) -> None:
    """Let ``count`` tokens together, after ``before`` and before ``after`` other tokens, weigh as much as one token."""
    bias = torch.zeros(before + count + after)
    bias[before : before + count] = -math.log(count)
    for module in transformer.modules():
        if isinstance(module, KeyBiasAttention):
            module.key_bias = bias.clone() if count > 1 else None
