"""The networks of SAM run by torch."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fewct.errors import UsageError
from fewct.methods.sam.backends.base import PIXELS_AT_ONCE, DecodedMasks
from fewct.methods.sam.checkpoints.build import checked_normalization, load_sam
from fewct.methods.sam.conventions import Normalization, Precision
from fewct.methods.sam.modeling.mask_decoder import UPSCALING
from fewct.methods.sam.modeling.sam import Sam
from fewct.methods.sam.modeling.transformer import ImageTokens
from fewct.runtime.threads import thread_count


class TorchBackend:
    """A network and how it sees grey.

    Args:
        network: The network.
        normalization: None: "medsam" for the image encoder of LiteMedSAM, "ranks" for that of prompt-small,
            else "sam". The shapes of MedSAM's weights are those of SAM, so it must be told.
        precision: What the image encoder computes in. With "bfloat16" its products of matrices have 8 bits
            of precision; sums, normalisations and softmax stay in float32.

    Raises:
        UsageError: If bfloat16 is asked for, and the processor does not compute in it.
        UsageError: If the image encoder takes another number of channels than the normalization have.
        UsageError: If FEWCT_NUM_THREADS is not a whole number of 1 or more.
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

    @classmethod
    def load(
        cls,
        path: Path,
        image_size: int | None = None,
        normalization: Normalization | None = None,
        precision: Precision = "float32",
    ) -> "TorchBackend":
        """Return the network of a checkpoint; see `load_sam` for what it raises."""
        return cls(load_sam(path, image_size), normalization, precision)

    @torch.inference_mode()
    def embed(
        self, pixels: Annotated[NDArray[np.float32], "seen side side"]
    ) -> Annotated[NDArray[np.float32], "channels rows columns"]:
        """Return the embedding of an image; see `Backend`."""
        with torch.autocast("cpu", torch.bfloat16, enabled=self.precision == "bfloat16"):
            embedding: Tensor = self.network.image_encoder(torch.from_numpy(pixels)[None])[0]
        return embedding.float().numpy()

    @torch.inference_mode()
    def encode_prompts(
        self,
        embedding: Annotated[NDArray[np.float32], "channels rows columns"],
        mask_input: Annotated[NDArray[np.float32], "side side"] | None,
    ) -> ImageTokens:
        """Return what all prompts on an image share; see `Backend`."""
        guess = None if mask_input is None else torch.from_numpy(mask_input)[None, None]
        prompts = self.network.prompt_encoder
        return self.network.mask_decoder.image_tokens(
            torch.from_numpy(embedding)[None], prompts.mask(guess), prompts.positions()
        )

    @torch.inference_mode()
    def decode_masks(
        self,
        image_tokens: ImageTokens,
        points_xy: Annotated[NDArray[np.float32], "prompts points 2"],
        labels: Annotated[NDArray[np.int64], "prompts points"],
        multimask: bool,
        above: float = -np.inf,
    ) -> DecodedMasks:
        """Return the masks of prompts, a few prompts at a time; see `Backend`."""
        points = self.network.prompt_encoder.points(torch.from_numpy(points_xy), torch.from_numpy(labels))
        decoder, wanted = self.network.mask_decoder, slice(1, None) if multimask else slice(0, 1)
        step = max(1, PIXELS_AT_ONCE // image_tokens.pixels.shape[1])
        ious = [np.zeros((0, self.network.shape.decoder.masks), dtype=np.float32)[:, wanted]]
        chosen = [np.zeros((0, 2), dtype=np.int64)]
        logits = [np.zeros((0, self.mask_px, self.mask_px), dtype=np.float32)]
        for start in range(0, len(points), step):
            answers = decoder.answers(image_tokens, points[None, start : start + step])
            iou = answers.predicted_iou[:, wanted]
            kept = iou > above
            some = torch.nonzero(kept.any(dim=1))[:, 0]
            ious.append(iou.numpy())
            chosen.append(torch.nonzero(kept).numpy() + np.array([start, 0]))
            if len(some):
                drawn = decoder.draw(answers.pixels[some], answers.kernels[some, wanted])
                logits.append(drawn[kept[some]].numpy())
        return DecodedMasks(np.concatenate(ious), np.concatenate(chosen), np.concatenate(logits))


def computes_in_bfloat16() -> bool:
    """Tell whether the processor multiplies matrices of bfloat16 (AVX512-BF16, AMX, or the same of ARM)."""
    told = getattr(torch.cpu, "get_capabilities", dict)  # torch before 2.10 does not tell
    features: Mapping[str, Any] = told()
    return any(features.get(name, False) for name in ("avx512_bf16", "amx_bf16", "bf16"))
