"""Errors of a customer's own server, beside those of ``edgewright.errors``."""

from edgewright.errors import DeliveryError, DeliveryUnavailable


class Refused(DeliveryError):
    """A server does not accept who asks, or forbids it: nothing works until somebody changes that."""

    def __init__(self, message: str, *, hint: str = "", reason: str = "AuthenticationFailed") -> None:
        super().__init__(message, hint=hint)
        self.reason = reason


class Busy(DeliveryUnavailable):
    """A server asks to be left alone for a while."""

    def __init__(self, message: str, *, hint: str = "", retry_after: float | None = None) -> None:
        super().__init__(message, hint=hint)
        self.retry_after = retry_after
        """Seconds; None where it does not say."""
