"""Networks run by ONNX Runtime, without torch."""
