"""Exact numerics on the CPU: the same bits on every processor, with every BLAS and any number of threads."""
