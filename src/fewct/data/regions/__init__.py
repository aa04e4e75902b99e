"""Slices of every region of the body for training, as stacks that say what is known of each pixel."""

from fewct.data.regions.sources import read_stacks

__all__ = ["read_stacks"]
