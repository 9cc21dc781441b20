"""Time gpubp and other libraries on the same work: `python -m benchmarks --help`."""
