"""K-class decoding in the predicting form: image tokens stay (B, N, D), and unused results are not computed."""

import torch
from sam2.modeling.sam.transformer import TwoWayAttentionBlock, TwoWayTransformer
from sam2.modeling.sam2_utils import MLP
from torch import Tensor, nn
from torch.nn import functional as F

from ...machine.interruption import look
from ...shared.presets import PEG_ADD
from ..attention import attention_parts
from ..network import SegmentationNetwork
from ..windows import attend_tokens
from .ops import Linear, activation_name
from .trunk import Convolution, Norm


class Attention:
    """An attention of the decoder, with projected queries, keys and values (B, N, heads * d)."""

    def __init__(self, module: nn.Module, dtype: torch.dtype):
        parts = attention_parts(module)
        self.heads, self.scale, self.bias = parts.heads, parts.scale, parts.bias
        self.query, self.key, self.value, self.out = (
            Linear.of(layer, dtype) for layer in (parts.query, parts.key, parts.value, parts.out)
        )

    def __call__(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        return self.out(attend_tokens(q, k, v, self.heads, self.scale, self.bias))


class Layer:
    """A layer of the two-way transformer."""

    def __init__(self, layer: TwoWayAttentionBlock, dtype: torch.dtype):
        self.dtype, self.first = dtype, layer.skip_first_layer_pe
        self.norms = [Norm(norm) for norm in (layer.norm1, layer.norm2, layer.norm3, layer.norm4)]
        self.tokens = Attention(layer.self_attn, dtype)
        self.to_image = Attention(layer.cross_attn_token_to_image, dtype)
        self.to_tokens = Attention(layer.cross_attn_image_to_token, dtype)
        first, second = layer.mlp.layers
        self.mlp = Linear.of(first, dtype, activation_name(layer.mlp.act)), Linear.of(second, dtype)

    def __call__(self, queries: Tensor, keys: Tensor, tokens: Tensor, positions: Tensor) -> tuple[Tensor, Tensor]:
        """Update queries (B, T, D) and image tokens (B, N, D), with their positions: the first tokens; (B, N, D)."""
        q = queries if self.first else queries + tokens
        attended = self.tokens(self.tokens.query(q), self.tokens.key(q), self.tokens.value(queries))
        queries = self.norms[0](attended.float() if self.first else queries + attended)

        image = (keys + positions).to(self.dtype)
        attended = self.to_image(
            self.to_image.query(queries + tokens), self.to_image.key(image), self.to_image.value(keys)
        )
        queries = self.norms[1](queries + attended)
        queries = self.norms[2](queries + self.mlp[1](self.mlp[0](queries)))

        attended = self.to_tokens(
            self.to_tokens.query(image), self.to_tokens.key(queries + tokens), self.to_tokens.value(queries)
        )
        return queries, self.norms[3](keys + attended)


class Transformer:
    """``TwoWayTransformer`` that returns only some of its tokens."""

    def __init__(self, transformer: TwoWayTransformer, read: slice, dtype: torch.dtype):
        self.layers = [Layer(layer, dtype) for layer in transformer.layers]
        self.last, self.norm = (
            Attention(transformer.final_attn_token_to_image, dtype),
            Norm(transformer.norm_final_attn),
        )
        self.read = read

    def __call__(self, keys: Tensor, positions: Tensor, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """Return the tokens to read, (B, K, D), and the image tokens (B, N, D)."""
        queries = tokens
        for layer in self.layers:
            look()
            queries, keys = layer(queries, keys, tokens, positions)
        queries, tokens = queries[:, self.read], tokens[:, self.read]
        attended = self.last(self.last.query(queries + tokens), self.last.key(keys + positions), self.last.value(keys))
        return self.norm(queries + attended), keys


class Doubling:
    """A transposed convolution of kernel and stride 2: tokens (B, h, w, D) to (B, 2 h, 2 w, D')."""

    def __init__(self, layer: nn.ConvTranspose2d, dtype: torch.dtype):
        weight = layer.weight.permute(2, 3, 1, 0).flatten(0, 2)
        self.linear = Linear(weight, layer.bias.repeat(4), dtype)

    def __call__(self, x: Tensor) -> Tensor:
        x = self.linear(x).unflatten(-1, (2, 2, -1)).permute(0, 1, 3, 2, 4, 5)
        return x.flatten(3, 4).flatten(1, 2)


def kernel_maps(kernels: Tensor, pixels: Tensor) -> Tensor:
    """Products (B, K, h, w) of kernels (B, K, C) and pixel features (B, h, w, C)."""
    return torch.matmul(kernels, pixels.flatten(1, 2).mT).unflatten(2, pixels.shape[1:3])


class Decoder:
    """``SegmentationNetwork.decode`` without prompts and without a quality head."""

    def __init__(self, network: SegmentationNetwork, dtype: torch.dtype):
        head, decoder, encoder = network.head, network.base.sam_mask_decoder, network.base.sam_prompt_encoder
        self.dtype, self.fourier = dtype, encoder.pe_layer
        self.no_mask = encoder.no_mask_embed.weight.detach()
        self.peg = None if network.decoder_peg is None else Convolution(network.decoder_peg.conv, dtype)
        self.adds_fourier = network.decoder_peg is None or network.decoder_peg.mode == PEG_ADD
        self.tokens = head.all_tokens(decoder).detach()
        self.transformer = Transformer(decoder.transformer, slice(2, 2 + head.num_classes), dtype)
        first, norm, self.activation, second, _ = decoder.output_upscaling
        self.norm = norm.weight.detach(), norm.bias.detach(), norm.eps
        self.doublings = Doubling(first, dtype), Doubling(second, dtype)
        mlp: MLP = decoder.output_hypernetworks_mlps[0]
        self.mlp = [Linear.of(layer, dtype, activation_name(mlp.act)) for layer in mlp.layers[:2]]
        self.kernels = head.weight.detach().mT.to(dtype), head.bias.detach()[:, None].to(dtype)

    def __call__(self, embedding: Tensor, s0: Tensor, s1: Tensor) -> tuple[Tensor, Tensor]:
        """Compute kernels (B, K, D/8) and the pixel features (B, 4 h, 4 w, D/8) to multiply with them.

        :param embedding: (B, h, w, D); ``s0``: (B, 4 h, 4 w, D/8); ``s1``: (B, 2 h, 2 w, D/4).
        """
        batch, height, width, _ = embedding.shape
        positions = self._positions(embedding).flatten(1, 2)
        tokens = self.tokens.expand(batch, -1, -1)
        hidden, image = self.transformer((embedding + self.no_mask).flatten(1, 2), positions, tokens)
        look()
        for layer in self.mlp:
            hidden = layer(hidden)
        kernels = torch.baddbmm(self.kernels[1], hidden.transpose(0, 1), self.kernels[0]).transpose(0, 1)
        weight, bias, eps = self.norm
        x = self.doublings[0](image.unflatten(1, (height, width))) + s1
        x = self.activation(F.layer_norm(x, weight.shape, weight.to(x.dtype), bias.to(x.dtype), eps))
        x = self.activation(self.doublings[1](x) + s0)
        return kernels, x

    def _positions(self, embedding: Tensor) -> Tensor:
        """Positions (B or 1, h, w, D) of an embedding."""
        fourier = self.fourier(tuple(embedding.shape[1:3])).permute(1, 2, 0)[None] if self.adds_fourier else 0
        return fourier if self.peg is None else self.peg(embedding) + fourier
