"""Small networks of `segment-anything` with random weights, to compare with.

It imports four functions of torchvision, which has no build for the pinned torch; they are written out here.
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from types import ModuleType
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn

from fewct.methods.sam.image_encoder import ViTShape
from fewct.methods.sam.mask_decoder import DecoderShape
from fewct.methods.sam.network import Sam, SamShape

SHAPE = SamShape(
    ViTShape(width=32, heads=2, windows=(5, 0), hidden=128, outputs=32),
    DecoderShape(width=32, heads=4, hidden=64, score_hidden=24),
    mask_channels=8,
)
"""A network of two blocks for tests; on 128 pixels the windows do not fill the grid of 8 x 8."""


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

__all__ = ["SamAutomaticMaskGenerator", "SamPredictor"]


def official(shape: SamShape = SHAPE, input_px: int = 128) -> Any:
    """Return the official network of a shape, with random weights that give masks of some size."""
    vit, decoder = shape.encoder, shape.decoder
    assert isinstance(vit, ViTShape)
    grid = input_px // vit.patch_px
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = OfficialSam(
            ImageEncoderViT(
                img_size=input_px,
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
            PromptEncoder(decoder.width, (grid, grid), (input_px, input_px), shape.mask_channels),
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
    """Draw all weights anew, also those that begin as zeros or ones."""
    for parameter in network.parameters():
        fan = parameter[0].numel() if parameter.ndim > 1 else 1
        nn.init.normal_(parameter, 0.3 if parameter.ndim == 1 else 0.0, 0.5 if fan == 1 else 1.2 * fan**-0.5)


def ours(network: Any, shape: SamShape = SHAPE, input_px: int = 128) -> Sam:
    """Return our network with the weights of an official one."""
    copy = Sam(shape, input_px)
    copy.load_state_dict(network.state_dict(), strict=True)
    return copy.eval()


def blobs(side: int = 96, seed: int = 0) -> NDArray[np.uint8]:
    """Return a smooth grey picture, uint8 (side, side - 16)."""
    rng = np.random.default_rng(seed)
    small = Image.fromarray(rng.integers(0, 255, (9, 8), dtype=np.uint8))
    return np.asarray(small.resize((side - 16, side), Image.Resampling.BICUBIC))
