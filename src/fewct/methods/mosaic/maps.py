"""What a slice is cut up by."""

from dataclasses import dataclass

from fewct.methods.mosaic.affinities import Affinities
from fewct.types import Image


@dataclass(frozen=True, eq=False)
class Maps:
    """What a slice is cut up by.

    Args:
        boundary: float32 (rows, columns) in [0, 1]: how likely a pixel lies on a border.
        structure: float32 (rows, columns) in [0, 1]: how likely a pixel belongs to a structure; 0 for fat,
            skin, and what lies outside the body.
        affinities: How likely pairs of pixels lie in the same structure; None where nothing tells.
    """

    boundary: Image
    structure: Image
    affinities: Affinities | None = None
