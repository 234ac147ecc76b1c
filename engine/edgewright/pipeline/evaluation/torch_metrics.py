"""torchmetrics' functions of classification and regression, imported without scipy.signal.

torchmetrics 1.x imports scipy.signal, with scipy.stats and the rest, to give it back a name it lost (``hamming``): half
of the time that evaluating a small model takes. Nothing here uses it. Where it is imported already, all is as always.
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType

_SCIPY_SIGNAL = "scipy.signal"


@contextmanager
def _without_scipy_signal() -> Iterator[None]:
    """Replace scipy.signal by an empty module, inside the block only."""
    if _SCIPY_SIGNAL in sys.modules:
        yield
        return
    stand_in = ModuleType(_SCIPY_SIGNAL)
    stand_in.hamming = None  # type: ignore[attr-defined]  # torchmetrics looks for this name
    sys.modules[_SCIPY_SIGNAL] = stand_in
    try:
        yield
    finally:
        del sys.modules[_SCIPY_SIGNAL]


with _without_scipy_signal():
    from torchmetrics.functional import classification, regression

__all__ = ["classification", "regression"]
