"""Errors of frames and of outputs that cannot be what they were declared to be."""


class InferenceError(ValueError):
    """Base of what this package raises; the message says what was found and what was expected."""


class FrameError(InferenceError):
    """A frame has another type or shape than a picture."""


class DecodeError(InferenceError):
    """Outputs are not what their decoder says: other shapes, numbers that are not finite, scores that are logits."""


class InterfaceError(InferenceError):
    """A declared interface contradicts itself or is not complete."""
