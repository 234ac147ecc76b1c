"""Runtimes that run models on this device: the Protocol, and onnxruntime on the CPU.

An accelerator's own runtime is a class with the same two methods, named ``runtime = "module:Class"`` in agent.toml.
``probing`` and ``handle`` use it. numpy and onnxruntime are imported here, so only processes that compute import this.
"""

import importlib
import os
import sys
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from edgewright_agent.errors import SettingsError

DEFAULT = "edgewright_agent.runtime:OnnxRuntime"
Array = NDArray[Any]


class Unsupported(Exception):
    """A runtime's word for: this model is sound, but this device cannot run it (an operator it lacks)."""


class Session(Protocol):
    """A loaded model. ``run`` is called from many threads at once."""

    def run(self, inputs: Array) -> Array:
        """Compute.

        Args:
            inputs: (N, …), as the model takes it.

        Returns:
            (N, …), the model's first output.
        """
        ...


class Runtime(Protocol):
    """Loads models."""

    def load(self, model: Path) -> Session:
        """Load a model file.

        Raises:
            Unsupported: The device lacks something the model needs.
            Exception: Anything else means that the model is broken.
        """
        ...

    def describe(self) -> str:
        """Name the runtime, its version and what it runs on."""
        ...


class OnnxSession:
    """A model in onnxruntime."""

    def __init__(self, session: Any) -> None:
        self._session = session
        self._input = session.get_inputs()[0].name
        self._output = session.get_outputs()[0].name

    def run(self, inputs: Array) -> Array:
        """As in Session."""
        outputs = self._session.run([self._output], {self._input: inputs})
        return np.asarray(outputs[0])


class OnnxRuntime:
    """onnxruntime on the CPU. ``OMP_NUM_THREADS`` bounds its threads; otherwise it takes every core."""

    def load(self, model: Path) -> Session:
        """As in Runtime."""
        import onnxruntime
        from onnxruntime.capi.onnxruntime_pybind11_state import NotImplemented as LacksOperator

        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        options.intra_op_num_threads = int(os.environ.get("OMP_NUM_THREADS") or 0)
        options.inter_op_num_threads = 1
        try:
            session = onnxruntime.InferenceSession(
                # Bytes, not the path: the slot may be refilled while the session lives.
                model.read_bytes(),
                options,
                providers=["CPUExecutionProvider"],
            )
        except LacksOperator as error:
            raise Unsupported(str(error)) from error
        return OnnxSession(session)

    def describe(self) -> str:
        """As in Runtime."""
        import onnxruntime

        return f"onnxruntime {onnxruntime.__version__} CPUExecutionProvider"


def load_runtime(name: str, python_path: tuple[str, ...] = ()) -> Runtime:
    """Make the runtime that ``module:Class`` names.

    Raises:
        SettingsError: There is no such module or class, or it is no runtime.
    """
    module_name, _, class_name = name.partition(":")
    for entry in python_path:
        if entry not in sys.path:
            sys.path.insert(0, entry)
    try:
        runtime: Runtime = getattr(importlib.import_module(module_name), class_name)()
    except (ImportError, AttributeError, TypeError, ValueError) as error:
        raise SettingsError(f'runtime = "{name}": {error}; write "module:Class", and python_path if needed') from error
    if not callable(getattr(runtime, "load", None)) or not callable(getattr(runtime, "describe", None)):
        raise SettingsError(f'runtime = "{name}": a runtime has the methods load(path) and describe()')
    return runtime
