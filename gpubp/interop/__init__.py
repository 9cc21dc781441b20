"""Networks in other forms: ONNX, PyTorch, Keras, C."""
