"""Learning rates by step. Pure; called by ``training.step`` before each step of the optimizer."""

import math

from edgewright_schemas.model import Schedule

_RISE = 0.3
"""Share of one-cycle's steps in which the rate rises."""
_FIRST = 1 / 25
_LAST = _FIRST / 1e4


def rate_factor(schedule: Schedule, step: int, per_epoch: int, epochs: int) -> float:
    """Return by what the learning rate is multiplied in a step.

    Args:
        schedule: The spec's section.
        step: Counted from 0 over all epochs.
        per_epoch: Steps of an epoch.
        epochs: Of the whole training, as declared.
    """
    total = per_epoch * epochs
    if schedule.kind == "one-cycle":
        return _one_cycle(step, total)
    rising = min(schedule.warm_up * per_epoch, total)
    if step < rising:
        return (step + 1) / rising
    match schedule.kind:
        case "constant":
            return 1.0
        case "step":
            return schedule.factor ** (step // per_epoch // schedule.every)
        case "cosine":
            return schedule.last + (1 - schedule.last) * _half_wave((step - rising) / max(total - rising, 1))


def _half_wave(done: float) -> float:
    """Fall from 1 to 0 along half a cosine."""
    return (1 + math.cos(math.pi * done)) / 2


def _one_cycle(step: int, total: int) -> float:
    turn = _RISE * total - 1
    if step <= turn:
        return 1 + (_FIRST - 1) * _half_wave(step / turn)
    return _LAST + (1 - _LAST) * _half_wave((step - turn) / (total - 1 - turn))
