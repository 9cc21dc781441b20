"""Exact numerics on a GPU: own kernels for all that computes, compiled without a flush of subnormal numbers."""
