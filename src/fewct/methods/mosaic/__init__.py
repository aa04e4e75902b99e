"""The default method: boundary and structure maps, a merge tree, a cut."""

from fewct.methods.mosaic.adapted import load_adapted
from fewct.methods.mosaic.method import Mosaic

__all__ = ["Mosaic", "load_adapted"]
