"""Where a promptable network runs: PyTorch or ONNX Runtime."""
