"""The networks of SAM run by ONNX Runtime, without torch."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from fewct.errors import InputError
from fewct.methods.sam.backends.base import PIXELS_AT_ONCE, DecodedMasks
from fewct.methods.sam.checkpoints import onnx_manifest as names
from fewct.methods.sam.checkpoints.onnx_manifest import ExportRecord, read_record
from fewct.methods.sam.conventions import Embedding, Logits, Normalization, Pixels, PointCoords, PointLabels
from fewct.runtime.onnx_session import open_session

SharedTensors: TypeAlias = dict[str, NDArray[np.float32]]
"""What all prompts on an image share, by the names that the graphs give it."""


class OnnxBackend:
    """Exported networks: the record of what they take and give, and their graphs by name of file."""

    def __init__(self, record: ExportRecord, sessions: Mapping[str, onnxruntime.InferenceSession]) -> None:
        self.image_size = record.image_size
        self.mask_px = record.mask_px
        self.normalization: Normalization = record.normalization
        self._masks = record.masks
        self._step = max(1, PIXELS_AT_ONCE // record.grid**2)
        self._sessions = sessions
        self._shared = [output.name for output in sessions[names.IMAGE_TOKENS].get_outputs()]

    @classmethod
    def load(cls, folder: Path) -> "OnnxBackend":
        """Return the networks of a folder that `onnx_export` wrote.

        Raises:
            InputError: If the folder, its record or a graph is absent, damaged, changed, or of another
                network.
            UsageError: If FEWCT_NUM_THREADS is not a whole number of 1 or more.
        """
        record = read_record(folder)
        threads: dict[str, int | None] = dict.fromkeys(
            names.GRAPHS, 1 if record.normalization == "ranks" else None
        )
        threads[names.IMAGE_ENCODER] = None  # `MaskPromptBackend` runs the others side by side
        sessions = {name: open_session(folder / name, record.sha256, n) for name, n in threads.items()}
        _check_graphs(folder, record, sessions)
        return cls(record, sessions)

    def embed(self, pixels: Pixels) -> Embedding:
        """Return the embedding of an image; see `Backend`."""
        embedding: Embedding = self._sessions[names.IMAGE_ENCODER].run(None, {names.PIXELS: pixels})[0]
        return embedding

    def encode_prompts(self, embedding: Embedding, mask_input: Logits | None) -> SharedTensors:
        """Return what all prompts on an image share; see `Backend`."""
        has_mask_input = np.array(mask_input is not None)
        logits = np.zeros((self.mask_px, self.mask_px), np.float32) if mask_input is None else mask_input
        inputs = {names.EMBEDDING: embedding, names.MASK_INPUT: logits, names.HAS_MASK_INPUT: has_mask_input}
        return dict(zip(self._shared, self._sessions[names.IMAGE_TOKENS].run(None, inputs), strict=True))

    def decode_masks(
        self, tokens: Any, points: PointCoords, labels: PointLabels, multimask: bool, above: float = -np.inf
    ) -> DecodedMasks:
        """Return the masks of prompts, a few prompts at a time; see `Backend`."""
        wanted = slice(1, None) if multimask else slice(0, 1)
        parts = [DecodedMasks.none(self._masks - 1 if multimask else 1, self.mask_px)]
        for start in range(0, len(points), self._step):
            now = slice(start, start + self._step)
            inputs = {names.POINT_COORDS: points[now], names.POINT_LABELS: labels[now], **tokens}
            outputs = self._sessions[names.DECODER].run(
                (names.PREDICTED_IOU, names.KERNELS, names.PIXEL_TOKENS), inputs
            )
            iou, kernels, pixels = outputs[0][:, wanted], outputs[1], outputs[2]
            kept = iou > above
            some = kept.any(axis=1)
            logits = parts[0].logits
            if some.any():
                inputs = {names.PIXEL_TOKENS: pixels[some], names.KERNELS: kernels[some, wanted]}
                logits = self._sessions[names.MASK_LOGITS].run(None, inputs)[0][kept[some]]
            parts.append(DecodedMasks(iou, np.argwhere(kept), logits))
        return DecodedMasks.concatenate(parts)


def _check_graphs(
    folder: Path, record: ExportRecord, sessions: Mapping[str, onnxruntime.InferenceSession]
) -> None:
    """Raise unless graphs take and give what the record says.

    Raises:
        InputError: If a file holds a network of another kind or size.
    """
    shared = [output.name for output in sessions[names.IMAGE_TOKENS].get_outputs()]
    side, grid = [record.image_size] * 2, [record.grid] * 2
    expected: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
        names.IMAGE_ENCODER: (
            {names.PIXELS: [record.channels, *side]},
            {names.EMBEDDING: [record.width, *grid]},
        ),
        names.IMAGE_TOKENS: (
            {
                names.EMBEDDING: [record.width, *grid],
                names.MASK_INPUT: [record.mask_px] * 2,
                names.HAS_MASK_INPUT: [],
            },
            dict.fromkeys(shared),
        ),
        names.DECODER: (
            dict.fromkeys([names.POINT_COORDS, names.POINT_LABELS, *shared]),
            dict.fromkeys([names.PREDICTED_IOU, names.KERNELS, names.PIXEL_TOKENS]),
        ),
        names.MASK_LOGITS: (dict.fromkeys([names.PIXEL_TOKENS, names.KERNELS]), {names.LOGITS: None}),
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
