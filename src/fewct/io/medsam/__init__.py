"""MedSAM's NPZ files: read and written."""
