"""Runtimes for agent tests: they implement the production Protocol, on linear models stored as numpy arrays."""

import ctypes
import io
import threading
from pathlib import Path

import numpy as np

from edgewright_agent.runtime import Array, Unsupported


class LinearSession:
    def __init__(self, weights: Array, offset: float = 0.0) -> None:
        self.weights = weights
        self.offset = offset

    def run(self, inputs: Array) -> Array:
        return np.asarray(inputs @ self.weights + self.offset)


class LinearRuntime:
    """Computes right."""

    def load(self, model: Path) -> LinearSession:
        return LinearSession(np.load(io.BytesIO(model.read_bytes()), allow_pickle=False))

    def describe(self) -> str:
        return f"{type(self).__name__} 1.0"


class SkewedRuntime(LinearRuntime):
    """Computes something else, as an accelerator with another rounding does."""

    def load(self, model: Path) -> LinearSession:
        return LinearSession(super().load(model).weights, offset=0.5)


class NanRuntime(LinearRuntime):
    """Computes nothing finite."""

    def load(self, model: Path) -> LinearSession:
        return LinearSession(super().load(model).weights, offset=float("nan"))


class LackingRuntime(LinearRuntime):
    """Lacks an operator."""

    def load(self, model: Path) -> LinearSession:
        raise Unsupported("no operator FancyConv")


class CrashingRuntime(LinearRuntime):
    """Takes its process down, as a bad driver does."""

    def load(self, model: Path) -> LinearSession:
        ctypes.string_at(0)
        raise AssertionError("the process should be gone")


class HungryRuntime(LinearRuntime):
    """Takes half a gigabyte, and says how likely the kernel is to end its process."""

    def load(self, model: Path) -> LinearSession:
        self.taken = bytearray(512 << 20)
        return super().load(model)

    def describe(self) -> str:
        return Path("/proc/self/oom_score_adj").read_text().strip()


class HangingRuntime(LinearRuntime):
    """Never comes back."""

    def load(self, model: Path) -> LinearSession:
        threading.Event().wait()
        raise AssertionError("never")


class ChattyRuntime(LinearRuntime):
    """Prints onto stdout, as native code does."""

    def describe(self) -> str:
        print("driver banner")
        return super().describe()
