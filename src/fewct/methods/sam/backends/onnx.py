"""The networks of SAM run by ONNX Runtime, without torch."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, TypeAlias

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from fewct.errors import InputError
from fewct.methods.sam.backends.base import PIXELS_AT_ONCE, DecodedMasks
from fewct.methods.sam.checkpoints.onnx_manifest import (
    DECODER,
    EMBEDDING,
    GRAPHS,
    HAS_MASK_INPUT,
    IMAGE_ENCODER,
    IMAGE_TOKENS,
    KERNELS,
    LOGITS,
    MASK_INPUT,
    MASK_LOGITS,
    PIXEL_TOKENS,
    PIXELS,
    POINT_COORDS,
    POINT_LABELS,
    PREDICTED_IOU,
    ExportRecord,
    read_record,
)
from fewct.methods.sam.conventions import Normalization
from fewct.runtime.onnx_session import open_session

Shared: TypeAlias = dict[str, NDArray[np.float32]]
"""What all prompts on an image share, by the names that the graphs give it."""


class OnnxBackend:
    """Exported networks and how they see grey.

    Args:
        record: What they take and give.
        sessions: The graphs by the names of their files.
    """

    def __init__(self, record: ExportRecord, sessions: Mapping[str, onnxruntime.InferenceSession]) -> None:
        self.image_size = record.image_size
        self.mask_px = record.mask_px
        self.normalization: Normalization = record.normalization
        self._masks = record.masks
        self._step = max(1, PIXELS_AT_ONCE // record.grid**2)
        self._sessions = sessions
        self._shared = [output.name for output in sessions[IMAGE_TOKENS].get_outputs()]

    @classmethod
    def load(cls, folder: Path) -> "OnnxBackend":
        """Return the networks of a folder that `onnx_export` wrote.

        Raises:
            InputError: If the folder, its record or a graph is absent, damaged, changed, or of another
                network.
            UsageError: If FEWCT_NUM_THREADS is not a whole number of 1 or more.
        """
        record = read_record(folder)
        decoding = (
            1 if record.normalization == "ranks" else None
        )  # `MaskPromptBackend` runs prompts side by side
        sessions = {
            name: open_session(folder / name, record.sha256, None if name == IMAGE_ENCODER else decoding)
            for name in GRAPHS
        }
        _check_graphs(folder, record, sessions)
        return cls(record, sessions)

    def embed(
        self, pixels: Annotated[NDArray[np.float32], "seen side side"]
    ) -> Annotated[NDArray[np.float32], "channels rows columns"]:
        """Return the embedding of an image; see `Backend`."""
        embedding: NDArray[np.float32] = self._sessions[IMAGE_ENCODER].run(None, {PIXELS: pixels})[0]
        return embedding

    def encode_prompts(
        self,
        embedding: Annotated[NDArray[np.float32], "channels rows columns"],
        mask_input: Annotated[NDArray[np.float32], "side side"] | None,
    ) -> Shared:
        """Return what all prompts on an image share; see `Backend`."""
        guess = np.zeros((self.mask_px, self.mask_px), np.float32) if mask_input is None else mask_input
        asked = {EMBEDDING: embedding, MASK_INPUT: guess, HAS_MASK_INPUT: np.array(mask_input is not None)}
        return dict(zip(self._shared, self._sessions[IMAGE_TOKENS].run(None, asked), strict=True))

    def decode_masks(
        self,
        image_tokens: Shared,
        points_xy: Annotated[NDArray[np.float32], "prompts points 2"],
        labels: Annotated[NDArray[np.int64], "prompts points"],
        multimask: bool,
        above: float = -np.inf,
    ) -> DecodedMasks:
        """Return the masks of prompts, a few prompts at a time; see `Backend`."""
        wanted = slice(1, None) if multimask else slice(0, 1)
        ious = [np.zeros((0, self._masks), np.float32)[:, wanted]]
        chosen = [np.zeros((0, 2), np.int64)]
        logits = [np.zeros((0, self.mask_px, self.mask_px), np.float32)]
        for start in range(0, len(points_xy), self._step):
            now = slice(start, start + self._step)
            asked = {POINT_COORDS: points_xy[now], POINT_LABELS: labels[now], **image_tokens}
            all_ious, kernels, seen = self._sessions[DECODER].run(
                (PREDICTED_IOU, KERNELS, PIXEL_TOKENS), asked
            )
            iou = all_ious[:, wanted]
            kept = iou > above
            some = kept.any(axis=1)
            ious.append(iou)
            chosen.append(np.argwhere(kept) + np.array([start, 0]))
            if some.any():
                asked = {PIXEL_TOKENS: seen[some], KERNELS: kernels[some, wanted]}
                logits.append(self._sessions[MASK_LOGITS].run(None, asked)[0][kept[some]])
        return DecodedMasks(np.concatenate(ious), np.concatenate(chosen), np.concatenate(logits))


def _check_graphs(
    folder: Path, record: ExportRecord, sessions: Mapping[str, onnxruntime.InferenceSession]
) -> None:
    """Raise unless graphs take and give what the record tells.

    Raises:
        InputError: If a file holds a network of another kind or size.
    """
    shared = [output.name for output in sessions[IMAGE_TOKENS].get_outputs()]
    side, grid = [record.image_size] * 2, [record.grid] * 2
    expected: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
        IMAGE_ENCODER: ({PIXELS: [record.channels, *side]}, {EMBEDDING: [record.width, *grid]}),
        IMAGE_TOKENS: (
            {EMBEDDING: [record.width, *grid], MASK_INPUT: [record.mask_px] * 2, HAS_MASK_INPUT: []},
            dict.fromkeys(shared),
        ),
        DECODER: (
            dict.fromkeys([POINT_COORDS, POINT_LABELS, *shared]),
            dict.fromkeys([PREDICTED_IOU, KERNELS, PIXEL_TOKENS]),
        ),
        MASK_LOGITS: (dict.fromkeys([PIXEL_TOKENS, KERNELS]), {LOGITS: None}),
    }
    for name, (inputs, outputs) in expected.items():
        session = sessions[name]
        for what, ends in ((inputs, session.get_inputs()), (outputs, session.get_outputs())):
            found = {end.name: end.shape if what.get(end.name) is not None else None for end in ends}
            if found != what:
                raise InputError(
                    folder / name,
                    expected=f"a graph of {', '.join(what)} as its folder's record tells",
                    found=f"one of {', '.join(f'{end.name} {end.shape}' for end in ends)}",
                    fix="Name the whole folder that the export wrote, or export the checkpoint again.",
                )
