"""GitOps for edge ML: from a commit to a verified fleet."""

from edgewright_wire.moved import report_moved_modules

__version__ = "0.1.0"

report_moved_modules("edgewright", "edgewright.moved_modules")
