"""One training step: batch, forward, loss, backward, update."""
