"""The default method: boundary and structure maps, a merge tree, a cut."""

from fewct.methods.mosaic.method import Mosaic, load_adapted

__all__ = ["Mosaic", "load_adapted"]
