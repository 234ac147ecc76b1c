"""Nodes to add to a graph, and the constants they read. Used by ``adapting`` and ``detectors``."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper


class Nodes:
    """Nodes in a row, and the constants they read; names begin with ``edgewright/`` and the part given."""

    def __init__(self, part: str) -> None:
        self._prefix = f"edgewright/{part}/"
        self.nodes: list[onnx.NodeProto] = []
        self.weights: list[onnx.TensorProto] = []

    def constant(self, value: npt.NDArray[Any]) -> str:
        """Add a constant; returns its name."""
        name = f"{self._prefix}constant{len(self.weights)}"
        self.weights.append(numpy_helper.from_array(value, name))
        return name

    def add(self, operator: str, *inputs: str, **attributes: Any) -> str:
        """Add a node; returns its output's name."""
        name = f"{self._prefix}{operator.lower()}{len(self.nodes)}"
        self.nodes.append(helper.make_node(operator, list(inputs), [name], name=name, **attributes))
        return name

    def part(self, name: str, first: int, last: int) -> str:
        """Take entries of the last of three axes: ``first`` to ``last``, which is not taken."""
        bounds = (self.constant(np.array([each], np.int64)) for each in (first, last, 2))
        return self.add("Slice", name, *bounds)

    def shaped(self, name: str, shape: Sequence[int]) -> str:
        """Reshape; 0 keeps an axis, -1 takes the rest."""
        return self.add("Reshape", name, self.constant(np.array(shape, np.int64)))

    def floats(self, name: str) -> str:
        """Cast to float32."""
        return self.add("Cast", name, to=TensorProto.FLOAT)

    def rename_last(self, name: str) -> None:
        """Give the last node's output another name."""
        self.nodes[-1].output[0] = name
