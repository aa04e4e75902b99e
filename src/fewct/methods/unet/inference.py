"""The U-Net at work: a foreground map, through ONNX Runtime, and its instances."""

from dataclasses import dataclass

import numpy as np
from scipy import ndimage
from skimage.morphology import disk

from fewct.errors import InputError
from fewct.imaging.body import body_mask
from fewct.imaging.cleanup import clean
from fewct.imaging.resample import resize
from fewct.methods.unet.method import UNet
from fewct.methods.unet.preprocessing import STRIDE, pad, preprocess, working_shape
from fewct.result import SliceSegmentation
from fewct.runtime.model_store import onnx_file
from fewct.runtime.onnx_session import Network, load_network, run_image_network
from fewct.types import CTSlice, Image, Labels, Mask

OUTPUTS = ("foreground",)
SIZE_KEY = "fewct_unet_size_px"
"""Metadata of the ONNX file: the longest side of a slice, at which the network was trained."""


@dataclass(frozen=True, eq=False)
class UNetSegmenter:
    """A U-Net that is open.

    Args:
        method: The settings.
        network: The network.
        size_px: Longest side of a slice, at which it was trained.
    """

    method: UNet
    network: Network
    size_px: int

    @classmethod
    def of(cls, method: UNet) -> "UNetSegmenter":
        """Open the network of some settings; see `UNet.load`."""
        network = load_network(onnx_file(method.weights))
        if SIZE_KEY not in network.metadata or network.outputs != OUTPUTS:
            raise InputError(
                network.path,
                expected="the weights of a U-Net",
                found=f"a network that gives {', '.join(network.outputs)}",
                fix="Name the folder that `fewct train unet` wrote.",
            )
        return cls(method, network, int(network.metadata[SIZE_KEY]))

    @property
    def weights_sha256(self) -> str:
        """Hash of the network's file."""
        return self.network.sha256

    def segment(self, image: CTSlice) -> SliceSegmentation:
        """Segment one slice.

        Raises:
            InputError: If a grey slice holds infinities.
        """
        body = body_mask(image)
        probability = self.foreground_map(image, body)
        mask = probability >= self.method.threshold
        single = self.method.instances == "single"
        labels = mask.astype(np.int32) if single else components(mask, self.method.opening_px)
        scores = ndimage.mean(probability, labels, range(1, int(labels.max()) + 1))
        return SliceSegmentation(*clean(labels, image, self.method.cleanup, scores, body))

    def foreground_map(self, image: CTSlice, body: Mask) -> Image:
        """Return the probability that a pixel lies in a structure, on the slice's own grid.

        Args:
            image: Slice; it is scaled to the size that the network was trained at.
            body: bool (rows, columns): the patient.
        """
        shape = working_shape(image.shape, self.size_px)
        channels = resize(preprocess(image, body), shape)
        padded = pad(channels, [side + -side % STRIDE for side in shape], -1)
        (probability,) = run_image_network(
            self.network.session, np.ascontiguousarray(padded[None], dtype=np.float32)
        )
        return np.clip(resize(probability[: shape[0], : shape[1]], image.shape), 0, 1)


def components(mask: Mask, opening_px: int) -> Labels:
    """Label the connected components (4-neighbours) of a mask, after opening with a disk."""
    opened = ndimage.binary_opening(mask, disk(opening_px)) if opening_px else mask
    return np.asarray(ndimage.label(opened)[0], dtype=np.int32)
