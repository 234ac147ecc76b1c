"""The status of devices: those of a fleet, or every device that a fleet reaches. Called by ``devices list`` and
``status --devices``.
"""

from collections.abc import Iterable, Iterator, Mapping
from itertools import islice

from edgewright.core.address import Address
from edgewright.core.fleet.conflicts import CONFLICT, find_conflicts
from edgewright.core.fleet.enrollment import IdentityStatus
from edgewright.core.fleet.membership import members
from edgewright.core.fleet.routes import find_routes
from edgewright.core.fleet.twins import Twin
from edgewright.core.rollout.state import RolloutState
from edgewright.core.snapshot import Snapshot
from edgewright.core.status.devices import DeviceStatus, KnownDevices
from edgewright.core.suggestions import suggestion
from edgewright.errors import EdgewrightError
from edgewright.ports import Identity
from edgewright.services.environment import DeviceEnvironment
from edgewright_schemas.fleet import Fleet
from edgewright_wire.messages import Report

Labels = Mapping[str, str]
Member = tuple[str, str | None, Labels]
"""A device, the fleet it is listed with and its labels there."""
PAGE = 500
"""Devices whose assignments and reports are in memory together."""
_RETIRED = "Retired: its keys are retired; docs/how-to/enroll-devices.md says how to admit it again"


def list_devices(environment: DeviceEnvironment, fleet: str | None = None) -> Iterator[DeviceStatus]:
    """List the devices of all fleets, or of one, in order of fleet and device.

    A device of several fleets is listed with each. Devices that report and are in no fleet come last: most likely
    their ids are written differently in an inventory.

    Raises:
        EdgewrightError: There is no such fleet.
        SpecError, SourceError, StateError, DeliveryUnavailable: Something cannot be read.
    """
    desired = environment.source.snapshot()
    known = _known(environment, desired)
    sequences = environment.state.report_sequences()
    fresh = _fresh_reports(environment, desired, sequences)
    fleets = _fleets(desired, environment.state.enrolled())
    if fleet is not None and fleet not in fleets:
        raise EdgewrightError(f"there is no fleet/{fleet}", hint=suggestion(fleet, fleets))
    listed: list[Member] = [
        (device, name, labels)
        for name, devices in fleets.items()
        if fleet in {None, name}
        for device, labels in devices.items()
    ]
    if fleet is None:
        enrolled = environment.state.enrolled()
        counted = {device for devices in fleets.values() for device in devices}
        others = {*sequences, *fresh} - counted
        listed += [(device, None, enrolled.get(device, {})) for device in sorted(others)]
    return _statuses(environment, known, fresh, listed)


def devices_in_rollouts(environment: DeviceEnvironment) -> Iterator[DeviceStatus]:
    """List each device that a fleet reaches once, in order of rollout, wave, update system and device.

    Raises:
        SpecError, SourceError, StateError, DeliveryError, DeliveryUnavailable: Something cannot be read.
    """
    desired = environment.source.snapshot()
    environment.delivery(desired).published()
    known = _known(environment, desired)
    order = sorted((*known.place(device), route.delivery.type, device) for device, route in known.routes.items())
    routes = [known.routes[device] for *_, device in order]
    listed: list[Member] = [(route.device.id, route.fleet, route.device.labels) for route in routes]
    fresh = _fresh_reports(environment, desired, environment.state.report_sequences())
    return _statuses(environment, known, fresh, listed)


def _statuses(
    environment: DeviceEnvironment, known: KnownDevices, fresh: Mapping[str, Report], listed: Iterable[Member]
) -> Iterator[DeviceStatus]:
    """Determine the status of devices, a page at a time: messages of ten thousand take much memory."""
    remaining = iter(listed)
    while page := list(islice(remaining, PAGE)):
        devices = [device for device, _, _ in page]
        assignments, reports = environment.state.assignments(devices), environment.state.reports(devices)
        for device, fleet, labels in page:
            entry = assignments.get(device)
            report = fresh.get(device) or reports.get(device)
            yield known.status(device, fleet, labels, entry.assignment if entry else None, report)


def _fresh_reports(
    environment: DeviceEnvironment, desired: Snapshot, sequences: Mapping[str, int]
) -> Mapping[str, Report]:
    """Return the reports that arrived and are not in the store yet, whose newest have these sequences."""
    return {report.device: report for report in environment.delivery(desired).observe(sequences)}


def _known(environment: DeviceEnvironment, desired: Snapshot) -> KnownDevices:
    enrolled = environment.state.enrolled()
    conflicts = find_conflicts(desired, enrolled).items()
    return KnownDevices(
        routes=find_routes(desired, enrolled),
        rollouts=_rollouts(environment, desired),
        problems={
            **find_problems(environment.twins.twins(), environment.identities.identities()),
            **{device: f"{CONFLICT}: {conflict.message}" for device, conflict in conflicts},
        },
    )


def _fleets(desired: Snapshot, enrolled: Mapping[str, Labels]) -> dict[str, Mapping[str, Labels]]:
    documents = (resource.document for resource in desired.resources.values())
    return {each.metadata.name: members(desired, each, enrolled) for each in documents if isinstance(each, Fleet)}


def _rollouts(environment: DeviceEnvironment, desired: Snapshot) -> dict[str, tuple[str, RolloutState]]:
    found = {}
    for rollout in desired.rollouts():
        state = environment.state.rollout(Address("rollout", rollout.metadata.name))
        if state is not None:
            found[rollout.metadata.name] = (rollout.spec.model, state)
    return found


def find_problems(twins: Iterable[Twin], identities: Iterable[Identity]) -> Mapping[str, str]:
    """Find what no report says, by device: why devices without our agent cannot be reached, and retired devices."""
    found = {twin.device: f"{twin.reason}: {twin.message}" for twin in twins if twin.reason}
    keys: dict[str, set[IdentityStatus]] = {}
    for identity in identities:
        keys.setdefault(identity.device, set()).add(identity.status)
    retired = [d for d, its in keys.items() if IdentityStatus.RETIRED in its and IdentityStatus.ACCEPTED not in its]
    return found | dict.fromkeys(retired, _RETIRED)
