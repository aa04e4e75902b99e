"""Export of SAM's networks to ONNX, to run without torch: a graph for each step of a backend."""

import errno
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from secrets import token_hex
from typing import Any

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor, nn
from torch.export import Dim

from fewct.errors import output_errors
from fewct.methods.sam.checkpoints import onnx_manifest as names
from fewct.methods.sam.checkpoints.build import checked_normalization, load_sam
from fewct.methods.sam.checkpoints.layout import EXPORT_FILE, file_sha256
from fewct.methods.sam.checkpoints.onnx_manifest import ExportRecord
from fewct.methods.sam.conventions import Normalization
from fewct.methods.sam.modeling.mask_decoder import UPSCALING
from fewct.methods.sam.modeling.sam import Sam
from fewct.methods.sam.modeling.transformer import ImageTokens
from fewct.runtime.onnx_session import DATA_SUFFIX
from fewct.training.onnx_export import write_graph

LARGEST_GRAPH = 2**31 - 2**24
"""Bytes of weights, above which they go to a file of their own: a protobuf holds 2 GB."""
SMALLEST_HALVED = 1024
"""Numbers in a tensor, below which it is not kept in 16 bits."""

MANY = Dim.DYNAMIC


def export_sam(
    checkpoint: Path,
    folder: Path,
    image_size: int | None = None,
    normalization: Normalization | None = None,
    half: bool = False,
) -> Path:
    """Write the networks of a checkpoint as ONNX.

    Args:
        checkpoint: An official file, or a folder of transformers; see `load_sam` for what it raises.
        folder: Where to write; must be new or empty.
        image_size: Side of the image encoder's input; None for what the network was made for.
        normalization: How grey values are normalised; None for that of its architecture.
        half: Whether to keep weights in 16 bits.

    Returns:
        The folder.

    Raises:
        OutputError: If the folder holds something already or cannot be written.
    """
    network = load_sam(checkpoint, image_size)
    return export_network(network, checked_normalization(network, normalization), folder, half)


def export_network(network: Sam, normalization: Normalization, folder: Path, half: bool = False) -> Path:
    """Write a network as ONNX: four graphs and the record of them, or nothing at all.

    Each weight is in one graph alone, except for the small projections of positions, which both the graph of
    the image's tokens and the decoder need.

    Args:
        normalization: How grey values are normalised for it.
        folder: Where to write; must be new or empty.
        half: Whether to keep weights in 16 bits; they are computed with in 32.

    Returns:
        The folder.

    Raises:
        OutputError: If the folder holds something already or cannot be written.
    """
    network = network.eval().cpu()
    grid, shape = network.prompt_encoder.grid, network.shape
    with _new_folder(folder) as temporary, torch.no_grad():
        for graph in graphs_of(network):
            graph.write(temporary, half)
        record = ExportRecord(
            image_size=network.image_size,
            channels=shape.encoder.channels,
            normalization=normalization,
            grid=grid,
            width=shape.decoder.width,
            mask_px=UPSCALING * grid,
            masks=shape.decoder.masks,
            half=half,
            sha256={file.name: file_sha256(file) for file in sorted(temporary.iterdir())},
            tools={name: version(name) for name in ("fewct", "torch", "onnx", "onnxscript")},
        )
        (temporary / EXPORT_FILE).write_text(record.as_json(), encoding="utf-8", newline="\n")
    return folder


class ImageEncoderGraph(nn.Module):
    """The image encoder, for one image."""

    def __init__(self, network: Sam) -> None:
        super().__init__()
        self.image_encoder = network.image_encoder

    def forward(self, pixels: Tensor) -> Tensor:
        """Return (width, grid, grid) from (channels, image_size, image_size)."""
        embedding: Tensor = self.image_encoder(pixels[None])[0]
        return embedding


class ImageTokensGraph(nn.Module):
    """What all prompts on an image share."""

    def __init__(self, network: Sam) -> None:
        super().__init__()
        self.prompt_encoder = network.prompt_encoder
        self.mask_decoder = network.mask_decoder

    def forward(self, embedding: Tensor, mask_input: Tensor, has_mask_input: Tensor) -> list[Tensor]:
        """Return the tensors of an `ImageTokens`.

        Args:
            embedding: (width, grid, grid).
            mask_input: (mask_px, mask_px): logits, which count where `has_mask_input`, bool (), is True.
            has_mask_input: bool ().
        """
        prompts = self.prompt_encoder
        maps = torch.where(has_mask_input, prompts.mask(mask_input[None, None]), prompts.mask(None))
        return _flat(self.mask_decoder.image_tokens(embedding[None], maps, prompts.positions()))


class DecoderGraph(nn.Module):
    """Predicted IoU of the masks of prompts, and their kernels."""

    def __init__(self, network: Sam) -> None:
        super().__init__()
        self.prompt_encoder = network.prompt_encoder
        self.mask_decoder = network.mask_decoder
        self.depth = network.shape.decoder.depth

    def forward(self, points_xy: Tensor, labels: Tensor, shared: list[Tensor]) -> tuple[Tensor, ...]:
        """Return `DecoderOutput` for points (prompts, points, 2), labels (prompts, points) and tokens."""
        pixels, keys, values, queries, *rest = shared
        tokens = ImageTokens(pixels, keys, values, queries, rest[: self.depth], rest[self.depth :])
        return tuple(self.mask_decoder.decode(tokens, self.prompt_encoder.points(points_xy, labels)[None]))


class MaskLogitsGraph(nn.Module):
    """The logits of masks."""

    def __init__(self, network: Sam) -> None:
        super().__init__()
        self.mask_decoder = network.mask_decoder

    def forward(self, pixels: Tensor, kernels: Tensor) -> Tensor:
        """Return (prompts, masks, mask_px, mask_px)."""
        return self.mask_decoder.mask_logits(pixels, kernels)


@dataclass(frozen=True, eq=False)
class Graph:
    """A module to write as a graph.

    Args:
        name: Of its file.
        samples: Its arguments.
        dynamic: Their axes whose length may change.
        inputs: Names of the arguments' tensors.
        outputs: Names of what it gives.
    """

    name: str
    module: nn.Module
    samples: tuple[Tensor | list[Tensor], ...]
    dynamic: tuple[object, ...]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]

    def write(self, folder: Path, half: bool) -> None:
        """Write it; weights that are too large for one file go to a second one."""
        path = folder / self.name
        size = sum(p.numel() * p.element_size() for p in self.module.parameters())
        large = size > LARGEST_GRAPH
        write_graph(self.module, self.samples, self.dynamic, self.inputs, self.outputs, path, large)
        if half:
            halve(path)


def graphs_of(network: Sam) -> Iterator[Graph]:
    """Give the graphs of a network, one after the other."""
    decoder, grid, side = network.shape.decoder, network.prompt_encoder.grid, network.image_size
    encode = ImageEncoderGraph(network).eval()
    image = (torch.zeros(network.shape.encoder.channels, side, side),)
    yield Graph(names.IMAGE_ENCODER, encode, image, ({},), (names.PIXELS,), (names.EMBEDDING,))

    to_tokens = ImageTokensGraph(network).eval()
    mask_px = UPSCALING * grid
    samples = (torch.zeros(decoder.width, grid, grid), torch.zeros(mask_px, mask_px), torch.tensor(True))
    shared = to_tokens(*samples)
    inputs: tuple[str, ...] = (names.EMBEDDING, names.MASK_INPUT, names.HAS_MASK_INPUT)
    tokens = (
        *("pixels", "keys", "values", "queries"),
        *(f"key_positions_{i}" for i in range(decoder.depth)),
        *(f"query_positions_{i}" for i in range(decoder.depth - 1)),
    )
    yield Graph(names.IMAGE_TOKENS, to_tokens, samples, ({}, {}, {}), inputs, tokens)

    decode = DecoderGraph(network).eval()
    prompts = (torch.zeros(3, 2, 2), torch.ones(3, 2, dtype=torch.int64), shared)
    dynamic: tuple[Any, ...] = ({0: MANY, 1: MANY}, {0: MANY, 1: MANY}, [{}] * len(shared))
    inputs, outputs = (names.POINT_COORDS, names.POINT_LABELS), (names.PREDICTED_IOU, names.KERNELS)
    yield Graph(names.DECODER, decode, prompts, dynamic, (*inputs, *tokens), (*outputs, names.PIXEL_TOKENS))

    _, kernels, pixels = decode(*prompts)
    masks, dynamic = (pixels, kernels[:, 1:].contiguous()), ({0: MANY}, {0: MANY, 1: MANY})
    inputs = (names.PIXEL_TOKENS, names.KERNELS)
    yield Graph(names.MASK_LOGITS, MaskLogitsGraph(network).eval(), masks, dynamic, inputs, (names.LOGITS,))


def _flat(tokens: ImageTokens) -> list[Tensor]:
    shared = [tokens.pixels, tokens.keys, tokens.values, tokens.queries]
    return [*shared, *tokens.key_positions, *tokens.query_positions]


def halve(path: Path) -> None:
    """Keep the large weights of a graph in 16 bits, each with a step that brings it back to 32."""
    model = onnx.load(path)
    steps = []
    for weights in model.graph.initializer:
        values = numpy_helper.to_array(weights)
        fits = values.size >= SMALLEST_HALVED and values.dtype == np.float32
        if fits and np.abs(values).max() <= np.finfo(np.float16).max:
            kept = numpy_helper.from_array(values.astype(np.float16), f"{weights.name}_half")
            steps.append(helper.make_node("Cast", [kept.name], [weights.name], to=TensorProto.FLOAT))
            weights.CopyFrom(kept)
    nodes = [*steps, *model.graph.node]
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    path.with_name(path.name + DATA_SUFFIX).unlink(missing_ok=True)
    onnx.save(model, path)


@contextmanager
def _new_folder(folder: Path) -> Iterator[Path]:
    """Yield a temporary folder beside `folder`, and give it that name once the block has ended well."""
    temporary = folder.with_name(f".{token_hex(8)}")
    fix = "Name another folder, whose parent exists."
    try:
        with output_errors(folder, expected="a new or an empty folder that can be written", fix=fix):
            if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
                raise FileExistsError(errno.ENOTEMPTY, os.strerror(errno.ENOTEMPTY), str(folder))
            temporary.mkdir()
            yield temporary
            for file in temporary.iterdir():
                with file.open("rb+") as stream:
                    os.fsync(stream.fileno())
            if folder.is_dir():
                folder.rmdir()
            temporary.rename(folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
