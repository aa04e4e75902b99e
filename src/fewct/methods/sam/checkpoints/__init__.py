"""Checkpoints of SAM and its kin: read, built, exported."""
