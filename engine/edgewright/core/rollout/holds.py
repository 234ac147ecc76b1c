"""Devices that are held back from a rollout: they keep what they have, are in no wave, and give no verdict.

Called by ``machine`` and ``membership``; ``reconcile.rollouts`` says which devices, by their views.
"""

from collections.abc import Mapping, Set
from dataclasses import replace
from datetime import datetime
from types import MappingProxyType

from edgewright.core.rollout.devices import ObservationContext
from edgewright.core.rollout.goal import DeviceView
from edgewright.core.rollout.run import Run
from edgewright.core.rollout.state import IN_FLIGHT, DeviceProgress, DeviceState, Hold

CONFIG_FAILED = "ConfigFailed"
HOLD_ENDED = "HoldEnded"


def hold_back(
    views: Mapping[str, DeviceView],
    reason: str,
    because: Mapping[str, str],
    until: Mapping[str, datetime] = MappingProxyType({}),
) -> Mapping[str, DeviceView]:
    """Hold devices back for a reason; ``because`` says why in words, and ``until`` for how long, by device."""
    held = {
        device: replace(views[device], held=Hold(reason, said, views[device].labels_digest, until.get(device)))
        for device, said in because.items()
        if device in views
    }
    return {**views, **held} if held else views


def follow_holds(run: Run) -> Set[str]:
    """Note the devices that are held back now, and return those that were not before or are no more."""
    run.wakes += [view.held.until for view in run.views.values() if view.held is not None and view.held.until]
    before = run.state.held
    now = {device: view.held for device, view in run.views.items() if view.held is not None}
    if now == before:
        return frozenset()
    for device, hold in now.items():
        if device not in before or before[device].reason != hold.reason:
            run.emit(hold.reason, f"{device} is left as it is: {hold.message}", device)
    for device in before.keys() - now.keys() & run.views.keys():
        run.emit(HOLD_ENDED, f"{device} takes part again", device)
    run.state = replace(run.state, held=now)
    return now.keys() ^ before.keys()


def observe_held(progress: DeviceProgress, hold: Hold, at: ObservationContext) -> DeviceProgress:
    """Leave a device as it is, whatever it says; what was under way goes on when it takes part again."""
    if progress.state not in IN_FLIGHT:
        return progress
    reason, message = (progress.reason, progress.message) if progress.reason else (hold.reason, hold.message)
    return replace(progress, state=DeviceState.DEFERRED, since=at.now, reason=reason, message=message)
