"""Devices of an ended rollout that lost what they had: they are assigned it again. Called by ``reconcile.repairs``.

Nothing new is brought into the fleet by this, so it waits for no window and no wave. The device proves itself as after
any assignment, within the rollout's deadline; one that fails is left as failed.
"""

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime

from edgewright.core.rollout.devices import CONFIG_DRIFTED, same_release
from edgewright.core.rollout.state import ENDED, DeviceState, RolloutState


def reassign(state: RolloutState, devices: Mapping[str, tuple[int, str]], now: datetime) -> RolloutState:
    """Note that devices are assigned again what they are assigned already.

    Args:
        state: A rollout that has ended; of any other, nothing is changed.
        devices: By device, the version of the new assignment and what was found, in words.
        now: Aware.
    """
    if state.phase not in ENDED:
        return state
    changed = dict(state.devices)
    for device, (version, found) in devices.items():
        progress = state.devices[device]
        back = not same_release(progress.release, state.release)
        changed[device] = replace(
            progress,
            state=DeviceState.RETURNING if back else DeviceState.OFFERED,
            since=now,
            assigned_at=now,
            after=version - 1,
            confirmed=False,
            reason=CONFIG_DRIFTED,
            message=found,
        )
    return replace(state, devices=changed)
