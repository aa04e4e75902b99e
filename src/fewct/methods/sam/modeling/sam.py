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
    """What a network is made of.

    Args:
        encoder: The image encoder.
        decoder: The mask decoder.
        mask_channels: Of the prompt encoder, where a first guess is made smaller.
    """

    encoder: ViTShape | TinyViTShape | SmallShape
    decoder: DecoderShape = field(default_factory=DecoderShape)
    mask_channels: int = 16


class Sam(nn.Module):
    """The network; names of weights are those of the official checkpoints.

    Args:
        shape: What it is made of.
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
        """Return all masks for prompts on images, and how good they are.

        Args:
            pixels: float (images, channels, image_size, image_size), normalised.
            xy: float (images, prompts, points, 2): x, y in pixels of the input.
            labels: int64 (images, prompts, points), as for `PromptEncoder.points`.
            mask_input: float (images, 1, side, side): logits of a mask; None for no guess.

        Returns:
            Logits (images, prompts, masks, side, side), 0 being the border, with `side` four times that of
            the image embedding; and predicted intersections over union (images, prompts, masks).
        """
        embedding = self.image_encoder(pixels)
        prompts, decoder = self.prompt_encoder, self.mask_decoder
        side = decoder.image_tokens(embedding, prompts.mask(mask_input), prompts.positions())
        answers = decoder.answers(side, prompts.points(xy, labels))
        logits = decoder.draw(answers.pixels, answers.kernels)
        shape = xy.shape[:2]
        return torch.unflatten(logits, 0, shape), torch.unflatten(answers.predicted_iou, 0, shape)


def _image_encoder(shape: ViTShape | TinyViTShape | SmallShape, image_size: int) -> nn.Module:
    if isinstance(shape, ViTShape):
        return ImageEncoderViT(shape, image_size)
    return TinyViT(shape) if isinstance(shape, TinyViTShape) else SmallEncoder(shape)
