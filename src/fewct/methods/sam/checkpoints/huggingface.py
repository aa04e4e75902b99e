"""Names of SAM's weights in transformers, as the official names."""

import re
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from fewct.errors import InputError

POSITIONS = "prompt_encoder.pe_layer.positional_encoding_gaussian_matrix"
SHARED = (
    "shared_image_embedding.positional_embedding",
    "prompt_encoder.shared_embedding.positional_embedding",
)

RULES = tuple(
    (re.compile(pattern), official)
    for pattern, official in (
        (r"^vision_encoder\.patch_embed\.projection\.", "image_encoder.patch_embed.proj."),
        (r"^vision_encoder\.neck\.conv1\.", "image_encoder.neck.0."),
        (r"^vision_encoder\.neck\.layer_norm1\.", "image_encoder.neck.1."),
        (r"^vision_encoder\.neck\.conv2\.", "image_encoder.neck.2."),
        (r"^vision_encoder\.neck\.layer_norm2\.", "image_encoder.neck.3."),
        (r"^vision_encoder\.layers\.", "image_encoder.blocks."),
        (r"^vision_encoder\.", "image_encoder."),
        (r"^prompt_encoder\.mask_embed\.conv1\.", "prompt_encoder.mask_downscaling.0."),
        (r"^prompt_encoder\.mask_embed\.layer_norm1\.", "prompt_encoder.mask_downscaling.1."),
        (r"^prompt_encoder\.mask_embed\.conv2\.", "prompt_encoder.mask_downscaling.3."),
        (r"^prompt_encoder\.mask_embed\.layer_norm2\.", "prompt_encoder.mask_downscaling.4."),
        (r"^prompt_encoder\.mask_embed\.conv3\.", "prompt_encoder.mask_downscaling.6."),
        (r"^prompt_encoder\.point_embed\.", "prompt_encoder.point_embeddings."),
        (r"^mask_decoder\.upscale_conv1\.", "mask_decoder.output_upscaling.0."),
        (r"^mask_decoder\.upscale_layer_norm\.", "mask_decoder.output_upscaling.1."),
        (r"^mask_decoder\.upscale_conv2\.", "mask_decoder.output_upscaling.3."),
        (r"\.layer_norm_final_attn\.", ".norm_final_attn."),
        (r"\.layer_norm(\d)\.", r".norm\1."),
    )
)
PERCEPTRON = re.compile(
    r"^(mask_decoder\.(?:output_hypernetworks_mlps\.\d+|iou_prediction_head))\.(proj_in|layers\.\d+|proj_out)\.(.+)$"
)


def is_from_transformers(weights: Mapping[str, Tensor]) -> bool:
    """Tell whether weights have the names of transformers."""
    return any(name.startswith(("vision_encoder.", SHARED[0])) for name in weights)


def official_names(weights: Mapping[str, Tensor], path: Path) -> dict[str, Tensor]:
    """Return weights of transformers' `SamModel` under their official names.

    Args:
        weights: Tensors by name.

    Raises:
        InputError: If the positions of image and prompts, one and the same in SAM, differ.
    """
    renamed = {_official(name, weights): tensor for name, tensor in weights.items() if name not in SHARED}
    positions = [weights[name] for name in SHARED if name in weights]
    if len(positions) > 1 and not torch.equal(positions[0], positions[1]):
        raise InputError(
            path,
            expected=f"{SHARED[0]} and {SHARED[1]} to be equal",
            found="two that differ",
            fix="Get the model again: SAM has one set of positions.",
        )
    if positions:
        renamed[POSITIONS] = positions[0]
    return renamed


def _official(name: str, weights: Mapping[str, Tensor]) -> str:
    perceptron = PERCEPTRON.match(name)
    if perceptron is not None:
        head, layer, rest = perceptron.groups()
        between = len([n for n in weights if n.startswith(f"{head}.layers.") and n.endswith(".weight")])
        index = {"proj_in": 0, "proj_out": between + 1}.get(layer)
        return f"{head}.layers.{int(layer.split('.')[1]) + 1 if index is None else index}.{rest}"
    for pattern, official in RULES:
        name = pattern.sub(official, name)
    return name
