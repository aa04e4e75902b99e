"""The networks of SAM run by torch."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from fewct.errors import UsageError
from fewct.methods.sam.backends.base import PIXELS_AT_ONCE, DecodedMasks
from fewct.methods.sam.checkpoints.build import checked_normalization
from fewct.methods.sam.conventions import (
    Embedding,
    Logits,
    Normalization,
    Pixels,
    PointCoords,
    PointLabels,
    Precision,
)
from fewct.methods.sam.modeling.mask_decoder import UPSCALING
from fewct.methods.sam.modeling.sam import Sam
from fewct.methods.sam.modeling.transformer import ImageTokens
from fewct.runtime.threads import thread_count


class TorchBackend:
    """A network and how grey values are normalised for it.

    Args:
        normalization: None: "medsam" for the image encoder of LiteMedSAM, "ranks" for that of prompt-small,
            else "sam". The shapes of MedSAM's weights are those of SAM, so it must be given.
        precision: What the image encoder computes in. With "bfloat16" its products of matrices have 8 bits
            of precision; sums, normalisations and softmax stay in float32.

    Raises:
        UsageError: If the processor does not compute in bfloat16, the image encoder takes another number of
            channels than the normalization gives, or FEWCT_NUM_THREADS is not a whole number of 1 or more.
    """

    def __init__(
        self, network: Sam, normalization: Normalization | None = None, precision: Precision = "float32"
    ) -> None:
        torch.set_num_threads(thread_count())
        precisions = ("float32", "bfloat16") if computes_in_bfloat16() else ("float32",)
        if precision not in precisions:
            raise UsageError(
                "precision",
                expected=f"what this processor computes in, {' or '.join(precisions)}",
                found=precision,
                fix="Leave it out for float32.",
            )
        self.precision = precision
        self.network = network.eval()
        self.image_size = network.image_size
        self.mask_px = UPSCALING * network.prompt_encoder.grid
        self.normalization: Normalization = checked_normalization(network, normalization)

    @torch.inference_mode()
    def embed(self, pixels: Pixels) -> Embedding:
        """Return the embedding of an image; see `Backend`."""
        with torch.autocast("cpu", torch.bfloat16, enabled=self.precision == "bfloat16"):
            embedding: Tensor = self.network.image_encoder(torch.from_numpy(pixels)[None])[0]
        return embedding.float().numpy()

    @torch.inference_mode()
    def encode_prompts(self, embedding: Embedding, mask_input: Logits | None) -> ImageTokens:
        """Return what all prompts on an image share; see `Backend`."""
        logits = None if mask_input is None else torch.from_numpy(mask_input)[None, None]
        prompts = self.network.prompt_encoder
        return self.network.mask_decoder.image_tokens(
            torch.from_numpy(embedding)[None], prompts.mask(logits), prompts.positions()
        )

    @torch.inference_mode()
    def decode_masks(
        self, tokens: Any, points: PointCoords, labels: PointLabels, multimask: bool, above: float = -np.inf
    ) -> DecodedMasks:
        """Return the masks of prompts, a few prompts at a time; see `Backend`."""
        prompts = self.network.prompt_encoder.points(torch.from_numpy(points), torch.from_numpy(labels))
        decoder, wanted = self.network.mask_decoder, slice(1, None) if multimask else slice(0, 1)
        step = max(1, PIXELS_AT_ONCE // tokens.pixels.shape[1])
        masks = self.network.shape.decoder.masks - 1 if multimask else 1
        parts = [DecodedMasks.none(masks, self.mask_px)]
        for start in range(0, len(prompts), step):
            decoded = decoder.decode(tokens, prompts[None, start : start + step])
            iou = decoded.predicted_iou[:, wanted]
            kept = iou > above
            some = torch.nonzero(kept.any(dim=1))[:, 0]
            logits = parts[0].logits
            if len(some):
                upscaled = decoder.mask_logits(decoded.pixels[some], decoded.kernels[some, wanted])
                logits = upscaled[kept[some]].numpy()
            parts.append(DecodedMasks(iou.numpy(), torch.nonzero(kept).numpy(), logits))
        return DecodedMasks.concatenate(parts)


def computes_in_bfloat16() -> bool:
    """Tell whether the processor multiplies matrices of bfloat16 (AVX512-BF16, AMX, or the same of ARM)."""
    capabilities = getattr(torch.cpu, "get_capabilities", dict)  # not in torch before 2.10
    features: Mapping[str, Any] = capabilities()
    return any(features.get(name, False) for name in ("avx512_bf16", "amx_bf16", "bf16"))
