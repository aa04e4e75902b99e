"""Adapting `mosaic` to few labelled slices: tune settings, fine-tune the network, keep what proves better."""

from fewct.adapt.adaptation import Adaptation, adapt
from fewct.adapt.few_slices import FewSlices, read_few

__all__ = ["Adaptation", "FewSlices", "adapt", "read_few"]
