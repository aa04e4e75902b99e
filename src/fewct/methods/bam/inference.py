"""BAM at work: probability maps of the supports' structures on a slice, through two ONNX networks."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
from numpy.typing import NDArray

from fewct.errors import InputError
from fewct.imaging.body import body_mask
from fewct.methods.bam.method import (
    BAM,
    assign_pixels,
    assign_regions,
    named_labels,
    overlay_named,
    scores_by_id,
)
from fewct.methods.bam.preprocessing import (
    N_CHANNELS,
    Frame,
    frame_of,
    network_square,
    restore,
    square_labels,
    square_mask,
)
from fewct.methods.bam.region_matching import (
    match_regions,
    match_scores,
    mean_in_regions,
    merge_regions,
    region_features,
    support_features,
)
from fewct.methods.bam.supports import Support, read_supports, support_ids, supports_sha256
from fewct.methods.mosaic import Mosaic
from fewct.methods.mosaic.inference import MosaicSegmenter
from fewct.result import SliceSegmentation
from fewct.runtime.onnx_session import Network, load_network
from fewct.types import CTSlice, Image, Labels, Mask

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
class EncodedSlice:
    """A slice as the encoder gives it.

    Args:
        frame: The part of the slice that the network input holds.
        encoded: The encoder's outputs, in the order of `ENCODED`.
    """

    frame: Frame
    encoded: Encoded

    @property
    def deep_and_place(self) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Deep features (channels, rows, columns), and x and y in the patient's box on a finer grid."""
        return self.encoded[ENCODED.index("deep")][0], self.encoded[ENCODED.index("place")][0]


Supports = tuple[tuple[Support, EncodedSlice], ...]


@dataclass(frozen=True, eq=False)
class SupportMasks:
    """The supports that show one structure.

    Args:
        supports: The slices.
        masks: float32 (supports, size, size) in [0, 1]: the structure.
    """

    supports: list[EncodedSlice]
    masks: Annotated[NDArray[np.float32], "supports size size"]


@dataclass(frozen=True, eq=False)
class Networks:
    """Encoder and decoder that were trained together.

    Args:
        encoder: From a slice to features.
        decoder: From features of query and supports, and masks, to probabilities.
    """

    encoder: Network
    decoder: Network

    @property
    def size_px(self) -> int:
        """Side of the encoder's square input."""
        return int(self.encoder.metadata[SIZE_KEY])


@dataclass(frozen=True, eq=False)
class BAMSegmenter:
    """BAM with its networks open and its supports encoded.

    Args:
        method: The settings.
        networks: Encoder and decoder.
        structures: The supports of each wanted structure, by its id.
        largest_id: Of all structures that supports show.
        supports_sha256: Hash of the supports' files.
        mosaic: Finds regions and fills the rest; None where that is not asked for.
    """

    method: BAM
    networks: Networks
    structures: dict[int, SupportMasks]
    largest_id: int
    supports_sha256: str
    mosaic: MosaicSegmenter | None

    @classmethod
    def of(cls, method: BAM) -> "BAMSegmenter":
        """Open what some settings name; see `BAM.load`."""
        supports = read_supports(method.support)
        ids, largest_id = support_ids(supports, method.structures), support_ids(supports)[-1]
        networks = load_networks(Path(method.weights) if method.weights else WEIGHTS)
        encoded = tuple((one, encode(one.image, body_mask(one.image), networks)) for one in supports)
        structures = {k: masks_of(encoded, k, networks.size_px) for k in ids}
        mosaic = Mosaic().load() if method.uses_mosaic else None
        return cls(method, networks, structures, largest_id, supports_sha256(method.support), mosaic)

    @property
    def weights_sha256(self) -> str:
        """Hashes of the networks, the supports, and the network of `mosaic`, joined by `+`."""
        parts = [self.networks.encoder.sha256, self.networks.decoder.sha256, self.supports_sha256]
        return "+".join(parts if self.mosaic is None else [*parts, f"{self.mosaic.weights_sha256}"])

    def segment(self, image: CTSlice) -> SliceSegmentation:
        """Find the supports' structures on one slice.

        Raises:
            InputError: If a grey slice holds infinities.
        """
        method, body = self.method, body_mask(image)
        unnamed = None if self.mosaic is None else self.mosaic.segment(image, body)
        ids = list(self.structures)
        if unnamed is None or method.outlines_from == "pixels":
            assignment = assign_pixels(self.probability_maps(image, body), method.threshold)
        else:
            assignment = assign_regions(unnamed.labels, self.matched_regions(image, body, unnamed.labels))
        labels, scores = named_labels(assignment, ids, image, method.cleanup, body)
        scores = scores_by_id(labels, scores, self.largest_id)
        named = SliceSegmentation(labels, scores, n_fixed_ids=self.largest_id)
        return named if unnamed is None or method.fill_with == "none" else overlay_named(named, unnamed)

    def probability_maps(self, image: CTSlice, body: Mask) -> list[Image]:
        """Return the probability map of each structure, float32 (rows, columns), on the slice's grid."""
        query = encode(image, body, self.networks)
        maps = (decode(query, masks, self.networks) for masks in self.structures.values())
        return [np.clip(restore(probability, query.frame, image.shape), 0, 1) for probability in maps]

    def matched_regions(self, image: CTSlice, body: Mask, regions: Labels) -> list[dict[int, float]]:
        """Return the regions that each structure consists of; no region is shared.

        Returns:
            For each structure its mean probability in each of its regions, by the region's id.
        """
        query = encode(image, body, self.networks)
        square = square_labels(regions, query.frame, self.networks.size_px)
        features = region_features(square, *query.deep_and_place)
        means, scores = [], []
        for masks in self.structures.values():
            probability = np.clip(decode(query, masks, self.networks), 0, 1)
            deeps, places = zip(*(support.deep_and_place for support in masks.supports), strict=True)
            means.append(mean_in_regions(square, probability))
            wanted = support_features(np.stack(deeps), np.stack(places), masks.masks)
            scores.append(match_scores(features, means[-1], wanted))
        owners = merge_regions(match_regions(np.stack(scores), self.method.min_match), np.stack(means))
        return [
            dict(zip(features.ids[owners == k].tolist(), mean[owners == k].tolist(), strict=True))
            for k, mean in enumerate(means)
        ]


def encode(image: CTSlice, body: Mask, networks: Networks) -> EncodedSlice:
    """Return the encoder's features of a slice."""
    channels = network_square(image, body, networks.size_px)
    encoded = networks.encoder.session.run(list(ENCODED), {"x": channels[None]})
    return EncodedSlice(frame_of(body, networks.size_px), tuple(encoded))


def masks_of(supports: Supports, structure: int, size_px: int) -> SupportMasks:
    """Return the supports that show a structure within their body, with its masks.

    Raises:
        InputError: If none does.
    """
    showing, masks = [], []
    for one, encoded in supports:
        mask = square_mask(one.labels == structure, encoded.frame, size_px)
        if mask.any():
            showing.append(encoded)
            masks.append(mask)
    if not masks:
        raise InputError(
            "support",
            expected=f"a slice that shows structure {structure} on the patient",
            found="it outside of the patient alone",
            fix="Check that the label maps belong to these images.",
        )
    return SupportMasks(showing, np.stack(masks))


def decode(query: EncodedSlice, structure: SupportMasks, networks: Networks) -> Image:
    """Return the probability map of a structure on the network's square, float32 (size, size)."""
    feeds = {f"query_{name}": part for name, part in zip(ENCODED, query.encoded, strict=True)}
    for position, name in enumerate(ENCODED[:-1]):
        feeds[f"support_{name}"] = np.concatenate([one.encoded[position] for one in structure.supports])
    (probability,) = networks.decoder.session.run(list(DECODED), feeds | {"masks": structure.masks})
    return np.asarray(probability, dtype=np.float32)


def load_networks(weights: Path) -> Networks:
    """Open the networks of a folder.

    Raises:
        InputError: If a file is absent, damaged or of another network, or the two were not trained together.
    """
    encoder = load_network(weights / ENCODER)
    channels = encoder.session.get_inputs()[0].shape[1]
    if encoder.outputs != ENCODED or SIZE_KEY not in encoder.metadata or channels != N_CHANNELS:
        raise InputError(
            encoder.path,
            expected="the encoder of BAM",
            found=f"a network that gives {', '.join(encoder.outputs)}",
            fix="Name the folder that `fewct train bam` of this version wrote.",
        )
    decoder = load_network(weights / DECODER)
    if encoder.metadata.get(DECODER_KEY) != decoder.sha256:
        raise InputError(
            decoder.path,
            expected=f"the decoder that was trained with the backbone in {ENCODER}",
            found=f"another one, SHA-256 {decoder.sha256}",
            fix="Export both again from one training: fewct models export DIR.",
        )
    return Networks(encoder, decoder)
