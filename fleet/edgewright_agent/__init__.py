"""The device side: fetches, verifies and switches models, and reports what it runs."""

from edgewright_wire.moved import report_moved_modules

__version__ = "0.1.0"

report_moved_modules("edgewright_agent", "edgewright_agent.moved_modules")
