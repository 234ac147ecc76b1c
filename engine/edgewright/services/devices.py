"""Devices by an operator's word: enrolled, or retired."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from edgewright.core.fleet.membership import declared
from edgewright.core.snapshot import Snapshot
from edgewright.errors import EdgewrightError
from edgewright.ports import DeviceWriter
from edgewright.services.environment import DeviceEnvironment, Environment
from edgewright_schemas.fleet import Fleet
from edgewright_wire.names import DEVICE_ID_RULE, is_device_id


def named_environment(environment: Environment) -> Snapshot:
    """Return the desired state of an environment whose devices are spoken of.

    Raises:
        EdgewrightError: There is no repository, or it declares environments and none was named.
    """
    desired = environment.source.snapshot()
    repository = desired.repository()
    if repository is not None and repository.spec.environments and not environment.env:
        names = ", ".join(each.name for each in repository.spec.environments)
        raise EdgewrightError(f"this repository declares environments: {names}", hint="name one with --env")
    return desired


def check_device(device: str) -> None:
    """Check a device id.

    Raises:
        EdgewrightError: It is none.
    """
    if not is_device_id(device):
        raise EdgewrightError(f"{device!r} is not a device id", hint=DEVICE_ID_RULE)


@dataclass(frozen=True, slots=True)
class Enrolled:
    """A device that was enrolled."""

    device: str
    labels: Mapping[str, str]
    labels_before: Mapping[str, str] | None
    """None where it was not enrolled before."""


def enroll(environment: DeviceEnvironment, device: str, labels: Mapping[str, str]) -> Enrolled:
    """Enroll a device, or replace the labels of one that is enrolled.

    Raises:
        EdgewrightError: It is no device id; or as ``named_environment``.
    """
    check_device(device)
    named_environment(environment)
    environment.make_folder()
    before = environment.state.enrolled().get(device)
    environment.state.enroll({device: labels})
    return Enrolled(device, labels, before)


@dataclass(frozen=True, slots=True)
class Retired:
    """A device that was retired."""

    device: str
    keys: Sequence[str]
    """Keys that were revoked."""
    unenrolled: bool
    unassigned: bool
    """Whether its assignment was removed."""
    listed: Sequence[str]
    """Fleets whose inventory lists it still."""


@dataclass(frozen=True, slots=True)
class Retirement:
    """The outcome of retiring devices."""

    devices: Sequence[Retired]
    failure: EdgewrightError | None
    """Why assignments could not be removed."""


def retire(environment: DeviceEnvironment, devices: Sequence[str]) -> Retirement:
    """Retire devices: revoke their keys, end their enrollment, remove their assignments. May be repeated.

    Raises:
        EdgewrightError: One of them is not known; nothing is done then. Or as ``named_environment``.
    """
    desired = named_environment(environment)
    listed = {device: _fleets(desired, device) for device in devices}
    admission, enrolled = environment.admission, environment.state.enrolled()
    delivery = environment.delivery(desired)
    assigned = delivery.assigned()
    unknown = [d for d in devices if not (listed[d] or d in enrolled or d in assigned or admission.identities(d))]
    if unknown:
        raise EdgewrightError(
            f"unknown devices: {', '.join(unknown)}", hint="edgewright devices list shows those that are known"
        )
    keys = {device: tuple(key.key for key in admission.retire(device)) for device in devices}
    environment.state.unenroll(devices)
    failure = _remove_assignments(delivery, [device for device in devices if device in assigned])
    done = failure is None
    return Retirement([Retired(d, keys[d], d in enrolled, d in assigned and done, listed[d]) for d in devices], failure)


def _fleets(desired: Snapshot, device: str) -> tuple[str, ...]:
    """List the fleets whose inventory lists a device."""
    fleets = [resource.document for resource in desired.resources.values() if isinstance(resource.document, Fleet)]
    return tuple(f.metadata.name for f in fleets if any(each.id == device for each in declared(desired, f)))


def _remove_assignments(delivery: DeviceWriter, devices: Sequence[str]) -> EdgewrightError | None:
    """Remove assignments, which calls off what devices have not installed; returns what prevented it."""
    if devices:
        try:
            delivery.retire(devices)
        except EdgewrightError as error:
            return error
    return None
