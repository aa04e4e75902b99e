"""`segment-anything`'s generator of masks, without torchvision, which has no build for the pinned torch."""

import sys
from types import ModuleType
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor


def resize(image: Image.Image, size: tuple[int, int]) -> Image.Image:
    """Resize to (rows, columns) as torchvision does for pictures."""
    return image.resize(size[::-1], Image.Resampling.BILINEAR)


def box_area(boxes: Tensor) -> Tensor:
    """Return the areas of boxes (n, 4), x0, y0, x1, y1."""
    return (boxes[:, 2:] - boxes[:, :2]).prod(dim=1)


def batched_nms(boxes: Tensor, scores: Tensor, idxs: Tensor, iou_threshold: float) -> Tensor:
    """Return which boxes stay, best first: from the best down, all that overlap no better one too much.

    Args:
        boxes: (n, 4): x0, y0, x1, y1.
        scores: (n,).
        idxs: (n,): categories; all are 0 here.
        iou_threshold: Intersection over union above which the worse of two goes.
    """
    if idxs.any():
        raise ValueError("more than one category of boxes")
    order = scores.sort(stable=True, descending=True).indices
    kept: list[int] = []
    while len(order):
        best, order = order[0], order[1:]
        kept.append(int(best))
        sides = torch.minimum(boxes[best, 2:], boxes[order, 2:]) - torch.maximum(
            boxes[best, :2], boxes[order, :2]
        )
        shared = sides.clamp(min=0).prod(dim=1)
        union = box_area(boxes[best][None]) + box_area(boxes[order]) - shared
        order = order[~(shared / union > iou_threshold)]
    return torch.tensor(kept, dtype=torch.int64)


def install_torchvision() -> None:
    """Let `import torchvision` find the functions above."""
    functional, boxes = ModuleType("torchvision.transforms.functional"), ModuleType("torchvision.ops.boxes")
    functional.__dict__.update(resize=resize, to_pil_image=Image.fromarray)
    boxes.__dict__.update(batched_nms=batched_nms, box_area=box_area)
    for name in ("torchvision", "torchvision.transforms", "torchvision.ops"):
        sys.modules[name] = ModuleType(name)
    sys.modules |= {module.__name__: module for module in (functional, boxes)}


def official_generator(checkpoint: str, **settings: Any) -> Any:
    """Return `SamAutomaticMaskGenerator` with ViT-B and the weights of a file."""
    install_torchvision()
    from segment_anything import SamAutomaticMaskGenerator, sam_model_registry

    return SamAutomaticMaskGenerator(sam_model_registry["vit_b"](checkpoint), **settings)


def official_masks(generator: Any, picture: np.ndarray) -> np.ndarray:
    """Return the masks of a grey picture, uint8 (rows, columns), as bool (n, rows, columns)."""
    found = generator.generate(np.repeat(picture[..., None], 3, axis=2))
    return np.array([mask["segmentation"] for mask in found]).reshape(-1, *picture.shape)
