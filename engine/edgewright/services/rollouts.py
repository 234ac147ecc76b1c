"""Rollouts and their controls. A control is a request that the running or the next apply takes up."""

from dataclasses import dataclass

from edgewright.core.address import Address
from edgewright.core.rollout import controls
from edgewright.core.rollout.state import ENDED, ControlAction, Controls, Phase, RolloutState
from edgewright.core.suggestions import suggestion
from edgewright.errors import EdgewrightError
from edgewright.services.environment import Environment
from edgewright_schemas.rollout import Rollout, RolloutSpec


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


@dataclass(frozen=True, slots=True)
class Approval:
    """An approval that was requested."""

    address: Address
    wave: int
    """Waves up to this one are approved; 1 is the first."""
    under_way: int
    """The wave that has begun already; 0 before the first."""
    is_new: bool = True
    """False: it was approved before, and nothing was requested."""


def approve(environment: Environment, name: str, wave: int | None = None) -> Approval:
    """Approve the waves of a rollout up to one (1 is the first); None: the next that needs it and has not begun.

    Approving once more approves no further wave.

    Raises:
        EdgewrightError: There is no such wave, it has begun already, or it needs no approval; or as ``find_rollout``.
    """
    found = find_rollout(environment, name)
    address = rollout_address(name)
    begun = found.wave + (1 if found.wave_since is not None or found.phase is Phase.SUCCEEDED else 0)
    pending = environment.state.requested_controls().get(address, found.controls)
    spec = _spec(environment, address)
    first = spec.approval.before_wave if spec is not None and spec.approval is not None else 1
    following = max(begun, first - 1) + 1
    chosen = wave or following
    if found.phase not in ENDED and begun < chosen <= pending.approved_before:
        return Approval(address, chosen, begun, is_new=False)
    if problem := _no_approval(spec, chosen, begun) if found.phase not in ENDED else "":
        last = len(spec.waves) if spec is not None else following
        hint = f"the next wave to approve is {following}" if following <= last and spec and spec.approval else ""
        raise EdgewrightError(f"{address}: {problem}", hint=hint)
    return Approval(_request(environment, name, ControlAction.APPROVE, chosen), chosen, begun)


def _no_approval(spec: RolloutSpec | None, wave: int, begun: int) -> str:
    """Return why a wave cannot be approved; empty where it can, as far as the spec is known."""
    if wave <= begun:
        return f"wave {wave} has begun already"
    if spec is None:
        return ""
    if spec.approval is None:
        return "no wave needs approval: its spec has no approval"
    if wave > len(spec.waves):
        return f"no wave {wave} waits for approval: there are {len(spec.waves)} waves"
    if wave < spec.approval.before_wave:
        return f"wave {wave} needs no approval: the first that does is {spec.approval.before_wave}"
    return ""


def _spec(environment: Environment, address: Address) -> RolloutSpec | None:
    """Read the spec of a rollout; None where it cannot be read now, which keeps nobody from approving."""
    try:
        resource = environment.source.snapshot().resources.get(address)
    except EdgewrightError:
        return None
    return resource.document.spec if resource is not None and isinstance(resource.document, Rollout) else None


def abort(environment: Environment, name: str) -> Address:
    """Abort a rollout: its devices return, and the release is rejected. Raises as ``find_rollout``."""
    return _request(environment, name, ControlAction.ABORT)


def _request(environment: Environment, name: str, action: ControlAction, wave: int = 0) -> Address:
    address = rollout_address(name)
    found = find_rollout(environment, name)
    pending = environment.state.requested_controls().get(address)
    environment.state.request_controls(address, controls.request(found, pending, action, wave))
    return address
