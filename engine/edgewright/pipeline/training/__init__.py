"""The step train: a torch module learns from a dataset. ``step.build`` is the entry point."""
