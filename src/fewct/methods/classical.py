"""Published methods that need no training: the yardsticks.

Their label maps stay as published: every pixel belongs to a structure, air and table included.
"""

from dataclasses import dataclass, field
from typing import Annotated, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from fewct.errors import check_range
from fewct.imaging.cleanup import Cleanup, clean
from fewct.result import SliceSegmentation
from fewct.types import CTSlice


class _NothingToOpen:
    """A method that is its own segmenter."""

    weights_sha256: ClassVar[None] = None

    @property
    def method(self) -> Self:
        """Itself."""
        return self

    def load(self) -> Self:
        """Return itself: there are no files to open."""
        return self


@dataclass(frozen=True)
class Watershed(_NothingToOpen):
    """Watershed from flat places, as the organisers of the challenge did it.

    Median filter (a disk of radius 2), markers where its local range (a disk of radius 5) is below 20 of 256
    grey values, and a compact watershed (https://doi.org/10.1109/ICPR.2014.181) on the Sobel gradient of the
    unfiltered slice. Hounsfield units are seen through the soft tissue window. A slice without any flat
    place has no structure.

    Raises:
        UsageError: If a setting is below 0.
    """

    name: ClassVar[str] = "watershed"
    summary: ClassVar[str] = "the challenge organisers' recipe: compact watershed on the Sobel gradient"

    median_radius_px: int = 2
    """Radius of the median filter in pixels."""
    flat_radius_px: int = 5
    """Radius in pixels within which a marker's surroundings are flat."""
    flat_range: int = 20
    """Markers lie where grey values differ by less than this, of 256."""
    compactness: float = 1e-4
    """How round regions are; 0 follows the gradient alone."""
    cleanup: Cleanup = field(default_factory=Cleanup)

    def __post_init__(self) -> None:
        for setting in ("median_radius_px", "flat_radius_px", "flat_range", "compactness"):
            check_range(setting, getattr(self, setting))

    def segment(self, image: CTSlice) -> SliceSegmentation:
        """Segment one slice; structures have no score."""
        from scipy import ndimage
        from skimage.filters import rank, sobel
        from skimage.morphology import disk
        from skimage.segmentation import watershed

        grey = _eight_bit(image)
        smooth = rank.median(grey, disk(self.median_radius_px))
        flat = rank.gradient(smooth, disk(self.flat_radius_px)) < self.flat_range
        regions = watershed(sobel(grey), ndimage.label(flat)[0], compactness=self.compactness)
        return SliceSegmentation(*clean(regions, image, self.cleanup))


@dataclass(frozen=True)
class Felzenszwalb(_NothingToOpen):
    """Graph-based segmentation of Felzenszwalb and Huttenlocher.

    Neighbouring regions merge while the contrast between them is not above the contrast within them
    (https://doi.org/10.1023/B:VISI.0000022288.19776.77). Hounsfield units are seen through the soft tissue
    window.

    Raises:
        UsageError: If a setting is below 0.
    """

    name: ClassVar[str] = "felzenszwalb"
    summary: ClassVar[str] = "graph-based merging of similar neighbours"

    scale: float = 200.0
    """Higher values give larger structures."""
    sigma: float = 1.0
    """Width in pixels of the Gaussian that smooths the slice first."""
    min_size_px: int = 100
    """Smaller structures join a neighbour; in pixels."""
    cleanup: Cleanup = field(default_factory=Cleanup)

    def __post_init__(self) -> None:
        for setting in ("scale", "sigma", "min_size_px"):
            check_range(setting, getattr(self, setting))

    def segment(self, image: CTSlice) -> SliceSegmentation:
        """Segment one slice; structures have no score."""
        from skimage.segmentation import felzenszwalb

        grey = _eight_bit(image)
        regions = felzenszwalb(grey, scale=self.scale, sigma=self.sigma, min_size=self.min_size_px)
        return SliceSegmentation(*clean(regions + 1, image, self.cleanup))


def _eight_bit(image: CTSlice) -> Annotated[NDArray[np.uint8], "rows columns"]:
    """Return 8-bit grey values as they are, anything else as people see it."""
    from fewct.imaging.intensity import to_display

    grey = np.nan_to_num(image.pixels).clip(0, 255).astype(np.uint8)
    if image.unit == "grey" and np.array_equal(grey, image.pixels):
        return grey
    return to_display(image)
