"""Masks of everything on a slice, from a grid of points."""
