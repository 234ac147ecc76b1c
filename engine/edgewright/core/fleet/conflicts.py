"""Conflicts of devices: two rollouts that claim one for the same model, two fleets that reach it in different ways.

What the repository alone causes is a spec error. What needs the labels of an enrolled device concerns that device: it
keeps what it has, and is held back from the rollouts. Called by the planner, ``reconcile.rollouts`` and ``services``.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from edgewright.core.fleet.membership import Labels, members
from edgewright.core.fleet.routes import conflicts_of_routes, find_routes
from edgewright.core.snapshot import Snapshot
from edgewright_schemas.delivery import SshSettings
from edgewright_schemas.fleet import SshHost
from edgewright_schemas.rollout import Rollout

CONFLICT = "Conflict"
_NONE: Mapping[str, Labels] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Claim:
    """Two rollouts that claim one model on one device."""

    device: str
    model: str
    one: str
    """The first rollout."""
    other: str
    """The later rollout, by name."""


@dataclass(frozen=True, slots=True)
class DeviceConflict:
    """Conflict of one device."""

    message: str
    rollouts: frozenset[str]
    """Names of the rollouts that it is held back from."""


def find_claims(desired: Snapshot, enrolled: Mapping[str, Labels]) -> list[Claim]:
    """Find the devices that two rollouts claim for one model, in order of model, rollout and device."""
    by_model: dict[str, list[Rollout]] = {}
    for rollout in desired.rollouts():
        by_model.setdefault(rollout.spec.model, []).append(rollout)
    return [
        claim
        for model, rollouts in by_model.items()
        if len(rollouts) > 1
        for claim in _claims(desired, enrolled, model, rollouts)
    ]


def _claims(desired: Snapshot, enrolled: Mapping[str, Labels], model: str, rollouts: list[Rollout]) -> Iterator[Claim]:
    first: dict[str, str] = {}
    for rollout in rollouts:
        fleet = desired.fleet(rollout.spec.fleet)
        name = rollout.metadata.name
        for device in members(desired, fleet, enrolled) if fleet else ():
            if (one := first.setdefault(device, name)) != name:
                yield Claim(device, model, one, name)


def find_conflicts(desired: Snapshot, enrolled: Mapping[str, Labels]) -> dict[str, DeviceConflict]:
    """Find the conflicts that the repository alone does not cause, by device."""
    if not enrolled:
        return {}
    found: dict[str, DeviceConflict] = {}
    spec_errors = {(claim.device, claim.model) for claim in find_claims(desired, _NONE)}
    for claim in find_claims(desired, enrolled):
        if (claim.device, claim.model) not in spec_errors:
            names = f"rollout/{claim.one} and rollout/{claim.other}"
            message = f"its labels put it into the fleets of {names}, which both claim model/{claim.model}"
            _add(found, claim.device, message, {claim.one, claim.other})
    of_specs = conflicts_of_routes(desired, _NONE)
    for device, (one, other) in conflicts_of_routes(desired, enrolled).items():
        if device not in of_specs:
            rollouts = {r.metadata.name for r in desired.rollouts() if r.spec.fleet in {one, other}}
            message = f"its labels put it into fleet/{one} and fleet/{other}, which reach it in different ways"
            _add(found, device, message, rollouts)
    return found


def _add(found: dict[str, DeviceConflict], device: str, message: str, rollouts: set[str]) -> None:
    before = found.get(device)
    if before is not None:
        message, rollouts = f"{before.message}; {message}", {*before.rollouts, *rollouts}
    found[device] = DeviceConflict(message, frozenset(rollouts))


@dataclass(frozen=True, slots=True)
class SharedHost:
    """Two devices of the repository that are one machine."""

    one: str
    other: str
    fleet: str
    """Of the later device."""
    place: str
    """Host, port and folder, for messages."""


def find_shared_hosts(desired: Snapshot) -> list[SharedHost]:
    """Find devices that are reached over SSH at one place: each would be given what the other is assigned."""
    found: list[SharedHost] = []
    first: dict[tuple[str, int, str, str], str] = {}
    for device, route in sorted(find_routes(desired, _NONE).items()):
        if route.delivery.type != "ssh":
            continue
        fleet, own = route.delivery.ssh or SshSettings(), route.device.ssh or SshHost()
        host, port, jump = (own.host or device).lower(), own.port or fleet.port, own.jump or fleet.jump or ""
        one = first.setdefault((host, port, jump, route.delivery.root), device)
        if one != device:
            through = f" through {jump}" if jump else ""
            found.append(SharedHost(one, device, route.fleet, f"{host}:{port}{through}, folder {route.delivery.root}"))
    return found
