"""The two-way transformer of SAM's mask decoder, arranged so that what prompts share is computed once.

Tokens (of outputs and prompts) are few, pixels of the image embedding are many. So projections of pixels are
taken over to the tokens' side wherever each prompt has pixels of its own: for a query q and pixels x,
`q . (W x) = (W' q) . x`, and a weighted sum of `W x` is `W` times the weighted sum of x. For 7 tokens that
is less than half of the arithmetic. In the first layer all prompts share the pixels; there the
projections are kept with the image.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from fewct.methods.sam.modeling.layers import MLPBlock

NARROWING = 2  # width of a token over that of its projections, between tokens and pixels


class ImageTokens(NamedTuple):
    """What all prompts on an image share.

    Args:
        pixels: (groups, pixels, width): the embedding with the mask input added.
        keys: (groups, pixels, inner): of the first layer's attention of tokens to pixels.
        values: (groups, pixels, inner): of the same.
        queries: (groups, pixels, inner): of the first layer's attention of pixels to tokens.
        key_positions: For each later attention to pixels (pixels, inner): what positions add to keys.
        query_positions: For each later layer (pixels, inner): what positions add to queries.
    """

    pixels: Tensor
    keys: Tensor
    values: Tensor
    queries: Tensor
    key_positions: Sequence[Tensor]
    query_positions: Sequence[Tensor]


class TwoWayAttention(nn.Module):
    """The four projections of an attention.

    Args:
        narrowing: Width over that of the projections.
    """

    def __init__(self, width: int, heads: int, narrowing: int = 1) -> None:
        super().__init__()
        self.heads = heads
        inner = width // narrowing
        self.scale = 1 / math.sqrt(inner // heads)
        self.q_proj = nn.Linear(width, inner)
        self.k_proj = nn.Linear(width, inner)
        self.v_proj = nn.Linear(width, inner)
        self.out_proj = nn.Linear(inner, width)

    def split(self, x: Tensor) -> Tensor:
        """Return (..., heads, channels of a head) from (..., inner)."""
        return torch.unflatten(x, -1, (self.heads, -1))

    def among_tokens(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """Return the attention of tokens to tokens, all (batch, tokens, width)."""
        queries, keys, values = (
            self.split(project(x)).transpose(1, 2)
            for project, x in ((self.q_proj, q), (self.k_proj, k), (self.v_proj, v))
        )
        weights = torch.softmax(self.scale * queries @ keys.transpose(2, 3), dim=-1)
        attended: Tensor = self.out_proj((weights @ values).transpose(1, 2).flatten(2))
        return attended

    def to_shared_pixels(self, tokens: Tensor, keys: Tensor, values: Tensor) -> Tensor:
        """Return what tokens take from pixels that all prompts of a group share.

        Args:
            tokens: (groups, prompts, tokens, width).
            keys: (groups, pixels, inner).
            values: (groups, pixels, inner).

        Returns:
            (groups, prompts, tokens, width).
        """
        queries = self.scale * self.split(self.q_proj(tokens))
        weights = torch.softmax(torch.einsum("gpthd,gnhd->ghptn", queries, self.split(keys)), dim=-1)
        pooled = torch.einsum("ghptn,gnhd->gpthd", weights, self.split(values))
        attended: Tensor = self.out_proj(pooled.flatten(-2))
        return attended

    def to_pixels(self, tokens: Tensor, pixels: Tensor, positions: Tensor) -> Tensor:
        """Return what tokens take from their own pixels.

        Args:
            tokens: (batch, tokens, width).
            pixels: (batch, pixels, width).
            positions: (pixels, inner): part of the keys.

        Returns:
            (batch, tokens, width).
        """
        queries = self.scale * self.split(self.q_proj(tokens))
        folded = torch.einsum("bthd,hdc->bhtc", queries, self._by_head(self.k_proj))
        placed = torch.einsum("bthd,nhd->bhtn", queries, self.split(positions))
        weights = torch.softmax(torch.baddbmm(placed.flatten(1, 2), folded.flatten(1, 2), pixels.mT), dim=-1)
        pooled = torch.unflatten(weights @ pixels, 1, (self.heads, -1))
        values = torch.einsum("bhtc,hdc->bthd", pooled, self._by_head(self.v_proj)).flatten(2)
        attended: Tensor = self.out_proj(values + self.v_proj.bias)
        return attended

    def from_pixels(self, pixels: Tensor, scores: Tensor, v: Tensor) -> Tensor:
        """Return pixels with what they take from tokens added.

        Args:
            pixels: (batch or 1, pixels, width).
            scores: (batch, heads, tokens, pixels): of each token for each pixel, before softmax.
            v: (batch, tokens, width): what the tokens offer.

        Returns:
            (batch, pixels, width).
        """
        weights = torch.softmax(scores, dim=2).flatten(1, 2)
        by_head = torch.unflatten(self.out_proj.weight, 1, (self.heads, -1))
        offered = torch.einsum("bthd,chd->bhtc", self.split(self.v_proj(v)), by_head).flatten(1, 2)
        base = (pixels + self.out_proj.bias).expand(offered.shape[0], -1, -1)
        return torch.baddbmm(base, weights.mT, offered)

    def scores_of_shared_pixels(self, queries: Tensor, tokens: Tensor) -> Tensor:
        """Return the scores for `from_pixels` where all prompts of a group share the pixels.

        Args:
            queries: (groups, pixels, inner).
            tokens: (groups, prompts, tokens, width).

        Returns:
            (groups * prompts, heads, tokens, pixels).
        """
        keys = self.scale * self.split(self.k_proj(tokens))
        return torch.einsum("gpthd,gnhd->gphtn", keys, self.split(queries)).flatten(0, 1)

    def scores_of_pixels(self, pixels: Tensor, positions: Tensor, tokens: Tensor) -> Tensor:
        """Return the scores for `from_pixels` where each prompt has its own pixels.

        Args:
            pixels: (batch, pixels, width).
            positions: (pixels, inner): part of the queries.
            tokens: (batch, tokens, width).

        Returns:
            (batch, heads, tokens, pixels).
        """
        keys = self.scale * self.split(self.k_proj(tokens))
        folded = torch.einsum("bthd,hdc->bhtc", keys, self._by_head(self.q_proj)).flatten(1, 2)
        placed = torch.einsum("bthd,nhd->bhtn", keys, self.split(positions))
        return torch.unflatten(torch.baddbmm(placed.flatten(1, 2), folded, pixels.mT), 1, (self.heads, -1))

    def _by_head(self, projection: nn.Linear) -> Tensor:
        return torch.unflatten(projection.weight, 0, (self.heads, -1))


class TwoWayBlock(nn.Module):
    """Attention of tokens to tokens, of tokens to pixels, then of pixels to tokens."""

    def __init__(self, width: int, heads: int, hidden: int) -> None:
        super().__init__()
        self.self_attn = TwoWayAttention(width, heads)
        self.norm1 = nn.LayerNorm(width)
        self.cross_attn_token_to_image = TwoWayAttention(width, heads, NARROWING)
        self.norm2 = nn.LayerNorm(width)
        self.mlp = MLPBlock(width, hidden, "relu")
        self.norm3 = nn.LayerNorm(width)
        self.norm4 = nn.LayerNorm(width)
        self.cross_attn_image_to_token = TwoWayAttention(width, heads, NARROWING)

    def first(self, prompts: Tensor, image: ImageTokens) -> tuple[Tensor, Tensor]:
        """Return tokens and pixels after the first layer.

        Args:
            prompts: (groups, prompts, tokens, width).
            image: What the prompts of each group share.

        Returns:
            (groups * prompts, tokens, width) and (groups * prompts, pixels, width).
        """
        flat = prompts.flatten(0, 1)
        tokens = self.norm1(self.self_attn.among_tokens(flat, flat, flat)).reshape(prompts.shape)
        taken = self.cross_attn_token_to_image.to_shared_pixels(tokens + prompts, image.keys, image.values)
        tokens = self.norm2(tokens + taken)
        tokens = self.norm3(tokens + self.mlp(tokens))
        to_tokens = self.cross_attn_image_to_token
        scores = to_tokens.scores_of_shared_pixels(image.queries, tokens + prompts)
        pixels = (
            image.pixels.repeat_interleave(prompts.shape[1], 0) if len(image.pixels) > 1 else image.pixels
        )
        return tokens.flatten(0, 1), self.norm4(to_tokens.from_pixels(pixels, scores, tokens.flatten(0, 1)))

    def later(
        self, tokens: Tensor, prompts: Tensor, pixels: Tensor, key_positions: Tensor, query_positions: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Return tokens and pixels after a layer that is not the first.

        Args:
            tokens: (batch, tokens, width).
            prompts: (batch, tokens, width): what the tokens were at the beginning.
            pixels: (batch, pixels, width).
            key_positions: (pixels, inner): see `ImageTokens`.
            query_positions: (pixels, inner): see `ImageTokens`.
        """
        placed = tokens + prompts
        tokens = self.norm1(tokens + self.self_attn.among_tokens(placed, placed, tokens))
        taken = self.cross_attn_token_to_image.to_pixels(tokens + prompts, pixels, key_positions)
        tokens = self.norm2(tokens + taken)
        tokens = self.norm3(tokens + self.mlp(tokens))
        to_tokens = self.cross_attn_image_to_token
        scores = to_tokens.scores_of_pixels(pixels, query_positions, tokens + prompts)
        return tokens, self.norm4(to_tokens.from_pixels(pixels, scores, tokens))


class TwoWayTransformer(nn.Module):
    """A stack of `depth` blocks, and a last attention of the tokens to the pixels; see `TwoWayBlock`."""

    def __init__(self, width: int, heads: int, hidden: int, depth: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(TwoWayBlock(width, heads, hidden) for _ in range(depth))
        self.final_attn_token_to_image = TwoWayAttention(width, heads, NARROWING)
        self.norm_final_attn = nn.LayerNorm(width)

    def image_tokens(self, embedding: Tensor, positions: Tensor) -> ImageTokens:
        """Return what all prompts on an image share.

        Args:
            embedding: (groups, width, rows, columns), the mask input added.
            positions: (width, rows, columns).
        """
        pixels, places = embedding.flatten(2).mT, positions.flatten(1).mT
        first, *later = (layer for layer in self.layers if isinstance(layer, TwoWayBlock))
        to_pixels = [layer.cross_attn_token_to_image for layer in later] + [self.final_attn_token_to_image]
        return ImageTokens(
            pixels,
            first.cross_attn_token_to_image.k_proj(pixels + places),
            first.cross_attn_token_to_image.v_proj(pixels),
            first.cross_attn_image_to_token.q_proj(pixels + places),
            [attention.k_proj(places) for attention in to_pixels],
            [layer.cross_attn_image_to_token.q_proj(places) for layer in later],
        )

    def forward(self, prompts: Tensor, image: ImageTokens) -> tuple[Tensor, Tensor]:
        """Return tokens and pixels after all layers.

        Args:
            prompts: (groups, prompts, tokens, width).
            image: What `image_tokens` gave for the same groups.

        Returns:
            (groups * prompts, tokens, width) and (groups * prompts, pixels, width).
        """
        first, *later = (layer for layer in self.layers if isinstance(layer, TwoWayBlock))
        tokens, pixels = first.first(prompts, image)
        flat = prompts.flatten(0, 1)
        for layer, keys, queries in zip(later, image.key_positions, image.query_positions, strict=False):
            tokens, pixels = layer.later(tokens, flat, pixels, keys, queries)
        taken = self.final_attn_token_to_image.to_pixels(tokens + flat, pixels, image.key_positions[-1])
        return self.norm_final_attn(tokens + taken), pixels
