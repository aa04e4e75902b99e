"""Thresholds and connected components: the baseline that needs no method at all, written as one."""

from dataclasses import dataclass, field
from typing import ClassVar, Self

import numpy as np
from scipy import ndimage
from skimage.filters import threshold_multiotsu
from skimage.morphology import disk

from fewct.errors import check_range
from fewct.imaging.cleanup import Cleanup, clean
from fewct.imaging.intensity import to_display
from fewct.result import SliceSegmentation
from fewct.types import CTSlice


@dataclass(frozen=True)
class Threshold:
    """Smooth, part the grey values at thresholds, open each class, and number its connected components.

    What is darker than the first threshold is background. Hounsfield units are seen through the soft tissue
    window, grey values stretched to robust percentiles of the body.

    Raises:
        UsageError: If a setting is below 0, or there are fewer than 2 classes.
    """

    name: ClassVar[str] = "threshold"
    summary: ClassVar[str] = "connected components of classes of grey values"
    weights_sha256: ClassVar[None] = None

    thresholds: tuple[int, ...] = ()
    """Grey values, of 256, that part the classes, in rising order; none: Otsu's for each slice."""
    otsu_classes: int = 4
    """Number of classes that Otsu's thresholds part."""
    sigma: float = 1.0
    """Width in pixels of the Gaussian that smooths the slice first."""
    opening_radius_px: int = 1
    """Bridges between components thinner than about twice this are cut."""
    cleanup: Cleanup = field(default_factory=Cleanup)

    def __post_init__(self) -> None:
        check_range("otsu_classes", self.otsu_classes, 2)
        for setting in ("sigma", "opening_radius_px"):
            check_range(setting, getattr(self, setting))

    @property
    def method(self) -> Self:
        """Itself."""
        return self

    def load(self) -> Self:
        """Return itself: there are no files to open."""
        return self

    def segment(self, image: CTSlice) -> SliceSegmentation:
        """Segment one slice; structures have no score."""
        smooth = ndimage.gaussian_filter(to_display(image).astype(np.float32), self.sigma)
        thresholds = self.thresholds or self._otsu(smooth)
        classes, labels, count = np.digitize(smooth, thresholds), np.zeros(image.shape, np.int32), 0
        for number in range(1, len(thresholds) + 1):
            mask = ndimage.binary_opening(classes == number, disk(self.opening_radius_px))
            components, n = ndimage.label(mask)
            labels[mask] = components[mask] + count
            count += n
        return SliceSegmentation(*clean(labels, image, self.cleanup))

    def _otsu(self, smooth: np.ndarray) -> tuple[float, ...]:
        """Return Otsu's thresholds; none where there are fewer grey values than classes."""
        if len(np.unique(smooth)) < self.otsu_classes:
            return ()
        return tuple(threshold_multiotsu(smooth, self.otsu_classes, nbins=128).tolist())
