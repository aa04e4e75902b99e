"""Reading and writing: one file a format, chosen by content first, suffix second."""

from fewct.io.discovered import DiscoveredImage
from fewct.io.formats import FormatSpec
from fewct.io.reading import discover, read, read_labels
from fewct.io.writing import default_format, label_suffix, write

__all__ = [
    "DiscoveredImage",
    "FormatSpec",
    "default_format",
    "discover",
    "label_suffix",
    "read",
    "read_labels",
    "write",
]
