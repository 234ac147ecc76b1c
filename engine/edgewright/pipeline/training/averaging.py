"""Moving average of a module's weights. Called by ``training.step`` after each step of the optimizer."""

import copy
from typing import Any

import torch
from torch import nn


class WeightAverage:
    """A copy of a module whose weights are the moving average of its weights.

    Buffers (statistics, counters, tables) are those of the module: an average of whole numbers is none.
    """

    def __init__(self, module: nn.Module, decay: float) -> None:
        """Start from the module as it is."""
        self.module = copy.deepcopy(module).requires_grad_(False)
        self._decay = decay

    @torch.no_grad()
    def update(self, module: nn.Module, step: int) -> None:
        """Take in the module's weights after a step, counted from 0; the first steps count more."""
        decay = min(self._decay, (1 + step) / (10 + step))
        learned = dict(module.named_parameters())
        for name, average in self.module.named_parameters():
            average.mul_(decay).add_(learned[name], alpha=1 - decay)
        current = dict(module.named_buffers())
        for name, buffer in self.module.named_buffers():
            buffer.copy_(current[name])

    def state(self) -> dict[str, Any]:
        """Return its state, as a checkpoint holds it."""
        return self.module.state_dict()

    def restore(self, state: dict[str, Any]) -> None:
        """Continue from what ``state`` returned."""
        self.module.load_state_dict(state)
