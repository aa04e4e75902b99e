"""Small networks of `segment-anything` with random weights, to compare with.

It imports four functions of torchvision, which has no build for the pinned torch; they are written out here.
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from itertools import product
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn

from fewct.methods.sam.backends.base import DecodedMasks
from fewct.methods.sam.conventions import Normalization
from fewct.methods.sam.modeling.image_encoder import ViTShape
from fewct.methods.sam.modeling.mask_decoder import DecoderShape
from fewct.methods.sam.modeling.sam import Sam, SamShape
from fewct.methods.sam.modeling.tiny_vit import TinyViTShape
from precision import float32_rounding

SHAPE = SamShape(
    ViTShape(width=32, heads=2, windows=(5, 0), hidden=128, outputs=32),
    DecoderShape(width=32, heads=4, hidden=64, score_hidden=24),
    mask_channels=8,
)
"""A network of two blocks for tests; on 128 pixels the windows do not fill the grid of 8 x 8."""

CLOSE, IOU_CLOSE = float32_rounding(5000, 10), float32_rounding(5000, 1)
"""Of its embeddings, its logits and its predicted IoU in float32; a path through it sums up 5,000 terms."""


def _official_vit(width: int, heads: int, depth: int) -> ViTShape:
    every = depth // 4  # the last block of each quarter sees the whole image
    windows = tuple(0 if (i + 1) % every == 0 else 14 for i in range(depth))
    return ViTShape(width, heads, windows, hidden=4 * width)


VIT_B, VIT_L, VIT_H = (_official_vit(*sizes) for sizes in ((768, 12, 12), (1024, 16, 24), (1280, 16, 32)))
MOBILE_SAM, LITE_MEDSAM = TinyViTShape(classes=1000), TinyViTShape(stem_stride=1)


def resize(image: Image.Image, size: tuple[int, int]) -> Image.Image:
    """Resize to (rows, columns) as torchvision does for pictures."""
    return image.resize(size[::-1], Image.Resampling.BILINEAR)


def box_area(boxes: Tensor) -> Tensor:
    return (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])


def batched_nms(boxes: Tensor, scores: Tensor, idxs: Tensor, iou_threshold: float) -> Tensor:
    """Keep the best of boxes that overlap, box by box; all are of one category here."""
    assert not idxs.any()
    kept: list[int] = []
    for i in scores.sort(stable=True, descending=True).indices.tolist():
        overlaps = [_box_iou(boxes[i].tolist(), boxes[k].tolist()) for k in kept]
        if all(not overlap > iou_threshold for overlap in overlaps):
            kept.append(i)
    return torch.tensor(kept, dtype=torch.int64)


def _box_iou(a: list[float], b: list[float]) -> float:
    sides = [max(0.0, min(a[i + 2], b[i + 2]) - max(a[i], b[i])) for i in (0, 1)]
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (a, b)]
    union = sum(areas) - sides[0] * sides[1]
    return sides[0] * sides[1] / union if union else float("nan")


def connected_components(mask: NDArray[np.uint8], connectivity: int) -> Any:
    """Number the regions of a mask, pixel by pixel, as OpenCV gives them: count, labels, statistics."""
    assert connectivity == 8
    labels, sizes = np.zeros(mask.shape, dtype=np.int32), [int((mask == 0).sum())]
    for start in zip(*np.nonzero(mask), strict=True):
        if labels[start]:
            continue
        label, queue = len(sizes), [start]
        labels[start] = label
        sizes.append(0)
        while queue:
            y, x = queue.pop()
            sizes[label] += 1
            for place in product(range(max(y - 1, 0), y + 2), range(max(x - 1, 0), x + 2)):
                inside = place[0] < mask.shape[0] and place[1] < mask.shape[1]
                if inside and mask[place] and not labels[place]:
                    labels[place] = label
                    queue.append(place)
    return len(sizes), labels, np.array(sizes)[:, None], None


@contextmanager
def torchvision_written_out() -> Iterator[None]:
    """Let `import torchvision` find the functions above, and nothing once the block is left."""
    functional, boxes = ModuleType("torchvision.transforms.functional"), ModuleType("torchvision.ops.boxes")
    functional.__dict__.update(resize=resize, to_pil_image=Image.fromarray)
    boxes.__dict__.update(batched_nms=batched_nms, box_area=box_area)
    parents = ("torchvision", "torchvision.transforms", "torchvision.ops")
    modules = {name: ModuleType(name) for name in parents} | {m.__name__: m for m in (functional, boxes)}
    sys.modules.update(modules)
    try:
        yield
    finally:
        for name in modules:
            del sys.modules[name]


with torchvision_written_out():
    from segment_anything import SamAutomaticMaskGenerator, SamPredictor
    from segment_anything.modeling import ImageEncoderViT, MaskDecoder, PromptEncoder, TwoWayTransformer
    from segment_anything.modeling import Sam as OfficialSam
    from segment_anything.modeling import prompt_encoder as official_prompt_encoder

__all__ = ["SamAutomaticMaskGenerator", "SamPredictor", "official_prompt_encoder"]


def official(shape: SamShape = SHAPE, image_size: int = 128) -> Any:
    """Return the official network of a shape, with random weights that give masks of some size."""
    vit, decoder = shape.encoder, shape.decoder
    assert isinstance(vit, ViTShape)
    grid = image_size // vit.patch_px
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = OfficialSam(
            ImageEncoderViT(
                img_size=image_size,
                patch_size=vit.patch_px,
                embed_dim=vit.width,
                depth=len(vit.windows),
                num_heads=vit.heads,
                mlp_ratio=vit.hidden / vit.width,
                out_chans=vit.outputs,
                norm_layer=partial(nn.LayerNorm, eps=1e-6),
                use_rel_pos=True,
                window_size=max(vit.windows),
                global_attn_indexes=tuple(i for i, window in enumerate(vit.windows) if not window),
            ),
            PromptEncoder(decoder.width, (grid, grid), (image_size, image_size), shape.mask_channels),
            MaskDecoder(
                transformer_dim=decoder.width,
                transformer=TwoWayTransformer(decoder.depth, decoder.width, decoder.heads, decoder.hidden),
                num_multimask_outputs=decoder.masks - 1,
                iou_head_depth=decoder.score_depth,
                iou_head_hidden_dim=decoder.score_hidden,
            ),
        )
        randomise(network)
    return network.eval()


def randomise(network: nn.Module) -> None:
    """Draw all weights anew, also those that begin as zeros or ones, so that masks depend on the prompts."""
    for name, parameter in network.named_parameters():
        if parameter.ndim == 1:
            nn.init.normal_(parameter, 1.0 if name.endswith("weight") else 0.0, 0.2)
        else:
            fan = parameter[0].numel()
            gain = 2.0 if "q_proj" in name or "k_proj" in name else 1.2
            nn.init.normal_(parameter, 0.0, 0.5 if len(parameter) == 1 else gain * fan**-0.5)
        if "hypernetworks" in name and "layers.2" in name:  # what is drawn with is above 0 on the whole
            nn.init.normal_(parameter, -0.1 if parameter.ndim == 2 else -0.2, 0.2)
        if "iou_prediction_head" in name and "layers.2" in name:  # from 0 to 1 on the whole
            nn.init.normal_(parameter, 0.5 if parameter.ndim == 1 else 0.0, 0.08)


def write_checkpoint(path: Path) -> str:
    """Write a small official network with random weights as its authors write theirs; return the path."""
    network = official(replace(SHAPE, decoder=replace(SHAPE.decoder, heads=8)), 128)
    torch.save(network.state_dict(), path)
    return str(path)


def ours(network: Any, shape: SamShape = SHAPE, image_size: int = 128) -> Sam:
    """Return our network with the weights of an official one."""
    copy = Sam(shape, image_size)
    copy.load_state_dict(network.state_dict(), strict=True)
    return copy.eval()


def blobs(side: int = 96, seed: int = 0) -> NDArray[np.uint8]:
    """Return a smooth grey picture, uint8 (side, side - 16)."""
    rng = np.random.default_rng(seed)
    small = Image.fromarray(rng.integers(0, 255, (9, 8), dtype=np.uint8))
    return np.asarray(small.resize((side - 16, side), Image.Resampling.BICUBIC))


def drops(points_xy: NDArray[np.float32], side: int, image_size: int) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return three round masks for each point, wider and wider, sharp or blurred, and how good they are.

    Args:
        points_xy: (n, 2): x, y in pixels of the input.
        side: Of the masks.
        image_size: Of the input.

    Returns:
        Logits float32 (n, 3, side, side) and predicted IoU float32 (n, 3).
    """
    x, y = points_xy.astype(np.float64).T
    kind = np.sin(0.37 * x + 0.11 * y)[:, None] + np.array([0.0, 0.9, 2.1])
    radius = image_size * (0.07 + 0.03 * np.sin(5 * kind)) * np.array([0.6, 1.0, 2.2])
    softness = image_size * (0.001 + 0.01 * np.cos(3 * kind) ** 2)
    centres = (np.arange(side) + 0.5) * image_size / side
    distance = np.hypot(centres - x[:, None, None], centres[:, None] - y[:, None, None])
    logits = (radius[..., None, None] - distance[:, None]) / softness[..., None, None]
    return logits.astype(np.float32), (0.75 + 0.25 * np.cos(7 * kind)).astype(np.float32)


class DropPredictor(SamPredictor):
    """An official predictor whose masks are drops."""

    def predict_torch(self, point_coords: Tensor, *_: Any, **__: Any) -> tuple[Tensor, Tensor, Tensor]:
        side = 4 * self.features.shape[-1]
        logits, iou = drops(point_coords[:, 0].numpy(), side, self.model.image_encoder.img_size)
        masks = self.model.postprocess_masks(torch.from_numpy(logits), self.input_size, self.original_size)
        return masks, torch.from_numpy(iou), torch.from_numpy(logits)


class DropBackend:
    """A backend whose masks are drops; counts the prompts put to it."""

    image_size, mask_px = 128, 32
    normalization: Normalization = "sam"

    def __init__(self) -> None:
        self.count = 0

    def embed(self, pixels: NDArray[np.float32]) -> NDArray[np.float32]:
        return pixels[:, :1, :1]

    def encode_prompts(self, *_: Any) -> None:
        return None

    def decode_masks(
        self, _: Any, points_xy: NDArray[np.float32], __: Any, ___: bool, above: float
    ) -> DecodedMasks:
        self.count += len(points_xy)
        logits, iou = drops(points_xy[:, 0], self.mask_px, self.image_size)
        return DecodedMasks(iou, np.argwhere(iou > above), logits[iou > above])
