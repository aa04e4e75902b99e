"""The folder of exported networks: names of its graphs and of their tensors, and the record beside them."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, get_args

from fewct.errors import InputError
from fewct.methods.sam.checkpoints.layout import EXPORT_FILE
from fewct.methods.sam.conventions import Normalization

FORMAT, VERSION = "fewct-sam-onnx", 1

GRAPHS = "embed.onnx", "prepare.onnx", "answers.onnx", "draw.onnx"
IMAGE_ENCODER, IMAGE_TOKENS, DECODER, MASK_LOGITS = GRAPHS
"""Image to embedding; embedding and mask input to what prompts share; prompts to predicted IoU, kernels and
pixels; these to the logits of masks."""

PIXELS, EMBEDDING, MASK_INPUT, HAS_MASK_INPUT = "pixels", "embedding", "first_guess", "guessed"
POINT_COORDS, POINT_LABELS = "points_xy", "labels"
PREDICTED_IOU, KERNELS, PIXEL_TOKENS, LOGITS = "predicted_iou", "kernels", "seen_pixels", "logits"
"""Names of the graphs' inputs and outputs; `DECODER` also takes all that `IMAGE_TOKENS` gives."""

JSON_NAMES = {"image_size": "input_px", "normalization": "intensities"}
"""Fields of `ExportRecord` that have other names in its file."""


@dataclass(frozen=True)
class ExportRecord:
    """What exported networks take and give, and the hashes of their files.

    Args:
        image_size: Side of the square input, which has `channels` channels.
        channels: Channels of the input.
        normalization: How grey values are normalised for it.
        grid: Side of the image embedding, which has `width` channels.
        width: Channels of the embedding.
        masks: Masks for each prompt: one for unambiguous prompts, then those to choose from.
        half: Whether the weights are kept in 16 bits; they are computed with in 32.
        sha256: For each file of the folder its hash.
        tools: Versions of what made them.
    """

    image_size: int
    channels: int
    normalization: Normalization
    grid: int
    width: int
    mask_px: int
    masks: int
    half: bool
    sha256: Mapping[str, str]
    tools: Mapping[str, str]

    def as_json(self) -> str:
        """Return the text of the record's file."""
        record = {JSON_NAMES.get(name, name): value for name, value in asdict(self).items()}
        return json.dumps({"format": FORMAT, "version": VERSION, **record}, indent=1) + "\n"


def read_record(folder: Path) -> ExportRecord:
    """Read the record of a folder of exported networks.

    Raises:
        InputError: If it is absent, damaged, or of another format or version.
    """
    path = folder / EXPORT_FILE
    try:
        read = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise _not_a_record(path, str(error).splitlines()[0]) from error
    if not isinstance(read, dict) or read.get("format") != FORMAT:
        raise _not_a_record(path, "something else")
    if read.get("version") != VERSION:
        raise InputError(
            path,
            expected=f"version {VERSION} of the format",
            found=f"version {read.get('version')}",
            fix="Export the checkpoint again with this version of fewct.",
        )
    keys = {field.name: JSON_NAMES.get(field.name, field.name) for field in fields(ExportRecord)}
    named: dict[str, Any] = {name: read.get(key) for name, key in keys.items()}
    wrong = [name for name, value in named.items() if not _fits(name, value)]
    if wrong:
        raise _not_a_record(path, f"{keys[wrong[0]]} {json.dumps(named[wrong[0]])}")
    return ExportRecord(**named)


def _fits(name: str, value: Any) -> bool:
    if name == "half":
        return isinstance(value, bool)
    if name == "normalization":
        return value in get_args(Normalization)
    if name in ("sha256", "tools"):
        texts = isinstance(value, dict) and all(isinstance(text, str) for text in value.values())
        return texts and (name == "tools" or set(GRAPHS) <= set(value))
    return type(value) is int and value > 0


def _not_a_record(path: Path, found: str) -> InputError:
    return InputError(
        path,
        expected="the record of networks exported by fewct",
        found=found,
        fix="Name the whole folder that the export wrote, or export the checkpoint again.",
    )
