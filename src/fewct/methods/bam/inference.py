"""Masks of the supports' structures on a new slice, through ONNX Runtime: two networks, one pass each."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import onnxruntime
from jaxtyping import Float32
from numpy.typing import NDArray

from fewct.body import body_mask
from fewct.errors import InputError
from fewct.methods.bam.inputs import N_CHANNELS, Frame, frame_of, place_back, seen, seen_mask
from fewct.methods.bam.supports import Support, read_supports, supports_sha256
from fewct.runtime.session import checked_sha256, load_session
from fewct.types import CTSlice, Image

ENCODED = ("gram", "reduced", "deep", "base")
"""What the encoder gives of a slice; the decoder takes it of the query, and of all supports but `base`."""
DECODED = ("likely",)
ENCODER, DECODER = "model.onnx", "decoder.onnx"
SIZE_KEY = "fewct_bam_size_px"
"""Metadata of the encoder: side of the square that the network sees."""
DECODER_KEY = "fewct_bam_decoder_sha256"
"""Metadata of the encoder: hash of the decoder that it was trained with."""

Encoded = tuple[Float32[NDArray[np.float32], "1 ..."], ...]


@dataclass(frozen=True, eq=False)
class SeenSlice:
    """A slice as the network keeps it.

    Args:
        frame: The part of it that is seen.
        encoded: What the encoder gives, in the order of `ENCODED`.
    """

    frame: Frame
    encoded: Encoded


@dataclass(frozen=True, eq=False)
class Networks:
    """Both networks.

    Args:
        encoder: From a slice to features.
        decoder: From features of query and supports, and masks, to probabilities.
        size_px: Side of the square that the encoder sees.
    """

    encoder: onnxruntime.InferenceSession
    decoder: onnxruntime.InferenceSession
    size_px: int


def likely_structures(image: CTSlice, folder: str, structures: Sequence[int], weights: Path) -> list[Image]:
    """Return how likely each pixel lies in each of some structures.

    The supports' features are computed once a process, as long as their files stay the same.

    Args:
        image: The slice; of any size and spacing.
        folder: Of the supports, see `read_supports`.
        structures: Their ids.
        weights: Folder that `fewct train bam` wrote.

    Returns:
        For each structure float32 (rows, columns) in [0, 1], on the slice's own grid.

    Raises:
        InputError: If weights are absent, damaged or of another network, or a grey slice holds infinities.
    """
    networks = load_networks(weights)
    query = encode(image, networks)
    kept = _encoded_supports(folder, supports_sha256(folder), weights, weights_sha256(weights))
    return [decode(query, image.shape, kept, structure, networks) for structure in structures]


def encode(image: CTSlice, networks: Networks) -> SeenSlice:
    """Return what the network keeps of a slice."""
    body = body_mask(image)
    channels = seen(image, body, networks.size_px)
    encoded = networks.encoder.run(list(ENCODED), {"x": channels[None]})
    return SeenSlice(frame_of(body, networks.size_px), tuple(encoded))


def decode(
    query: SeenSlice,
    shape: tuple[int, int],
    supports: Sequence[tuple[Support, SeenSlice]],
    structure: int,
    networks: Networks,
) -> Image:
    """Return how likely each pixel of a query lies in a structure that some supports show.

    Args:
        query: The slice.
        shape: Its rows and columns.
        supports: Slices with their features; those that do not show the structure play no part.
        structure: Its id.
        networks: Both.
    """
    showing = [(one.labels == structure, kept) for one, kept in supports if (one.labels == structure).any()]
    feeds = {f"query_{name}": part for name, part in zip(ENCODED, query.encoded, strict=True)}
    for position, name in enumerate(ENCODED[:-1]):
        feeds[f"support_{name}"] = np.concatenate([kept.encoded[position] for _, kept in showing])
    masks = [seen_mask(mask, kept.frame, networks.size_px) for mask, kept in showing]
    (likely,) = networks.decoder.run(list(DECODED), feeds | {"masks": np.stack(masks)})
    return np.clip(place_back(likely, query.frame, shape), 0, 1)


@lru_cache(maxsize=2)
def _encoded_supports(
    folder: str,
    supports_hash: str,  # noqa: ARG001 (it keys the cache, as the next one does)
    weights: Path,
    weights_hash: str,  # noqa: ARG001
) -> tuple[tuple[Support, SeenSlice], ...]:
    """Encode supports once for all slices of a scan."""
    networks = load_networks(weights)
    return tuple((one, encode(one.image, networks)) for one in read_supports(folder))


def weights_sha256(weights: Path) -> str:
    """Return the hashes of encoder and decoder, joined by `+`.

    Raises:
        InputError: If a file is absent, or the hash recorded beside it is another one.
    """
    return "+".join(checked_sha256(weights / name) for name in (ENCODER, DECODER))


def load_networks(weights: Path) -> Networks:
    """Return the networks of a folder.

    Raises:
        InputError: If a file is absent, damaged or of another network, or the two were not trained together.
    """
    encoder = load_session(weights / ENCODER)
    outputs = tuple(output.name for output in encoder.get_outputs())
    content = encoder.get_modelmeta().custom_metadata_map
    if outputs != ENCODED or SIZE_KEY not in content or encoder.get_inputs()[0].shape[1] != N_CHANNELS:
        raise InputError(
            weights / ENCODER,
            expected="the encoder of BAM",
            found=f"a network that gives {', '.join(outputs)}",
            fix="Name the folder that `fewct train bam` of this version wrote.",
        )
    decoder = load_session(weights / DECODER)
    found = checked_sha256(weights / DECODER)
    if content.get(DECODER_KEY) != found:
        raise InputError(
            weights / DECODER,
            expected=f"the decoder that was trained with the backbone in {ENCODER}",
            found=f"another one, SHA-256 {found}",
            fix="Export both again from one training: fewct models export DIR.",
        )
    return Networks(encoder, decoder, int(content[SIZE_KEY]))
