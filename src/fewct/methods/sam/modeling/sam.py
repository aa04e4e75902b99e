"""Segment Anything (https://arxiv.org/abs/2304.02643) as one network of two encoders and a decoder."""

from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from fewct.errors import UsageError
from fewct.methods.sam.modeling.image_encoder import ImageEncoderViT, ViTShape
from fewct.methods.sam.modeling.mask_decoder import DecoderShape, MaskDecoder
from fewct.methods.sam.modeling.prompt_encoder import PromptEncoder
from fewct.methods.sam.modeling.small_encoder import SmallEncoder, SmallShape
from fewct.methods.sam.modeling.tiny_vit import TinyViT, TinyViTShape


@dataclass(frozen=True)
class SamShape:
    """Architecture of a network; `mask_channels` are those of the prompt encoder's convolutions."""

    encoder: ViTShape | TinyViTShape | SmallShape
    decoder: DecoderShape = field(default_factory=DecoderShape)
    mask_channels: int = 16


class Sam(nn.Module):
    """The network; names of weights are those of the official checkpoints.

    Args:
        shape: Its architecture.
        image_size: Side of the square images that it takes; None for the side it was made for.

    Raises:
        UsageError: If the stride of the image encoder does not divide the side.
    """

    def __init__(self, shape: SamShape, image_size: int | None = None) -> None:
        super().__init__()
        encoder = shape.encoder
        side = encoder.native_px if image_size is None else image_size
        if side < encoder.stride_px or side % encoder.stride_px:
            raise UsageError(
                "image_size",
                expected=f"a multiple of {encoder.stride_px}",
                found=f"{side}",
                fix=f"Use 256, 512 or 1024; this network was made for {encoder.native_px}.",
            )
        self.shape = shape
        self.image_size = side
        self.image_encoder = _image_encoder(encoder, side)
        width, grid = shape.decoder.width, side // encoder.stride_px
        self.prompt_encoder = PromptEncoder(width, grid, side, shape.mask_channels)
        self.mask_decoder = MaskDecoder(shape.decoder)
        if isinstance(self.image_encoder, SmallEncoder):
            self.image_encoder.pe_layer = self.prompt_encoder.pe_layer

    def forward(
        self, pixels: Tensor, xy: Tensor, labels: Tensor, mask_input: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Return all masks for prompts on normalised images, (images, channels, image_size, image_size).

        The rest is as for `masks`, but that images and prompts are two axes.
        """
        found = self.masks(self.image_encoder(pixels), xy, labels, mask_input)
        logits, predicted_iou = (torch.unflatten(values, 0, xy.shape[:2]) for values in found)
        return logits, predicted_iou

    def masks(
        self, embedding: Tensor, xy: Tensor, labels: Tensor, mask_input: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Return all masks for prompts on embedded images, and their predicted IoU.

        Args:
            embedding: float (images, width, grid, grid).
            xy: float (images, prompts, points, 2): x, y in pixels of the input.
            labels: int64 (images, prompts, points), as for `PromptEncoder.points`.
            mask_input: float (images, 1, side, side): logits of a mask.

        Returns:
            Logits (images * prompts, masks, side, side), above 0 inside the structure, with `side` four times
            that of the embedding; and predicted IoU (images * prompts, masks).
        """
        prompts, decoder = self.prompt_encoder, self.mask_decoder
        tokens = decoder.image_tokens(embedding, prompts.mask(mask_input), prompts.positions())
        decoded = decoder.decode(tokens, prompts.points(xy, labels))
        return decoder.mask_logits(decoded.pixels, decoded.kernels), decoded.predicted_iou


def _image_encoder(shape: ViTShape | TinyViTShape | SmallShape, image_size: int) -> nn.Module:
    if isinstance(shape, ViTShape):
        return ImageEncoderViT(shape, image_size)
    return TinyViT(shape) if isinstance(shape, TinyViTShape) else SmallEncoder(shape)
