"""A customer's own Mender server, through its management API."""

from edgewright.delivery.relayed.mender.driver import MenderServerDriver

__all__ = ["MenderServerDriver"]
