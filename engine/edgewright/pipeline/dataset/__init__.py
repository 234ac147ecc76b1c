"""The step build-dataset, and everything that reads datasets and their sources. ``step.build`` is the entry point."""
