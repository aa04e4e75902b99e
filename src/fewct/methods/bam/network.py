"""The network of BAM: a backbone, a base learner, a meta learner, and the ensemble of the two.

After Lang et al., "Learning What Not to Segment" (https://doi.org/10.1109/CVPR52688.2022.00789).
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from fewct.methods.bam.backbone import Backbone, Features
from fewct.methods.bam.feature_matching import (
    gram_matrix,
    prior_mask,
    prototype,
    style_distance,
    support_weights,
)
from fewct.methods.bam.resnet import ResNetBackbone

REDUCED, FINE = 64, 32  # channels of the meta learner, at 1/8 and at 1/4 of the input's resolution
SIMILARITY_BIAS, PRIOR_BIAS = 0.5, 0.85  # similarity and prior at which the logits are 0 before training
SIMILARITY_SCALE, PRIOR_SCALE = 3.0, 6.0  # initial logits a unit of similarity, and of the prior
BINS = (1, 2, 3, 6)  # cells a side that pyramid pooling averages over
DILATIONS = (2, 4, 8)  # of the meta learner's pyramid


class BAMLogits(NamedTuple):
    """Logits of background and structure on a query, float (batch, 2, rows, columns) each.

    Args:
        final: Of the ensemble.
        meta: Of the meta learner alone.
    """

    final: Tensor
    meta: Tensor


class EncodedSlices(NamedTuple):
    """Features of slices, as supports and as queries.

    Args:
        gram: float (n, channels, channels): Gram matrices of the low features, the style.
        reduced: float (n, REDUCED, rows / 4, columns / 4): middle features, reduced in channels.
        place: float (n, 2, rows / 4, columns / 4): x and y in the patient's box, from -1 to 1.
        deep: float (n, channels, rows / 8, columns / 8): deep features, from which the prior is computed.
        base: float (n, 1 + n_base, rows / 8, columns / 8): logits of the base learner.
    """

    gram: Tensor
    reduced: Tensor
    place: Tensor
    deep: Tensor
    base: Tensor


class BaseLearner(nn.Module):
    """Pyramid pooling and a classifier of base structures and background.

    Args:
        channels: Of the deep features.
        n_base: Number of base structures.
    """

    def __init__(self, channels: int, n_base: int) -> None:
        super().__init__()
        part = channels // len(BINS)
        self.pooled = nn.ModuleList(
            nn.Sequential(nn.Conv2d(channels, part, 1), nn.ReLU(inplace=True)) for _ in BINS
        )
        self.classify = nn.Sequential(
            nn.Conv2d(channels + part * len(BINS), REDUCED, 3, padding=1, bias=False),
            nn.BatchNorm2d(REDUCED),
            nn.ReLU(inplace=True),
            nn.Dropout2d(0.1),
            nn.Conv2d(REDUCED, n_base + 1, 1),
        )

    def forward(self, deep: Tensor) -> Tensor:
        """Return the logits (batch, 1 + n_base, rows, columns); the first one is of background."""
        size = deep.shape[-2:]
        parts = [deep]
        for bins, layer in zip(BINS, self.pooled, strict=True):
            cells = layer(functional.adaptive_avg_pool2d(deep, bins))
            parts.append(functional.interpolate(cells, size=size, mode="bilinear", align_corners=True))
        logits: Tensor = self.classify(torch.cat(parts, dim=1))
        return logits


class BaseStage(nn.Module):
    """The network of the first stage of training: a backbone and the base learner behind it."""

    def __init__(self, backbone: Backbone | ResNetBackbone, base: BaseLearner) -> None:
        super().__init__()
        self.backbone = backbone
        self.base = base

    def forward(self, x: Tensor) -> Tensor:
        """Return the base learner's logits (batch, 1 + n_base, rows / 8, columns / 8)."""
        logits: Tensor = self.base(self.backbone(x).deep)
        return logits


class MetaLearner(nn.Module):
    """Segments a query given a prototype: an atrous pyramid, refined at the finer resolution.

    Before training it is a threshold on the similarity to the prototype and on the prior.

    Args:
        channels: Of the middle features.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.reduce = nn.Sequential(nn.BatchNorm2d(channels), nn.Conv2d(channels, REDUCED, 1))
        self.merge = _layer(2 * REDUCED + 4, REDUCED, 1)
        self.whole = _layer(REDUCED, REDUCED, 1)
        self.near = _layer(REDUCED, REDUCED, 1)
        self.around = nn.ModuleList(_layer(REDUCED, REDUCED, 3, dilation) for dilation in DILATIONS)
        self.join = _layer((2 + len(DILATIONS)) * REDUCED, REDUCED, 1)
        self.refine = nn.Sequential(_layer(2 * REDUCED + 3, FINE, 3), _layer(FINE, FINE, 3))
        self.classify = nn.Conv2d(FINE, 2, 1)
        with torch.no_grad():
            for part in self.classify.parameters():
                part.zero_()
        self.sharpness = nn.Parameter(torch.tensor(SIMILARITY_SCALE))
        self.trust = nn.Parameter(torch.tensor(PRIOR_SCALE))

    def forward(self, reduced: Tensor, offset: Tensor, mean: Tensor, prior: Tensor) -> Tensor:
        """Return the logits (batch, 2, rows, columns) of background and structure.

        Args:
            reduced: float (batch, REDUCED, rows, columns): of the query, see `EncodedSlices`.
            offset: float (batch, 2, rows, columns): x and y in the patient's box relative to the prototype's.
            mean: float (batch, REDUCED): the prototype.
            prior: float (batch, rows / 2, columns / 2).
        """
        tiled = mean[:, :, None, None]
        similarity = functional.cosine_similarity(reduced, tiled, dim=1)[:, None]
        fine = torch.cat([reduced, similarity, offset], dim=1)
        coarse = functional.avg_pool2d(fine, 2)
        tiled = tiled.expand(-1, -1, *coarse.shape[-2:])
        x = self.merge(torch.cat([coarse, tiled, prior[:, None]], dim=1))
        whole = self.whole(x.mean(dim=(2, 3), keepdim=True)).expand_as(x)
        x = self.join(torch.cat([whole, self.near(x), *(layer(x) for layer in self.around)], dim=1)) + x
        raised = functional.interpolate(x, size=reduced.shape[-2:], mode="bilinear")
        logits: Tensor = self.classify(self.refine(torch.cat([raised, fine], dim=1)))
        resized = _resized(prior[:, None], similarity)
        evidence = self.sharpness * (similarity - SIMILARITY_BIAS) + self.trust * (resized - PRIOR_BIAS)
        return logits + torch.cat([-evidence, evidence], dim=1)


class Ensemble(nn.Module):
    """Adds the base learner's foreground to the background, adjusted by the distance of styles.

    Both adjustments are initialised as in the official code, to the meta learner alone.
    """

    def __init__(self) -> None:
        super().__init__()
        self.adjust = nn.Conv2d(2, 1, 1, bias=False)
        self.fold = nn.Conv2d(2, 1, 1, bias=False)
        with torch.no_grad():
            for layer in (self.adjust, self.fold):
                layer.weight.copy_(torch.tensor([1.0, 0.0]).reshape(1, 2, 1, 1))

    def forward(self, meta: Tensor, base: Tensor, distance: Tensor) -> Tensor:
        """Return the logits (batch, 2, rows, columns) of background and structure.

        Args:
            meta: float (batch, 2, rows, columns): the meta learner's logits.
            base: float (batch, rows, columns) in [0, 1]: probability of a base structure.
            distance: float (batch,) in [0, 1]: between the styles of query and supports.
        """
        probability = meta.softmax(dim=1)
        style = distance[:, None, None, None].expand_as(probability[:, :1])
        background = self.adjust(torch.cat([probability[:, :1], style], dim=1))
        structure = self.adjust(torch.cat([probability[:, 1:], style], dim=1))
        folded = self.fold(torch.cat([background, base[:, None]], dim=1))
        return torch.cat([folded, structure], dim=1)


class BAMNet(nn.Module):
    """All of BAM. Training has two stages: backbone and base learner, then the rest with those frozen.

    Args:
        n_base: Number of base structures.
        backbone: None for the small one.
        with_base: Whether the ensemble includes the base learner; False for the ablation without it.
    """

    def __init__(
        self, n_base: int, backbone: Backbone | ResNetBackbone | None = None, with_base: bool = True
    ) -> None:
        super().__init__()
        self.backbone = Backbone() if backbone is None else backbone
        _, middle, deep = self.backbone.channels
        self.n_base = n_base
        self.with_base = with_base
        self.base = BaseLearner(deep, n_base)
        self.meta = MetaLearner(middle)
        self.ensemble = Ensemble()
        self.support_scale = nn.Parameter(torch.zeros(()))
        self.frozen = False

    def freeze(self) -> "BAMNet":
        """Freeze backbone and base learner: the second stage. Return the network itself."""
        self.frozen = True
        for part in (self.backbone, self.base):
            part.requires_grad_(False).eval()
        return self

    def train(self, mode: bool = True) -> "BAMNet":
        """Set the mode of what is not frozen."""
        super().train(mode)
        if self.frozen:
            self.backbone.eval()
            self.base.eval()
        return self

    def features(self, x: Tensor) -> Features:
        """Return the features of slices (batch, channels, rows, columns)."""
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.frozen):
            features: Features = self.backbone(x)
        return features

    def encode(self, x: Tensor) -> EncodedSlices:
        """Return the encoded features of slices (n, channels, rows, columns)."""
        features = self.features(x)
        return EncodedSlices(
            gram_matrix(features.low.float()),
            self.meta.reduce(features.middle),
            features.place,
            features.deep,
            self.base(features.deep),
        )

    def forward(
        self, query: Tensor, supports: Tensor, masks: Tensor, excluded: Tensor | None = None
    ) -> BAMLogits:
        """Return the logits on queries.

        Args:
            query: float (batch, channels, rows, columns).
            supports: float (batch, shots, channels, rows, columns).
            masks: float (batch, shots, rows, columns): 1 in the structure.
            excluded: See `decode`.
        """
        return self.decode(self.encode(query), self.encode(supports.flatten(0, 1)), masks, excluded)

    def decode(
        self, query: EncodedSlices, supports: EncodedSlices, masks: Tensor, excluded: Tensor | None = None
    ) -> BAMLogits:
        """Return the logits on encoded queries, with supports weighted by the distance of their style.

        Args:
            query: Of (batch) slices.
            supports: Of (batch x shots) slices.
            masks: float (batch, shots, rows, columns): 1 in the structure.
            excluded: int64 (batch,): base structure that the target belongs to, which is then not added to
                the background; 0 for none. Only in training, where targets are base structures.
        """
        batch, shots = masks.shape[:2]
        flat = masks.flatten(0, 1)
        gram, deep = (part.repeat_interleave(shots, dim=0) for part in (query.gram, query.deep))
        distances = style_distance(gram, supports.gram).reshape(batch, shots)
        weights = support_weights(distances, self.support_scale)
        means = prototype(torch.cat([supports.reduced.float(), supports.place], dim=1), flat)
        here, there = (functional.avg_pool2d(part.place, 2) for part in (query, supports))
        here = here.repeat_interleave(shots, dim=0)
        priors = prior_mask(deep.float(), supports.deep.float(), flat, here, there)
        mean = (weights[..., None] * means.reshape(batch, shots, -1)).sum(dim=1)
        prior = (weights[..., None, None] * priors.reshape(batch, shots, *priors.shape[1:])).sum(dim=1)
        offset = query.place - mean[:, REDUCED:, None, None]
        meta = self.meta(query.reduced, offset, mean[:, :REDUCED], prior)
        if not self.with_base:
            return BAMLogits(meta, meta)
        base = _resized(base_foreground(query.base, excluded)[:, None], meta)[:, 0]
        return BAMLogits(self.ensemble(meta.float(), base, (weights * distances).sum(dim=1)), meta)


def base_foreground(logits: Tensor, excluded: Tensor | None = None) -> Tensor:
    """Return the probability of a base structure at each pixel, (batch, rows, columns) in [0, 1].

    Args:
        logits: float (batch, 1 + n_base, rows, columns); the first one is of background.
        excluded: int64 (batch,): base structure that does not count, 0 for none.
    """
    probability = logits.float().softmax(dim=1)
    foreground = 1 - probability[:, 0]
    if excluded is None:
        return foreground
    own = probability[torch.arange(len(probability)), excluded]
    return foreground - own * (excluded > 0).float()[:, None, None]


def _resized(maps: Tensor, like: Tensor) -> Tensor:
    return functional.interpolate(maps, size=like.shape[-2:], mode="bilinear")


def _layer(inputs: int, outputs: int, side: int, dilation: int = 1) -> nn.Sequential:
    padding = dilation * (side // 2)
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, side, padding=padding, dilation=dilation), nn.ReLU(inplace=True)
    )
