"""Analysis: gradient flow, learning-rate finder, comparison of backends, figures."""
