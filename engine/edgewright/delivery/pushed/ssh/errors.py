"""What can be wrong with one device. Raised inside the package only: each ends in the device's twin."""


class Trouble(Exception):
    """A device cannot be worked on now; another pass tries again.

    Args:
        reason: One word.
        message: What is wrong, and what to do about it.
    """

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(f"{reason}: {message}")
        self.reason = reason
        self.message = message


class NoWay(Trouble):
    """There is no connection: it is away, is somebody else, or does not let us in."""


class TimedOut(Trouble):
    """It took longer than it may."""

    def __init__(self, message: str) -> None:
        super().__init__("TimedOut", message)


class Broken(Trouble):
    """The connection ended in the middle."""

    def __init__(self, message: str) -> None:
        super().__init__("Disconnected", message)


class Unfit(Trouble):
    """What is assigned cannot be brought to this device: the job fails, and is not tried again."""


class Stopped(Exception):
    """The controller is ending; nothing is noted."""
