"""The networks of SAM run by torch."""

from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float32, Int64
from numpy.typing import NDArray

from fewct.methods.sam.backend import Drawn, Intensities
from fewct.methods.sam.checkpoint import load_sam
from fewct.methods.sam.image_encoder import ViTShape
from fewct.methods.sam.mask_decoder import UPSCALING
from fewct.methods.sam.network import Sam
from fewct.methods.sam.transformer import ImageSide
from fewct.threads import thread_count

PIXELS_AT_ONCE = 4 * 64**2
"""Pixels of embeddings that are decoded at a time: 4 prompts of the official grid stay in the cache."""


class TorchBackend:
    """A network and how it sees grey.

    Args:
        network: The network.
        intensities: "sam" or "medsam"; None: "medsam" for the image encoder of LiteMedSAM, else "sam". The
            shapes of MedSAM's weights are those of SAM, so it must be told.

    Raises:
        UsageError: If FEWCT_NUM_THREADS is not a whole number of 1 or more.
    """

    def __init__(self, network: Sam, intensities: Intensities | None = None) -> None:
        torch.set_num_threads(thread_count())
        encoder = network.shape.encoder
        lite = not isinstance(encoder, ViTShape) and encoder.stem_stride == 1
        self.network = network.eval()
        self.input_px = network.input_px
        self.mask_px = UPSCALING * network.prompt_encoder.grid
        self.intensities: Intensities = intensities or ("medsam" if lite else "sam")

    @classmethod
    def load(
        cls, path: Path, input_px: int | None = None, intensities: Intensities | None = None
    ) -> "TorchBackend":
        """Return the network of a checkpoint; see `load_sam` for what it raises."""
        return cls(load_sam(path, input_px), intensities)

    @torch.inference_mode()
    def embed(
        self, pixels: Float32[NDArray[np.float32], "3 side side"]
    ) -> Float32[NDArray[np.float32], "channels rows columns"]:
        """Return the embedding of an image; see `Backend`."""
        embedding: NDArray[np.float32] = self.network.image_encoder(torch.from_numpy(pixels)[None])[0].numpy()
        return embedding

    @torch.inference_mode()
    def prepare(
        self,
        embedding: Float32[NDArray[np.float32], "channels rows columns"],
        first_guess: Float32[NDArray[np.float32], "side side"] | None,
    ) -> ImageSide:
        """Return what all prompts on an image share; see `Backend`."""
        guess = None if first_guess is None else torch.from_numpy(first_guess)[None, None]
        prompts = self.network.prompt_encoder
        return self.network.mask_decoder.image_side(
            torch.from_numpy(embedding)[None], prompts.mask(guess), prompts.positions()
        )

    @torch.inference_mode()
    def decode(
        self,
        prepared: ImageSide,
        points_xy: Float32[NDArray[np.float32], "prompts points 2"],
        labels: Int64[NDArray[np.int64], "prompts points"],
        multimask: bool,
        above: float = -np.inf,
    ) -> Drawn:
        """Return the masks of prompts, a few prompts at a time; see `Backend`."""
        points = self.network.prompt_encoder.points(torch.from_numpy(points_xy), torch.from_numpy(labels))
        decoder, wanted = self.network.mask_decoder, slice(1, None) if multimask else slice(0, 1)
        step = max(1, PIXELS_AT_ONCE // prepared.pixels.shape[1])
        ious, chosen = [], []
        logits = [np.zeros((0, self.mask_px, self.mask_px), dtype=np.float32)]
        for start in range(0, len(points), step):
            answers = decoder.answers(prepared, points[None, start : start + step])
            iou = answers.predicted_iou[:, wanted]
            kept = iou > above
            some = torch.nonzero(kept.any(dim=1))[:, 0]
            ious.append(iou.numpy())
            chosen.append(torch.nonzero(kept).numpy() + np.array([start, 0]))
            if len(some):
                drawn = decoder.draw(answers.pixels[some], answers.kernels[some, wanted])
                logits.append(drawn[kept[some]].numpy())
        return Drawn(np.concatenate(ious), np.concatenate(chosen), np.concatenate(logits))
