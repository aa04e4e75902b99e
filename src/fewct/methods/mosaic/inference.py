"""`mosaic` at work: maps of a slice, its merge tree, and the cut."""

from dataclasses import dataclass, replace

import numpy as np

from fewct.imaging.agglomeration import merge_tree
from fewct.imaging.body import body_mask
from fewct.imaging.merge_tree import oversegment
from fewct.imaging.region_tree import RegionTree
from fewct.methods.mosaic.gradient_maps import gradient_maps, pixel_size_mm
from fewct.methods.mosaic.maps import Maps, region_pairs
from fewct.methods.mosaic.method import Mosaic
from fewct.methods.mosaic.network_maps import load_maps_network, network_maps
from fewct.methods.mosaic.preprocessing import Neighbour
from fewct.result import SliceSegmentation
from fewct.runtime.onnx_session import Network
from fewct.types import CTSlice, Mask, MergeTree


@dataclass(frozen=True, eq=False)
class MosaicSegmenter:
    """`mosaic` with its network open; slices may be segmented by several threads.

    Args:
        method: The settings.
        network: The network; None where gradients take its place.
    """

    method: Mosaic
    network: Network | None

    @classmethod
    def of(cls, method: Mosaic) -> "MosaicSegmenter":
        """Open the network of some settings; see `Mosaic.load`."""
        if method.boundary_source == "gradients":
            return cls(method, None)
        return cls(method, load_maps_network(method.weights))

    @property
    def weights_sha256(self) -> str | None:
        """Hash of the network's file; None where gradients take its place."""
        return None if self.network is None else self.network.sha256

    def segment(
        self,
        image: CTSlice,
        body: Mask | None = None,
        above: Neighbour | None = None,
        below: Neighbour | None = None,
    ) -> SliceSegmentation:
        """Segment one slice; the result can be cut at other levels.

        Args:
            image: The slice.
            body: bool (rows, columns): the patient, as `body_mask` finds it; None to find it.
            above: The slice's neighbour towards the head, for a network that sees neighbours.
            below: Its neighbour towards the feet.
        """
        body = body_mask(image) if body is None else body
        maps = self.maps_of(image, body, above, below)
        tree = tree_of(self.method, image, maps)
        regions = RegionTree(
            tree, image, body, maps.foreground, self.method.min_foreground, self.method.cleanup
        )
        cut = regions.cut(self.method.level)
        return SliceSegmentation(cut.labels, cut.scores, cut)

    def maps_of(
        self, image: CTSlice, body: Mask, above: Neighbour | None = None, below: Neighbour | None = None
    ) -> Maps:
        """Return boundary, foreground and affinities of a slice; both maps are 0 where there is no body.

        Args:
            image: The slice; pixels that are not finite count as padding, for gradients as air.
            body: bool (rows, columns): the patient.
            above: The slice's neighbour towards the head, for a network that sees neighbours.
            below: Its neighbour towards the feet.
        """
        if not body.any():
            zeros = np.zeros(image.shape, dtype=np.float32)
            return Maps(zeros, zeros)
        if self.network is None:
            return gradient_maps(image, body)
        finite = np.where(np.isfinite(image.pixels), image.pixels, np.float32(np.nan))
        return network_maps(replace(image, pixels=finite), body, self.network, above, below)


def tree_of(method: Mosaic, image: CTSlice, maps: Maps) -> MergeTree:
    """Return the order in which regions merge; `level`, `min_foreground` and `cleanup` do not change it."""
    inside = (maps.foreground >= method.foreground_threshold) & (maps.foreground > 0)
    min_leaf_px = max(1, round(method.min_region_mm2 / pixel_size_mm(image) ** 2))
    leaves = oversegment(maps.boundary, inside, depth=method.minima_depth, min_leaf_px=min_leaf_px)
    dissimilarity = None if maps.affinities is None else region_pairs(leaves, maps.affinities)
    return merge_tree(leaves, maps.boundary, dissimilarity, method.affinity_weight)
