"""Batches for the training of `mosaic`'s network."""

import torch
from torch import Tensor

from fewct.data.examples import STRUCTURE, UNKNOWN
from fewct.methods.mosaic.preprocessing import GAP_UNIT_MM
from fewct.training.batches.intensities import contrast, ranks
from fewct.training.batches.randomness import Randomness
from fewct.training.batches.scanner import Scanned, scan
from fewct.training.batches.scenes import Scenes
from fewct.training.batches.synthetic import border_pixels
from fewct.training.crops import TrainingCrop

KNOWN = ("labels", "structure", "border_weight", "labels_above")


def map_batch(parts: list[Scenes], random: Randomness) -> TrainingCrop:
    """Return a batch of scenes with a scanner's effects and preprocessed."""
    channels = torch.cat([preprocess_batch(scan(part, random), part) for part in parts])
    known = {name: torch.cat([getattr(part, name) for part in parts]) for name in KNOWN}
    labels, structure = known["labels"], known["structure"]
    return TrainingCrop(
        channels,
        border_pixels(labels).float(),
        known["border_weight"],
        (structure == STRUCTURE).float(),
        (structure != UNKNOWN).float(),
        labels.int(),
        known["labels_above"].int(),
    )


def preprocess_batch(scanned: Scanned, scenes: Scenes) -> Tensor:
    """Return the channels of `preprocess` for a batch of crops.

    Args:
        scanned: Their pixels.
        scenes: Their bodies and the distances of their neighbours.

    Returns:
        float32 (n, channels, S, S).
    """
    pixels = scanned.pixels
    seen = contrast(pixels, scenes.body, scanned.is_hu)
    rank = ranks(pixels[:, 0], scenes.body)
    if seen.shape[1] == 1:
        differences = torch.zeros_like(seen).expand(-1, 2, -1, -1)
    else:
        differences = seen[:, 1:] - seen[:, :1]
    gaps = (scenes.gap_mm / GAP_UNIT_MM)[:, :, None, None].expand_as(differences)
    absent = (scenes.gap_mm == 0)[:, :, None, None]
    plain = torch.stack([seen[:, 0], rank], 1) * 2 - 1
    return torch.cat([plain, torch.where(absent, 0.0, 2 * differences), gaps], 1)
