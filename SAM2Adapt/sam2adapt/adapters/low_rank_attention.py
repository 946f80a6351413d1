"""Low-rank tensor attention (LRTA) of BALR-SAM (arXiv 2509.24204) in SAM2's mask decoder, as we build it.

The paper states low-rank attention in the decoder and 75 % less memory; the factorisation is ours (models.md 4). Head h
of an attention scores q_h . k_h / sqrt d, which is [x;1]^T M_h [y;1] / sqrt d with M_h = [Wq|bq]_h^T [Wk|bk]_h of rank
d, and adds Wo_h Wv_h y. Both products are replaced by their best approximations of rank r < d (by singular values). So
queries, keys, values and results, which are kept for the backward pass, shrink to r / d. With r = d, the attention is
that of the base. One thing grows: the inputs of trained factors must be kept, those of frozen factors need not.
"""

import copy
import math

import torch
from sam2.modeling.sam.transformer import Attention, TwoWayTransformer
from torch import Tensor, nn
from torch.nn import functional as F

from ..network.attention import AttentionParts, score_bias
from ..shared.errors import SettingsError


class LowRankAttention(nn.Module):
    """The low-rank replacement for one of SAM2's attentions.

    :param base: the attention whose products are factorised.
    :param fraction: r / d; r is rounded down, and at least 1.
    """

    key_bias: Tensor | None

    def __init__(self, base: Attention, fraction: float):
        super().__init__()
        self.num_heads, depth = base.num_heads, base.internal_dim // base.num_heads
        self.rank = max(1, math.floor(depth * fraction + 1e-6))
        self.scale = 1 / math.sqrt(depth)
        # In a list: as a module, it would be saved and moved with the network.
        self.teacher = [base]
        width, dim = self.num_heads * self.rank, base.embedding_dim
        options = {"device": base.q_proj.weight.device}
        self.query = nn.Linear(dim, width, **options)
        self.key = nn.Linear(base.kv_in_dim, width, **options)
        self.value = nn.Linear(base.kv_in_dim, width, bias=False, **options)
        self.out = nn.Linear(width, dim, **options)
        bias = getattr(base, "key_bias", None)
        self.register_buffer("key_bias", None if bias is None else bias.clone(), persistent=False)
        self._factorise(base)

    @torch.no_grad()
    def _factorise(self, base: Attention) -> None:
        query, key = (torch.cat([p.weight, p.bias[:, None]], dim=1).double() for p in (base.q_proj, base.k_proj))
        out, value = base.out_proj.weight.double(), base.v_proj.weight.double()
        left, right = self._split(query.unflatten(0, (self.num_heads, -1)).mT, key.unflatten(0, (self.num_heads, -1)))
        for linear, factor in ((self.query, left.mT), (self.key, right)):
            rows = factor.flatten(0, 1)
            linear.weight.copy_(rows[:, :-1])
            linear.bias.copy_(rows[:, -1])
        left, right = self._split(
            out.unflatten(1, (self.num_heads, -1)).transpose(0, 1), value.unflatten(0, (self.num_heads, -1))
        )
        self.out.weight.copy_(left.transpose(0, 1).flatten(1))
        self.value.weight.copy_(right.flatten(0, 1))
        # Attention weights sum to 1, so the value's bias passes unchanged.
        self.out.bias.copy_(base.out_proj.bias.double() + out @ base.v_proj.bias.double())

    def _split(self, left: Tensor, right: Tensor) -> tuple[Tensor, Tensor]:
        """Best rank-r factors (heads, m, r), (heads, r, n) of left (heads, m, d) times right (heads, d, n)."""
        left_basis, left_part = torch.linalg.qr(left)
        right_basis, right_part = torch.linalg.qr(right.mT)
        u, s, vh = torch.linalg.svd(left_part @ right_part.mT)
        root = s[:, None, : self.rank].sqrt()
        return (left_basis @ u[..., : self.rank]) * root, (vh[:, : self.rank] @ right_basis.mT) * root.mT

    def forward(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """Attend with queries (B, N, D) to keys and values (B, M, D); returns (B, N, D)."""
        q, k, v = (
            linear(x).unflatten(-1, (self.num_heads, self.rank)).transpose(1, 2)
            for linear, x in ((self.query, q), (self.key, k), (self.value, v))
        )
        attended = F.scaled_dot_product_attention(q, k, v, attn_mask=score_bias(self.key_bias, k), scale=self.scale)
        return self.out(attended.transpose(1, 2).flatten(2))

    def parts(self) -> AttentionParts:
        """The parts of this attention, for the predicting form."""
        return AttentionParts(self.query, self.key, self.value, self.out, self.num_heads, self.scale, self.key_bias)


def factorise(transformer: TwoWayTransformer, fraction: float) -> None:
    """Replace all attentions of a mask decoder's transformer by ``LowRankAttention``.

    :raises SettingsError: another method has changed them; its changes would be lost.
    """
    for parent, name in _attentions(transformer):
        attention = getattr(parent, name)
        if not isinstance(attention, Attention) or any(type(m) is not nn.Linear for m in attention.children()):
            raise SettingsError(
                "Low-rank attention cannot replace decoder attentions that another method has changed.",
                "Set the LoRA's placement to encoder.",
            )
        setattr(parent, name, LowRankAttention(attention, fraction))


def teacher_of(transformer: TwoWayTransformer) -> TwoWayTransformer:
    """A frozen copy of the transformer before ``factorise``, on the same device."""
    restored = copy.deepcopy(transformer)
    for parent, name in _attentions(restored):
        setattr(parent, name, getattr(parent, name).teacher[0])
    return restored.requires_grad_(False).eval().to(next(transformer.parameters()).device)


def forget_teachers(transformer: TwoWayTransformer) -> None:
    """Remove the base's attentions, which prediction does not need."""
    for parent, name in _attentions(transformer):
        getattr(parent, name).teacher.clear()


def _attentions(transformer: TwoWayTransformer) -> list[tuple[nn.Module, str]]:
    names = ("self_attn", "cross_attn_token_to_image", "cross_attn_image_to_token")
    return [(layer, name) for layer in transformer.layers for name in names] + [
        (transformer, "final_attn_token_to_image")
    ]
