"""The CPU backend: NumPy, with compiled loops and recorded steps in native code where Numba is installed."""
