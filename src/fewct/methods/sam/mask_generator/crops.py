"""A crop of a slice, embedded: prompts decoded on it, its masks placed on the slice and limited."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from fewct.imaging.cleanup import clean_proposals
from fewct.methods.sam.backends.base import Backend, DecodedMasks
from fewct.methods.sam.conventions import INSIDE, NO_POINT, Picture
from fewct.methods.sam.mask_generator.candidates import GeneratedMasks, MaskUpsampler
from fewct.methods.sam.mask_generator.point_grids import Points
from fewct.methods.sam.mask_generator.settings import MaskGeneratorSettings
from fewct.methods.sam.mask_generator.small_regions import without_large_regions
from fewct.methods.sam.predictor import embed
from fewct.types import CTSlice, Mask, MaskProposals


class EmbeddedCrop:
    """A crop of a slice, embedded.

    Args:
        picture: uint8 (rows, columns): grey values of the whole slice.
        box: int64 (4,): where the crop lies on it.
        body: bool (rows, columns): the patient on the slice.
    """

    def __init__(
        self,
        backend: Backend,
        picture: Picture,
        box: NDArray[np.int64],
        image: CTSlice,
        body: Mask,
        settings: MaskGeneratorSettings,
    ) -> None:
        x0, y0, x1, y1 = box.tolist()
        embedded = embed(backend, picture[y0:y1, x0:x1])
        self.backend = backend
        self.box = box
        self.image = image
        self.body = body
        self.settings = settings
        self.thresholds = settings.thresholds(backend.normalization)
        self.frame = embedded.frame
        self.upsampler = MaskUpsampler(embedded.frame)
        self.image_tokens = backend.encode_prompts(embedded.embedding, None)

    def decode(self, points_xy: Points) -> DecodedMasks:
        """Return the masks at points, in pixels of the crop, whose predicted IoU is high enough."""
        xy = np.zeros((len(points_xy), 2, 2), dtype=np.float32)
        xy[:, 0] = self.frame.to_input(points_xy)
        labels = np.tile(np.array([INSIDE, NO_POINT], dtype=np.int64), (len(xy), 1))
        threshold = self.thresholds.predicted_iou
        return self.backend.decode_masks(
            self.image_tokens, xy, labels, True, threshold if threshold > 0 else -np.inf
        )

    def within_limits(self, found: GeneratedMasks) -> GeneratedMasks:
        """Return the masks within the limits of area and body; regions that are too large go before that."""
        found = found.keep(found.proposals.areas > 0)
        proposals = found.proposals
        if self.settings.max_mask_region_area:
            proposals = _trimmed(proposals, self.settings.max_mask_region_area)
        numbered = replace(proposals, scores=np.arange(len(found), dtype=np.float32))
        stays = clean_proposals(numbered, self.image, self.settings.cleanup, self.body)
        return found.keep(stays.scores.astype(np.int64)).with_masks(stays)

    def place(
        self, upsampled: Sequence[tuple[NDArray[np.int64], Mask]], iou: NDArray[np.float32]
    ) -> MaskProposals:
        """Return masks of the crop, each a box and its pixels, as masks on the slice."""
        boxes = np.array([box for box, _ in upsampled], dtype=np.int64).reshape(-1, 4)
        moved = boxes + np.tile(self.box[:2], 2)
        return MaskProposals(self.image.shape, moved, tuple(mask for _, mask in upsampled), iou)


def _trimmed(proposals: MaskProposals, area_px: int) -> MaskProposals:
    """Return the masks without their regions larger than an area; the boxes stay as they are."""
    crops = tuple(without_large_regions(crop, area_px) for crop in proposals.crops)
    return replace(proposals, crops=crops)
