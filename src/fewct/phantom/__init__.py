"""A seeded synthetic CT of the trunk, with truth: for demonstrations, tests and training."""

from fewct.phantom.render import render
from fewct.phantom.scan import phantom_slice, phantom_volume
from fewct.phantom.structures import STRUCTURES
from fewct.phantom.tissue import Tissue

__all__ = ["STRUCTURES", "Tissue", "phantom_slice", "phantom_volume", "render"]
