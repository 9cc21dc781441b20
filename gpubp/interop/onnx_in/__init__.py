"""ONNX files read as layers that can be trained on."""
