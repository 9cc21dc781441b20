"""Trained weights of other libraries: which of their modules belongs to which layer, and what was taken."""
