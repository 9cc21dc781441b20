"""Looking into a training: gradient flow, learning rates, comparison of backends, pictures."""
