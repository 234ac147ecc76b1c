"""Errors of one device. Raised inside the package only: each ends in the device's twin."""


class DeviceError(Exception):
    """A session with a device failed; a later session tries again.

    Args:
        reason: One word.
        message: What is wrong, and what to do about it.
    """

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(f"{reason}: {message}")
        self.reason = reason
        self.message = message


class ConnectionFailed(DeviceError):
    """No connection: the device is unreachable, shows another host key, or refuses the controller's key."""


class TimedOut(DeviceError):
    """The session took longer than its limit."""

    def __init__(self, message: str) -> None:
        super().__init__("TimedOut", message)


class Disconnected(DeviceError):
    """The connection ended during the session."""

    def __init__(self, message: str) -> None:
        super().__init__("Disconnected", message)


class JobFailed(DeviceError):
    """The job cannot be done on this device: it fails, and is not retried."""


class Stopped(Exception):
    """The controller is shutting down; nothing is recorded."""
