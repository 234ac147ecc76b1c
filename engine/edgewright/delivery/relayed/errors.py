"""What a customer's server may do wrong, and how long it is waited for. Apart from ``http``, whose library takes longer
to import than a plan may.
"""

from dataclasses import dataclass

from edgewright.errors import DeliveryError, DeliveryUnavailable


@dataclass(frozen=True, slots=True)
class Patience:
    """How long a server is waited for, in seconds."""

    connect: float = 10.0
    silence: float = 30.0
    """Between two signs of life, either way."""
    whole: float = 120.0
    """For one answer, from when the request is sent."""


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
