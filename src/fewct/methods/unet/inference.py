"""The structure map from a trained U-Net, through ONNX Runtime."""

from pathlib import Path

import numpy as np

from fewct.errors import InputError
from fewct.imaging.body import body_mask
from fewct.imaging.resample import resize
from fewct.methods.unet.preprocessing import STRIDE, network_input, pad, working_shape
from fewct.runtime.onnx_session import load_session, run_image_network
from fewct.types import CTSlice, Image

OUTPUTS = ("foreground",)
SIZE_KEY = "fewct_unet_size_px"
"""Metadata of the ONNX file: the longest side of a slice, at which the network was trained."""


def structure_map(image: CTSlice, weights: Path) -> Image:
    """Return how likely each pixel lies in a structure.

    Args:
        image: Slice; it is scaled to the size that the network was trained at.
        weights: An exported U-Net.

    Returns:
        float32 (rows, columns) in [0, 1], on the slice's own grid.

    Raises:
        InputError: If the weights are absent, damaged or of another network, or a grey slice holds
            infinities.
    """
    session = load_session(weights)
    size_px = session.get_modelmeta().custom_metadata_map.get(SIZE_KEY)
    outputs = tuple(output.name for output in session.get_outputs())
    if size_px is None or outputs != OUTPUTS:
        raise InputError(
            weights,
            expected="the weights of a U-Net",
            found=f"a network that gives {', '.join(outputs)}",
            fix="Name the folder that `fewct train unet` wrote.",
        )
    shape = working_shape(image.shape, int(size_px))
    seen = resize(network_input(image, body_mask(image)), shape)
    padded = pad(seen, [side + -side % STRIDE for side in shape], -1)
    (likely,) = run_image_network(session, np.ascontiguousarray(padded[None], dtype=np.float32))
    return np.clip(resize(likely[: shape[0], : shape[1]], image.shape), 0, 1)
