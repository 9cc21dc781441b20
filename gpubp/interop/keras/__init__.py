"""Keras: weights from `.keras`, `.weights.h5` and `.h5` files, of which only numbers and names are read."""
