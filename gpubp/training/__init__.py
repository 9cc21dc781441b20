"""Training over epochs: trainer, loop, callbacks, checkpoints, logs."""
