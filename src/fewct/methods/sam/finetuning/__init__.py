"""Training of promptable networks; needs PyTorch."""
