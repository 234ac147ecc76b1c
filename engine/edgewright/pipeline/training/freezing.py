"""Weights that do not learn for some epochs, or at all. Called by ``training.step`` at the start of each epoch."""

from collections.abc import Sequence
from fnmatch import fnmatchcase

from torch import nn

from edgewright.core.suggestions import suggestion
from edgewright.errors import StepFailed


class Frozen:
    """Weights named by patterns."""

    def __init__(self, module: nn.Module, patterns: Sequence[str], after: int | None) -> None:
        """Find them.

        Args:
            module: The module as it is trained.
            patterns: Of names of parameters.
            after: The last epoch in which they do not learn; None: the last of all.

        Raises:
            StepFailed: A pattern names none, or nothing is left to learn.
        """
        names = [name for name, _ in module.named_parameters()]
        unknown = [pattern for pattern in patterns if not any(fnmatchcase(name, pattern) for name in names)]
        if unknown:
            raise StepFailed(
                f"training.freeze: no weight is named {', '.join(unknown)}",
                hint=suggestion(unknown[0].rstrip(".*"), names, limit=6),
            )
        self._module, self._after = module, after
        # What the module itself keeps from learning stays so.
        self._names = {
            name
            for name, weight in module.named_parameters()
            if weight.requires_grad and any(fnmatchcase(name, pattern) for pattern in patterns)
        }
        if after is None and len(self._names) == sum(weight.requires_grad for weight in module.parameters()):
            raise StepFailed(
                "training.freeze leaves nothing to learn", hint="freeze less, or set training.unfreezeAfter"
            )

    def enter(self, epoch: int) -> None:
        """Prepare an epoch, counted from 1; the module is in training mode."""
        frozen = self._after is None or epoch <= self._after
        for name, weight in self._module.named_parameters():
            if name in self._names:
                weight.requires_grad_(not frozen)
        if not frozen:
            return
        for prefix, part in self._module.named_modules():
            own = [f"{prefix}.{name}" if prefix else name for name, _ in part.named_parameters(recurse=False)]
            if own and self._names.issuperset(own):
                # Batch normalisation would go on learning its statistics.
                part.train(False)
