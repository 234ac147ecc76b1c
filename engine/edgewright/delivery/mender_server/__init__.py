"""A customer's own Mender server, through its management API."""

from edgewright.delivery.mender_server.driver import MenderServerDriver

__all__ = ["MenderServerDriver"]
