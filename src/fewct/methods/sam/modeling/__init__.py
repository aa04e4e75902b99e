"""The networks of SAM and its kin; needs PyTorch."""
