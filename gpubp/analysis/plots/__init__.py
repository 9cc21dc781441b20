"""Figures of training runs, predictions and networks, drawn by matplotlib (`pip install 'gpubp[plot]'`)."""
