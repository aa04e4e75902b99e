"""Boundary, foreground and affinity maps from the trained network, through ONNX Runtime."""

from pathlib import Path
from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from fewct.errors import InputError
from fewct.imaging.resample import resize
from fewct.methods.mosaic.gradient_maps import approximate_hu, boundary_map, pixel_size_mm, solid_bone
from fewct.methods.mosaic.maps import SPACING_PX, Affinities, Maps
from fewct.methods.mosaic.preprocessing import N_PLAIN_CHANNELS, Neighbour, preprocess
from fewct.runtime.model_store import onnx_file
from fewct.runtime.onnx_session import Network, load_network, n_channels, run_image_network
from fewct.types import CTSlice, Image, Mask

WEIGHTS = Path(__file__).parent / "weights" / "mosaic.onnx"
OUTPUTS = ("boundary", "structure", "affinity")  # and further ones, which a slice alone does not need
WORKING_SIZE = 512  # longest side of a slice, at which the network was trained
NATIVE_SIZES = (400, 640)  # slices with their longest side in between are taken as they are
STRIDE = 64  # sides of the network's input are multiples of this
FOLDED_STRIDE = 32  # of networks that see no neighbours
MARGIN_PX = 16  # around the body, at working size
BORDER_IN_BONE = 0.3  # what a border between a bone's shell and its marrow counts
GRADIENT_SHARE = 0.2  # of the boundary map: gradients tell to a pixel where a border lies


def load_maps_network(weights: str) -> Network:
    """Open a network of `mosaic`.

    Args:
        weights: As `Mosaic.weights`; empty for the one that comes with fewct.

    Raises:
        InputError: If the weights are absent, damaged or of another network.
    """
    network = load_network(onnx_file(weights) if weights else WEIGHTS)
    if network.outputs[: len(OUTPUTS)] != OUTPUTS:
        raise InputError(
            network.path,
            expected="the weights of a network for mosaic",
            found=f"a network that gives {', '.join(network.outputs)}",
            fix="Name the folder that `fewct train mosaic` of this version wrote.",
        )
    return network


def network_maps(
    image: CTSlice,
    body: Mask,
    network: Network,
    above: Neighbour | None = None,
    below: Neighbour | None = None,
) -> Maps:
    """Return the maps that the merge tree is built from: the network's, sharpened by gradients.

    The network runs on the body's box at about 512 pixels a side; the maps come back on the slice's own grid,
    0 outside the body. What is as dense as bone is foreground whatever the network says, and marrow no region
    of its own.

    Args:
        image: Slice; NaN marks padding.
        body: bool (rows, columns): the patient, not empty.
        network: From `load_maps_network`.
        above: The slice's neighbour towards the head; networks that see no neighbours do without.
        below: Its neighbour towards the feet.
    """
    count = n_channels(network.session)
    channels = preprocess(image, body, above, below)[:count]
    stride = FOLDED_STRIDE if count == N_PLAIN_CHANNELS else STRIDE
    factor = working_factor(image.shape)
    box = _padded_box(body, round(MARGIN_PX / factor))
    outputs = run_image_network(network.session, _fit(channels[:, *box], factor, stride))
    boundary, foreground, affinities = outputs[: len(OUTPUTS)]
    shape = (box[0].stop - box[0].start, box[1].stop - box[1].start)
    boundary, foreground = (_restore(values, factor, shape) for values in (boundary, foreground))
    maps = _with_densities(Maps(boundary, foreground), approximate_hu(image, body)[box], pixel_size_mm(image))
    return Maps(
        _place(maps.boundary, box, body),
        _place(maps.foreground, box, body),
        _place_affinities(affinities, factor, box),
    )


def working_factor(shape: tuple[int, int]) -> float:
    """Return the scale from a slice to the network's input."""
    longest = max(shape)
    return 1.0 if NATIVE_SIZES[0] <= longest <= NATIVE_SIZES[1] else WORKING_SIZE / longest


def _padded_box(body: Mask, margin: int) -> tuple[slice, slice]:
    """Return the rows and columns of the body, with a margin where the slice has room."""
    spans = []
    for axis, side in ((1, body.shape[0]), (0, body.shape[1])):
        taken = np.flatnonzero(body.any(axis=axis))
        spans.append(slice(max(0, int(taken[0]) - margin), min(side, int(taken[-1]) + 1 + margin)))
    return spans[0], spans[1]


def _fit(channels: NDArray[np.float32], factor: float, stride: int) -> NDArray[np.float32]:
    """Scale channels to working size and pad them at their ends to multiples of a stride."""
    if factor != 1.0:
        sides = [max(1, round(side * factor)) for side in channels.shape[1:]]
        channels = np.stack([resize(channel, sides) for channel in channels])
    padding = [(0, 0), *((0, -side % stride) for side in channels.shape[1:])]
    return np.ascontiguousarray(np.pad(channels, padding, mode="edge"))


def _restore(values: Image, factor: float, shape: tuple[int, int]) -> Image:
    """Cut the padding off and scale back to the slice's own grid."""
    if factor == 1.0:
        return values[: shape[0], : shape[1]]
    rows, columns = (max(1, round(side * factor)) for side in shape)
    return resize(values[:rows, :columns], shape)


def _with_densities(maps: Maps, hu: Image, pixel_mm: float) -> Maps:
    """Return the maps with bone as foreground, weaker borders inside of it, and a share of gradients."""
    bone = solid_bone(hu, np.ones(hu.shape, dtype=np.bool_), pixel_mm)
    marrow = ndimage.binary_erosion(bone)
    boundary = np.where(marrow, np.float32(BORDER_IN_BONE) * maps.boundary, maps.boundary)
    boundary += np.float32(GRADIENT_SHARE) * (boundary_map(hu, bone, pixel_mm) - boundary)
    return Maps(boundary, np.where(bone, np.float32(1), maps.foreground))


def _place_affinities(
    values: Annotated[NDArray[np.float32], "steps rows columns"], factor: float, box: tuple[slice, slice]
) -> Affinities:
    """Return affinities with the places of their pixels on the slice, without those in the padding."""
    grids = []
    for span, count in zip(box, values.shape[1:], strict=True):
        offsets = np.floor((SPACING_PX * np.arange(count) + 0.5) / factor).astype(np.int64)
        grids.append(span.start + offsets[offsets < span.stop - span.start])
    rows, columns = grids
    return Affinities(values[:, : rows.size, : columns.size], rows, columns)


def _place(values: Image, box: tuple[slice, slice], body: Mask) -> Image:
    full = np.zeros(body.shape, dtype=np.float32)
    full[box] = values
    return np.where(body, full, np.float32(0))
