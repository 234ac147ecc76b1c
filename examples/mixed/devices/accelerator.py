"""An accelerator that may break: from then on it computes something else, and says nothing of it.

It breaks where a file ``broken`` lies beside the device's models, and works again when that is gone. The golden samples
of the next package tell, before the package serves anything.
"""

from pathlib import Path

from edgewright_agent.runtime import Array, OnnxRuntime, Session

_ABOVE = 4
"""Folders of a model's file: the slot's, ``slots``, the model's, ``models``, and the device's root."""


class Accelerator:
    """onnxruntime, as long as the hardware is sound; a runtime of edgewright-agent."""

    def load(self, model: Path) -> Session:
        """Load a model onto the accelerator."""
        session = OnnxRuntime().load(model)
        return _Off(session) if (model.resolve().parents[_ABOVE] / "broken").exists() else session

    def describe(self) -> str:
        """Name it."""
        return "accelerator"


class _Off:
    """A session whose every output is off."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def run(self, inputs: Array) -> Array:
        return self._session.run(inputs) + 1.0
