"""Networks: predict, save, load, and ready-made models."""
