"""The default method: boundary and foreground maps, a merge tree, a cut."""

from fewct.methods.mosaic.method import Mosaic

__all__ = ["Mosaic"]
