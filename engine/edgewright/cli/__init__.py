"""The command line; the composition root, the only place that wires drivers to ports."""
