"""The step evaluate: metrics of every variant of a model on the test split. ``step.build`` is the entry point."""
