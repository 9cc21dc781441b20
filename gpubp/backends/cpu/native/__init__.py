"""Recorded steps that run without Python, compiled by Numba."""
