"""What the mask decoder's transformer keeps for the backward pass: SAM2's own, and with low-rank attention."""

import copy
from dataclasses import asdict, dataclass
from typing import Any

import torch
from sam2.modeling.sam.transformer import Attention, TwoWayTransformer
from sam2adapt.adapters.balr import BALR
from sam2adapt.adapters.low_rank_attention import LowRankAttention, factorise
from sam2adapt.network.attention import share_token_weight, use_key_bias
from sam2adapt.network.base import CONFIGS
from torch import Tensor, nn

_CLASSES, _OTHER_TOKENS = 4, 3  # tokens of the head, and SAM2's other masks
_STRIDE = 16  # of the image embedding


@dataclass(frozen=True)
class Kept:
    """Bytes kept for the backward pass of one image.

    :param attentions: queries, keys, values, results and softmax statistics of all seven attentions.
    :param transformer: everything that the transformer keeps, inputs of trained layers included; no weights.
    """

    attentions: int
    transformer: int


@dataclass(frozen=True)
class DecoderMemory:
    """SAM2's decoder with frozen attentions, with trained ones, and with low-rank ones, which are trained."""

    frozen: Kept
    trained: Kept
    low_rank: Kept

    @property
    def saved(self) -> float:
        """Share of the attentions' memory that low-rank attention saves."""
        return 1 - self.low_rank.attentions / self.trained.attentions

    @property
    def saved_in_all(self) -> float:
        """Share of the whole transformer's memory that it saves, compared with trained attentions."""
        return 1 - self.low_rank.transformer / self.trained.transformer

    def to_json(self) -> dict[str, Any]:
        """All numbers, as JSON can hold them."""
        return asdict(self) | {"saved": self.saved, "saved_in_all": self.saved_in_all}


def decoder_memory(side: int, fraction: float = BALR.attention) -> DecoderMemory:
    """Measure the decoder that tiny, small, base_plus and large share, on a square image of ``side`` pixels.

    :param fraction: rank / depth of the low-rank attentions.
    """
    config = CONFIGS["tiny"]
    frozen = use_key_bias(TwoWayTransformer(2, config.decoder_dim, 8, config.decoder_mlp_dim)).requires_grad_(False)
    share_token_weight(frozen, 2, _CLASSES, _OTHER_TOKENS)
    trained, low_rank = copy.deepcopy(frozen), copy.deepcopy(frozen)
    for module in trained.modules():
        if isinstance(module, Attention):
            module.requires_grad_(True)
    factorise(low_rank, fraction)
    embedding = torch.randn(1, config.decoder_dim, side // _STRIDE, side // _STRIDE)
    tokens = torch.randn(1, 2 + _CLASSES + _OTHER_TOKENS, config.decoder_dim)
    return DecoderMemory(*(_kept(transformer, embedding, tokens) for transformer in (frozen, trained, low_rank)))


def _kept(transformer: TwoWayTransformer, embedding: Tensor, tokens: Tensor) -> Kept:
    calls = []
    hooks = [
        module.register_forward_pre_hook(lambda m, args, named: calls.append((m, args, named)), with_kwargs=True)
        for module in transformer.modules()
        if isinstance(module, Attention | LowRankAttention)
    ]
    # Adapters in the encoder ask for gradients of what the decoder is given, and tokens are trained.
    inputs = [t.clone().requires_grad_(True) for t in (embedding, torch.randn_like(embedding), tokens)]
    everything = _kept_by(transformer, inputs, ignored=())
    for hook in hooks:
        hook.remove()
    attentions = 0
    for module, args, named in calls:
        own = [value.detach().requires_grad_(True) for value in (*args, *named.values())]
        attentions += _kept_by(module, own, ignored=own)
    return Kept(attentions, everything)


def _kept_by(module: nn.Module, inputs: list[Tensor], ignored: list[Tensor] | tuple[()]) -> int:
    """Bytes that a module keeps for its backward pass; neither weights nor what is ignored."""
    known = {t.untyped_storage().data_ptr() for t in (*ignored, *module.parameters(), *module.buffers())}
    sizes = {}

    def note(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in known:
            sizes[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        results = module(*inputs)  # held until all is counted, so that no storage is used twice
    del results
    return sum(sizes.values())
