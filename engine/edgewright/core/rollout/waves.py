"""Waves: the devices each takes in. Called by the planner, to show them, and by ``rollout``, to run them."""

import hashlib
import math
from collections.abc import Mapping

from edgewright_schemas.rollout import RolloutSpec

NO_WAVE = -1
"""The wave of a device that no wave takes in; a rollout does not touch it."""


def plan_waves(name: str, spec: RolloutSpec, devices: Mapping[str, Mapping[str, str]]) -> tuple[tuple[str, ...], ...]:
    """Sort a fleet's devices into waves.

    A wave by labels takes every matching device that no earlier wave took. A wave by percent takes devices until
    that share of the whole fleet, rounded up, is taken in; who comes first is decided by a hash of the rollout's
    name and the device's id, so that a device keeps its place while others join and leave.

    Args:
        name: The rollout's name.
        spec: Its spec.
        devices: Labels by device id.

    Returns:
        For each wave of the spec, its devices in the order they are taken. A wave may be empty, and a device that
        no wave takes is in none.
    """
    remaining = sorted(devices, key=lambda device: _place(name, device))
    waves: list[tuple[str, ...]] = []
    for wave in spec.waves:
        if wave.select is not None:
            wanted = wave.select.match_labels.items()
            taken = [d for d in remaining if all(devices[d].get(key) == value for key, value in wanted)]
        else:
            target = math.ceil(len(devices) * (wave.percent or 0.0) / 100 - 1e-9)
            taken = remaining[: max(0, target - (len(devices) - len(remaining)))]
        waves.append(tuple(taken))
        chosen = set(taken)
        remaining = [device for device in remaining if device not in chosen]
    return tuple(waves)


def wave_numbers(name: str, spec: RolloutSpec, devices: Mapping[str, Mapping[str, str]]) -> dict[str, int]:
    """Give each device the index of its wave, or NO_WAVE."""
    numbers = dict.fromkeys(devices, NO_WAVE)
    for index, wave in enumerate(plan_waves(name, spec, devices)):
        for device in wave:
            numbers[device] = index
    return numbers


def _place(name: str, device: str) -> bytes:
    return hashlib.sha256(f"{name}\0{device}".encode()).digest()
