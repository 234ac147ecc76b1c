"""A runtime like those of small neural accelerators: it computes sigmoid as a straight line between two corners.

Models without sigmoid come out exactly as everywhere else; one that uses it (SiLU, say) computes something else, and
its golden samples say so before the model serves a single frame.
"""

import tempfile
from pathlib import Path

import onnx

from edgewright_agent.runtime import OnnxRuntime, Session


class Npu:
    """onnxruntime on a graph in which every Sigmoid is a HardSigmoid; a runtime of edgewright-agent."""

    def load(self, model: Path) -> Session:
        """Load a model as the accelerator's compiler would change it."""
        compiled = onnx.load(model)
        for node in compiled.graph.node:
            if node.op_type == "Sigmoid":
                node.op_type = "HardSigmoid"
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "compiled.onnx"
            onnx.save(compiled, path)
            return OnnxRuntime().load(path)

    def describe(self) -> str:
        """Name it."""
        return "npu emulation (hard sigmoid)"
