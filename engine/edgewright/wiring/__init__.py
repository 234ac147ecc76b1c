"""The composition root: the only place that knows every driver. ``cli`` calls it."""
