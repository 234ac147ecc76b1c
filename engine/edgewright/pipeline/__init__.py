"""Drivers that make artifacts: datasets, models, exports, evaluations, packages."""
