"""Errors that the device APIs have in common. Raised by their ``messages``; their services answer with status 400."""


class MalformedMessage(ValueError):
    """A body that cannot be parsed; the text says why, and is fit for the sender."""
