"""SAM checkpoints: the architecture, inferred from the shapes in a file, and the network with its weights.

Reads the official `.pth` files of SAM, MedSAM (https://doi.org/10.1038/s41467-024-44824-z), MobileSAM and
LiteMedSAM, and folders of transformers (`facebook/sam-vit-base`, `wanglab/medsam-vit-base`).
"""

import re
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from fewct.errors import InputError, UsageError
from fewct.methods.sam.checkpoints.huggingface import is_from_transformers, official_names
from fewct.methods.sam.checkpoints.layout import read_configuration
from fewct.methods.sam.checkpoints.read import read_weights
from fewct.methods.sam.conventions import Normalization
from fewct.methods.sam.modeling.image_encoder import ViTShape, fit_positions
from fewct.methods.sam.modeling.mask_decoder import DecoderShape
from fewct.methods.sam.modeling.sam import Sam, SamShape
from fewct.methods.sam.modeling.small_encoder import DECODER_HEADS, SmallShape
from fewct.methods.sam.modeling.tiny_vit import TinyViTShape
from fewct.methods.sam.modeling.transformer import NARROWING

ENCODER, DECODER, LAYERS = "image_encoder.", "mask_decoder.", "mask_decoder.transformer.layers"
SMALL = ENCODER + "down.0.0.weight"  # by which the image encoder of prompt-small is known


def load_sam(path: Path, image_size: int | None = None) -> Sam:
    """Return the network of a checkpoint, ready for use.

    Args:
        path: An official file, or a folder of transformers.
        image_size: Side of the images that it is to take: 256, 512 or 1024; None for what it was made for.

    Returns:
        The network, not in training.

    Raises:
        InputError: If the file is absent, damaged, wants to run code, or fits no network that fewct knows.
        UsageError: If the image encoder's stride does not divide `image_size`.
        MissingExtraError: If it is a file of safetensors, and that package is not installed.
    """
    weights = read_weights(path)
    heads = DECODER_HEADS if SMALL in weights else DecoderShape.heads
    if path.is_dir():
        heads = read_configuration(path).get("mask_decoder_config", {}).get("num_attention_heads", heads)
    if is_from_transformers(weights):
        weights = official_names(weights, path)
    shape = shape_of(weights, path, heads)
    with torch.device("meta"):
        network = Sam(shape, image_size)
    if isinstance(shape.encoder, ViTShape):
        encoder = {n.removeprefix(ENCODER): t for n, t in weights.items() if n.startswith(ENCODER)}
        fitted = fit_positions(encoder, shape.encoder, network.image_size)
        weights |= {ENCODER + name: tensor for name, tensor in fitted.items()}
    try:
        network.load_state_dict(weights, strict=True, assign=True)
    except RuntimeError as error:
        raise _fits_nothing(path, weights, str(error).splitlines()[1].strip()) from error
    return network.eval()


def shape_of(weights: Mapping[str, Tensor], path: Path, heads: int = DecoderShape.heads) -> SamShape:
    """Tell from the shapes of weights which network they are for.

    Args:
        weights: Tensors by official name.
        heads: Attention heads of the mask decoder, which no shape reveals.

    Raises:
        InputError: If they are for none that fewct knows; the message lists what they are.
    """
    try:
        encoder = _encoder_shape(weights)
        tokens = weights[DECODER + "mask_tokens.weight"]
        head = DECODER + "iou_prediction_head.layers"
        decoder = DecoderShape(
            width=tokens.shape[1],
            heads=heads,
            hidden=len(weights[f"{LAYERS}.0.mlp.lin1.weight"]),
            depth=_count(weights, LAYERS),
            masks=len(tokens),
            score_hidden=len(weights[f"{head}.0.weight"]),
            score_depth=_count(weights, head),
        )
        mask_channels = len(weights["prompt_encoder.mask_downscaling.3.weight"])
    except KeyError as error:
        raise _fits_nothing(path, weights, f"no {error.args[0]}") from error
    except (IndexError, TypeError, ZeroDivisionError) as error:  # of tensors with too few dimensions
        raise _fits_nothing(path, weights, str(error)) from error
    if heads < 1 or decoder.width % (NARROWING * heads):
        raise _fits_nothing(path, weights, f"{heads} attention heads for {decoder.width} channels")
    return SamShape(encoder, decoder, mask_channels)


def _encoder_shape(weights: Mapping[str, Tensor]) -> ViTShape | TinyViTShape | SmallShape:
    if ENCODER + "pos_embed" in weights:
        return _vit(weights)
    return _small(weights) if SMALL in weights else _tiny_vit(weights)


def _small(weights: Mapping[str, Tensor]) -> SmallShape:
    levels = range(_count(weights, ENCODER + "down"))
    return SmallShape(
        widths=tuple(len(weights[f"{ENCODER}down.{level}.0.weight"]) for level in levels),
        outputs=len(weights[ENCODER + "neck.0.weight"]),
    )


def _vit(weights: Mapping[str, Tensor]) -> ViTShape:
    positions = weights[ENCODER + "pos_embed"]
    side, width = positions.shape[1], positions.shape[3]
    tables = [
        weights[f"{ENCODER}blocks.{i}.attn.rel_pos_h"] for i in range(_count(weights, ENCODER + "blocks"))
    ]
    windows = tuple((len(table) + 1) // 2 for table in tables)
    return ViTShape(
        width=width,
        heads=width // tables[0].shape[1],
        windows=tuple(0 if window == side else window for window in windows),
        hidden=len(weights[ENCODER + "blocks.0.mlp.lin1.weight"]),
        outputs=len(weights[ENCODER + "neck.0.weight"]),
        patch_px=weights[ENCODER + "patch_embed.proj.weight"].shape[-1],
        grid=side,
    )


def _tiny_vit(weights: Mapping[str, Tensor]) -> TinyViTShape:
    stem = weights[ENCODER + "patch_embed.seq.0.c.weight"]
    stages = [f"{ENCODER}layers.{i}" for i in range(_count(weights, ENCODER + "layers"))]
    first = len(weights[f"{stages[0]}.blocks.0.conv3.c.weight"])
    biases = [weights[f"{stage}.blocks.0.attn.attention_biases"] for stage in stages[1:]]
    merged = [len(weights[f"{stage}.downsample.conv3.c.weight"]) for stage in stages[:-1]]
    head = weights.get(ENCODER + "head.weight")
    return TinyViTShape(
        widths=(first, *merged),
        depths=tuple(_count(weights, f"{stage}.blocks") for stage in stages),
        heads=(TinyViTShape.heads[0], *(len(bias) for bias in biases)),
        windows=(TinyViTShape.windows[0], *(round(bias.shape[1] ** 0.5) for bias in biases)),
        stem_stride=(stem.shape[-1] + 1) // 2,
        classes=0 if head is None else len(head),
        outputs=len(weights[ENCODER + "neck.0.weight"]),
    )


def _count(weights: Mapping[str, Tensor], prefix: str) -> int:
    """Return how many numbered parts there are: `prefix.0`, `prefix.1`, and so on."""
    numbers = (re.match(re.escape(prefix) + r"\.(\d+)\.", name) for name in weights)
    return max((int(found[1]) + 1 for found in numbers if found), default=0)


def _fits_nothing(path: Path, weights: Mapping[str, Tensor], reason: str) -> InputError:
    parts = Counter(name.split(".")[0] for name in weights)
    listed = ", ".join(f"{part} ({count})" for part, count in parts.most_common(6))
    example, tensor = next(iter(weights.items()))
    first = f"the first {example} {tuple(tensor.shape)}"
    return InputError(
        path,
        expected="the weights of SAM, MedSAM, MobileSAM or LiteMedSAM",
        found=f"{len(weights)} tensors in {listed}, {first}; {reason}",
        fix="Use an official checkpoint, or one trained from it with all of its parts.",
    )


def default_normalization(network: Sam) -> Normalization:
    """Return the normalization that networks of this architecture are trained with."""
    encoder = network.shape.encoder
    if isinstance(encoder, SmallShape):
        return "ranks"
    lite = isinstance(encoder, TinyViTShape) and encoder.stem_stride == 1
    return "medsam" if lite else "sam"


def checked_normalization(network: Sam, normalization: Normalization | None) -> Normalization:
    """Return a network's normalization: the one given, or that of its architecture.

    Raises:
        UsageError: If its image encoder takes another number of channels than the normalization have.
    """
    usual = default_normalization(network)
    if "ranks" in (usual, normalization) and (normalization or usual) != usual:
        raise UsageError(
            "normalization",
            expected=f"{usual}, which the image encoder was trained on",
            found=f"{normalization}",
            fix="Leave it out: auto goes by the kind of network.",
        )
    return normalization or usual
