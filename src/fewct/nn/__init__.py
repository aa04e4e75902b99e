"""Networks and encoders that several methods share; needs PyTorch."""
