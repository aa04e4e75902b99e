"""Batches of training crops, cut, rendered and augmented on the device that trains."""
