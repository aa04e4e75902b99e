"""Masks of the supports' structures on a new slice, through ONNX Runtime: two networks, one pass each."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Annotated

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from fewct.errors import InputError
from fewct.imaging.body import body_mask
from fewct.methods.bam.preprocessing import (
    N_CHANNELS,
    Frame,
    frame_of,
    place_back,
    seen,
    seen_labels,
    seen_mask,
)
from fewct.methods.bam.region_matching import assign, candidates, fits, join, likely_in, shown
from fewct.methods.bam.supports import Support, read_supports, supports_sha256
from fewct.runtime.onnx_session import checked_sha256, load_session
from fewct.types import CTSlice, Image, Labels

ENCODED = ("gram", "reduced", "place", "deep", "base")
"""What the encoder gives of a slice; the decoder takes it of the query, and of all supports but `base`."""
DECODED = ("likely",)
ENCODER, DECODER = "model.onnx", "decoder.onnx"
WEIGHTS = Path(__file__).parent / "weights"
"""Folder of the networks that come with fewct."""
SIZE_KEY = "fewct_bam_size_px"
"""Metadata of the encoder: side of the square that the network sees."""
DECODER_KEY = "fewct_bam_decoder_sha256"
"""Metadata of the encoder: hash of the decoder that it was trained with."""

Encoded = tuple[Annotated[NDArray[np.float32], "1 ..."], ...]


@dataclass(frozen=True, eq=False)
class SeenSlice:
    """A slice as the network keeps it.

    Args:
        frame: The part of it that is seen.
        encoded: What the encoder gives, in the order of `ENCODED`.
    """

    frame: Frame
    encoded: Encoded

    @property
    def deep_and_place(self) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Deep features (channels, rows, columns), and x and y in the patient's box on a finer grid."""
        return self.encoded[ENCODED.index("deep")][0], self.encoded[ENCODED.index("place")][0]


Supports = tuple[tuple[Support, SeenSlice], ...]


@dataclass(frozen=True, eq=False)
class Showing:
    """What supports show of one structure.

    Args:
        supports: Those that show it.
        masks: float32 (supports, size, size) in [0, 1]: the structure.
    """

    supports: list[SeenSlice]
    masks: Annotated[NDArray[np.float32], "supports size size"]


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
    networks, query, kept = _encoded(image, folder, weights)
    maps = (decode(query, showing(kept, structure, networks), networks) for structure in structures)
    return [np.clip(place_back(likely, query.frame, image.shape), 0, 1) for likely in maps]


def fitting_regions(
    image: CTSlice, folder: str, structures: Sequence[int], weights: Path, regions: Labels, least_fit: float
) -> list[dict[int, float]]:
    """Return for each of some structures the regions that it consists of, no region being two structures'.

    Args:
        image: The slice; of any size and spacing.
        folder: Of the supports, see `read_supports`.
        structures: Their ids.
        weights: Folder that `fewct train bam` wrote.
        regions: int32 (rows, columns): regions of the slice, 0 for the rest.
        least_fit: See `fits`; a structure of which no region fits so well is not found.

    Returns:
        For each structure the mean probability in each of its regions, by the region's id.

    Raises:
        InputError: As for `likely_structures`.
    """
    networks, query, kept = _encoded(image, folder, weights)
    squared = seen_labels(regions, query.frame, networks.size_px)
    known = candidates(squared, *query.deep_and_place)
    likelies, values = [], []
    for structure in structures:
        seen_in = showing(kept, structure, networks)
        likely = np.clip(decode(query, seen_in, networks), 0, 1)
        deeps, places = zip(*(support.deep_and_place for support in seen_in.supports), strict=True)
        likelies.append(likely_in(squared, likely))
        values.append(fits(known, likelies[-1], shown(np.stack(deeps), np.stack(places), seen_in.masks)))
    owners = join(assign(np.stack(values), least_fit), np.stack(likelies))
    return [
        dict(zip(known.ids[owners == k].tolist(), likely[owners == k].tolist(), strict=True))
        for k, likely in enumerate(likelies)
    ]


def encode(image: CTSlice, networks: Networks) -> SeenSlice:
    """Return what the network keeps of a slice."""
    body = body_mask(image)
    channels = seen(image, body, networks.size_px)
    encoded = networks.encoder.run(list(ENCODED), {"x": channels[None]})
    return SeenSlice(frame_of(body, networks.size_px), tuple(encoded))


def showing(supports: Supports, structure: int, networks: Networks) -> Showing:
    """Return the supports that show a structure, with its masks; the others play no part.

    Raises:
        InputError: If the network sees it on none of them.
    """
    kept, masks = [], []
    for one, seen_slice in supports:
        mask = seen_mask(one.labels == structure, seen_slice.frame, networks.size_px)
        if mask.any():
            kept.append(seen_slice)
            masks.append(mask)
    if not masks:
        raise InputError(
            "support",
            expected=f"a slice that shows structure {structure} on the patient",
            found="it outside of the patient alone",
            fix="Check that the label maps belong to these images.",
        )
    return Showing(kept, np.stack(masks))


def decode(query: SeenSlice, shows: Showing, networks: Networks) -> Image:
    """Return how likely each place of a query lies in a structure, float32 (size, size).

    Args:
        query: The slice.
        shows: What the supports show of the structure.
        networks: Both.
    """
    feeds = {f"query_{name}": part for name, part in zip(ENCODED, query.encoded, strict=True)}
    for position, name in enumerate(ENCODED[:-1]):
        feeds[f"support_{name}"] = np.concatenate([kept.encoded[position] for kept in shows.supports])
    (likely,) = networks.decoder.run(list(DECODED), feeds | {"masks": shows.masks})
    return np.asarray(likely, dtype=np.float32)


def _encoded(image: CTSlice, folder: str, weights: Path) -> tuple[Networks, SeenSlice, Supports]:
    """Return the networks, and what they keep of a slice and of the supports."""
    networks = load_networks(weights)
    supports = _encoded_supports(folder, supports_sha256(folder), weights, weights_sha256(weights))
    return networks, encode(image, networks), supports


@lru_cache(maxsize=2)
def _encoded_supports(
    folder: str,
    supports_hash: str,  # noqa: ARG001 (it keys the cache, as the next one does)
    weights: Path,
    weights_hash: str,  # noqa: ARG001
) -> Supports:
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
