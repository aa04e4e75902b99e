"""Reading and writing: one file a format family, chosen by content first, suffix second."""

from fewct.io.discovered import DiscoveredImage
from fewct.io.reading import discover, read, read_labels
from fewct.io.writing import SUFFIXES, default_format, write

__all__ = ["SUFFIXES", "DiscoveredImage", "default_format", "discover", "read", "read_labels", "write"]
