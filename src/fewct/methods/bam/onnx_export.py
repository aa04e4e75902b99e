"""Export of a trained BAM as two networks in ONNX: an encoder of slices and a decoder of queries."""

from pathlib import Path

import onnx
import torch
from torch import Tensor, nn
from torch.nn import functional

from fewct.io.atomic import atomic_path
from fewct.methods.bam.inference import (
    DECODED,
    DECODER,
    DECODER_KEY,
    ENCODED,
    ENCODER,
    SIZE_KEY,
)
from fewct.methods.bam.network import BAMNet, EncodedSlices
from fewct.methods.bam.preprocessing import N_CHANNELS
from fewct.methods.bam.recipe import BAMRecipe, load_trained
from fewct.training.onnx_export import write_graph, write_hash
from fewct.training.runs import read_recipe


class BAMEncoder(nn.Module):
    """The part of BAM that runs once a slice: its features."""

    def __init__(self, network: BAMNet) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """Return the fields of `EncodedSlices` of a slice (1, channels, size, size)."""
        return tuple(self.network.encode(x))


class BAMDecoder(nn.Module):
    """The part of BAM that compares a query with any number of supports."""

    def __init__(self, network: BAMNet) -> None:
        super().__init__()
        self.network = network

    def forward(
        self,
        query_gram: Tensor,
        query_reduced: Tensor,
        query_place: Tensor,
        query_deep: Tensor,
        query_base: Tensor,
        support_gram: Tensor,
        support_reduced: Tensor,
        support_place: Tensor,
        support_deep: Tensor,
        masks: Tensor,
    ) -> Tensor:
        """Return the probability of the structure at each pixel, (size, size).

        The arguments are the fields of `EncodedSlices` of one query and of (shots) supports, and the masks of
        the structure on these, float (shots, size, size).
        """
        query = EncodedSlices(query_gram, query_reduced, query_place, query_deep, query_base)
        supports = EncodedSlices(support_gram, support_reduced, support_place, support_deep, query_base)
        final = self.network.decode(query, supports, masks[None]).final
        full = functional.interpolate(final, size=masks.shape[-2:], mode="bilinear")
        return full.softmax(dim=1)[0, 1]


def export_network(network: BAMNet, size_px: int, folder: Path) -> Path:
    """Write a trained network and its hashes as `BAM` loads them.

    Args:
        network: What `train` returned.
        size_px: Side of the square that it was trained on.
        folder: Where `model.onnx` and `decoder.onnx` go.

    Returns:
        The first of the two.

    Raises:
        OutputError: If a file cannot be written.
    """
    network = network.eval().cpu()
    slices = torch.zeros(2, N_CHANNELS, size_px, size_px)
    with torch.no_grad():
        query, supports = network.encode(slices[:1]), network.encode(slices)
    shots = torch.export.Dim("shots", min=1)
    inputs = (*query, *supports[:-1], torch.zeros(2, size_px, size_px))
    names = [f"query_{name}" for name in ENCODED] + [f"support_{name}" for name in ENCODED[:-1]] + ["masks"]
    dynamic = [None if name.startswith("query") else {0: shots} for name in names]
    write_graph(BAMDecoder(network), inputs, tuple(dynamic), names, DECODED, folder / DECODER)
    digest = write_hash(folder / DECODER)
    write_graph(BAMEncoder(network), (slices[:1],), (None,), ["x"], ENCODED, folder / ENCODER)
    model = onnx.load(folder / ENCODER)
    onnx.helper.set_model_props(model, {SIZE_KEY: f"{size_px}", DECODER_KEY: digest})
    with atomic_path(folder / ENCODER) as temporary:
        temporary.write_bytes(model.SerializeToString())
    write_hash(folder / ENCODER)
    return folder / ENCODER


def export_folder(folder: Path) -> Path:
    """Write model.onnx and decoder.onnx of a training to its folder; see `fewct.recipes.export`."""
    recipe = read_recipe(BAMRecipe, folder)
    return export_network(load_trained(recipe, folder), recipe.size_px, folder)
