"""A customer's own hawkBit server, through its management API."""

from edgewright.delivery.relayed.hawkbit.driver import HawkbitDriver

__all__ = ["HawkbitDriver"]
