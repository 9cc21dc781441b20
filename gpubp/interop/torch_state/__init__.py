"""PyTorch: weights from a state dict or a safetensors file, and weights as a state dict."""
