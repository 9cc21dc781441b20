"""Analysis: gradient flow, learning-rate finder, comparison of backends, what several processes would give, figures."""
