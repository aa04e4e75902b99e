"""The intensities that networks see, on tensors: the same numbers as `fewct.imaging.intensity` gives."""

import torch
from torch import Tensor

from fewct.imaging.intensity import (
    DEFAULT_WINDOW,
    HIGH_PERCENTILE,
    LOW_PERCENTILE,
    PADDING_SHARE,
    RANK_BINS,
    RANKED_HU,
    WINDOWS,
)
from fewct.training.batches.randomness import by_item

GREY_BINS = 4096  # of the histogram that percentiles are taken from


def contrast(pixels: Tensor, body: Tensor, is_hu: Tensor) -> Tensor:
    """Return intensities in [0, 1]; see `fewct.imaging.intensity.normalise`.

    All slices of a crop go through the range of the first one.

    Args:
        pixels: float32 (n, slices, rows, columns).
        body: bool (n, rows, columns): the patient on the first slice.
        is_hu: bool (n,): whether pixels are in Hounsfield units.

    Returns:
        float32 (n, slices, rows, columns).
    """
    window = WINDOWS[DEFAULT_WINDOW]
    grey_low, grey_high = _robust_range(pixels[:, 0], body)
    low = torch.where(is_hu, window.level_hu - window.width_hu / 2, grey_low)
    high = torch.where(is_hu, window.level_hu + window.width_hu / 2, grey_high)
    extent = by_item(high - low, pixels)
    scaled = ((pixels - by_item(low, pixels)) / extent.clamp_min(1e-6)).clamp(0, 1)
    return torch.where(extent > 0, scaled, 0.0)


def ranks(pixels: Tensor, body: Tensor) -> Tensor:
    """Return each pixel's rank among the intensities of the patient; see `fewct.imaging.intensity.ranks`.

    Args:
        pixels: float32 (n, rows, columns).
        body: bool (n, rows, columns); where a slice has none, ranks are taken among all pixels.

    Returns:
        float32 (n, rows, columns) in [0, 1].
    """
    body = _or_all(body)
    low, high = _extremes(pixels, body)
    low, high = low.clamp_min(RANKED_HU[0]), high.clamp_max(RANKED_HU[1])
    scale = (RANK_BINS - 1) / (high - low).clamp_min(1e-6)
    bins = ((pixels - by_item(low, pixels)) * by_item(scale, pixels)).clamp(0, RANK_BINS - 1).long()
    counts = _counts(bins, body, RANK_BINS)
    cumulative = (counts.cumsum(1) - counts / 2) / counts.sum(1, keepdim=True)
    found = cumulative.float().gather(1, bins.flatten(1)).view(pixels.shape)
    return torch.where(by_item(high > low, pixels), found, 0.0)


def _robust_range(pixels: Tensor, body: Tensor) -> tuple[Tensor, Tensor]:
    """Return the range (low, high), each (n,), of the intensities that matter."""
    body = _or_all(body)
    least, most = _extremes(pixels, body)
    scale = (GREY_BINS - 1) / (most - least).clamp_min(1e-6)
    bins = ((pixels - by_item(least, pixels)) * by_item(scale, pixels)).round().clamp(0, GREY_BINS - 1).long()
    counts = _counts(bins, body, GREY_BINS)
    for end in (0, -1):
        clipped = counts[:, end] > PADDING_SHARE * counts.sum(1)
        counts[:, end] = torch.where(clipped, 0.0, counts[:, end])
    shares = counts.cumsum(1) / counts.sum(1, keepdim=True).clamp_min(1.0)
    ends = []
    for percentile in (LOW_PERCENTILE, HIGH_PERCENTILE):
        wanted = torch.full((len(pixels), 1), percentile / 100, dtype=shares.dtype, device=shares.device)
        bin_of = torch.searchsorted(shares, wanted)[:, 0].clamp_max(GREY_BINS - 1)
        ends.append(least + bin_of / scale)
    low, high = ends
    return torch.where(high > low, low, least), torch.where(high > low, high, most)


def _or_all(body: Tensor) -> Tensor:
    """Return masks, all True where one is empty."""
    return body | ~body.flatten(1).any(1)[:, None, None]


def _extremes(pixels: Tensor, body: Tensor) -> tuple[Tensor, Tensor]:
    """Return the least and the largest intensity of each patient, (n,)."""
    inside = pixels.masked_fill(~body, torch.inf).flatten(1).amin(1)
    return inside, pixels.masked_fill(~body, -torch.inf).flatten(1).amax(1)


def _counts(bins: Tensor, body: Tensor, count: int) -> Tensor:
    """Return the histogram of each slice's pixels in the body, float64 (n, count)."""
    counts = torch.zeros(len(bins), count, dtype=torch.float64, device=bins.device)
    return counts.scatter_add_(1, bins.flatten(1), body.flatten(1).double())
