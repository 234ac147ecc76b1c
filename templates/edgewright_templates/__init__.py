"""jinja2 templates and the scaffold of a spec repository."""
