"""GitOps for edge ML: from a commit to a verified fleet."""

__version__ = "0.1.0"
