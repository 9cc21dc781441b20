"""Analysis: gradient flow, learning-rate finder, comparison of backends, estimates for several processes, figures."""
