"""Rollouts and their controls. A control is a request that the running or the next apply takes up."""

from edgewright.core.address import Address
from edgewright.core.rollout import controls
from edgewright.core.rollout.state import ControlAction, Controls, RolloutState
from edgewright.core.suggestions import suggestion
from edgewright.errors import EdgewrightError
from edgewright.services.environment import Environment


def rollout_address(name: str) -> Address:
    """Return the address of a rollout that is named ``NAME`` or ``rollout/NAME``."""
    return Address("rollout", name.removeprefix("rollout/"))


def find_rollout(environment: Environment, name: str) -> RolloutState:
    """Find a rollout that has started.

    Raises:
        EdgewrightError: There is none, with the nearest name.
    """
    address = rollout_address(name)
    found = environment.state.rollout(address)
    if found is None:
        known = [known.name for known in environment.state.rollout_summaries()]
        hint = suggestion(address.name, known) or "no rollout has started yet: edgewright apply"
        raise EdgewrightError(f"{address} has not started", hint=hint)
    return found


def requested_controls(environment: Environment, name: str) -> Controls | None:
    """Return the controls requested of a rollout that no run has taken up yet."""
    return environment.state.requested_controls().get(rollout_address(name))


def requested_change(current: Controls, requested: Controls | None) -> str:
    """Name the change that requested controls make: abort, pause, resume or approval; empty where there is none."""
    if requested is None:
        return ""
    if requested.aborted and not current.aborted:
        return "abort"
    if requested.paused != current.paused:
        return "pause" if requested.paused else "resume"
    return "approval"


def pause(environment: Environment, name: str) -> Address:
    """Assign nothing more until the rollout is resumed. Raises as ``find_rollout``."""
    return _request(environment, name, ControlAction.PAUSE)


def resume(environment: Environment, name: str) -> Address:
    """Resume a rollout. Raises as ``find_rollout``."""
    return _request(environment, name, ControlAction.RESUME)


def approve(environment: Environment, name: str, wave: int | None = None) -> Address:
    """Approve the waves of a rollout up to one (1 is the first); None: the next. Raises as ``find_rollout``."""
    found = find_rollout(environment, name)
    return _request(environment, name, ControlAction.APPROVE, wave or found.wave + 1)


def abort(environment: Environment, name: str) -> Address:
    """Abort a rollout: its devices return, and the release is rejected. Raises as ``find_rollout``."""
    return _request(environment, name, ControlAction.ABORT)


def _request(environment: Environment, name: str, action: ControlAction, wave: int = 0) -> Address:
    address = rollout_address(name)
    found = find_rollout(environment, name)
    pending = environment.state.requested_controls().get(address)
    environment.state.request_controls(address, controls.request(found, pending, action, wave))
    return address
