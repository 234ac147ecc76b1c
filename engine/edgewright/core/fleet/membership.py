"""Fleet membership: the devices of a fleet, from its selector or inventory."""

from collections.abc import Mapping

from edgewright.core.snapshot import Snapshot
from edgewright_schemas.fleet import Device, Fleet
from edgewright_wire.canonical import digest_json

Labels = Mapping[str, str]


def declared(desired: Snapshot, fleet: Fleet) -> tuple[Device, ...]:
    """List the devices of a fleet's inventory."""
    inventory = fleet.spec.inventory
    if inventory is None:
        return ()
    if isinstance(inventory, str):
        return desired.inventories.get(inventory, ())
    return inventory


def members(desired: Snapshot, fleet: Fleet, enrolled: Mapping[str, Labels]) -> Mapping[str, Labels]:
    """List a fleet's devices with their labels, in order of id.

    The inventory's labels win over those a device enrolled with; the selector, if any, chooses among both.
    """
    found: dict[str, Labels] = dict(enrolled) if fleet.spec.selector else {}
    for device in declared(desired, fleet):
        own = enrolled.get(device.id)
        found[device.id] = {**own, **device.labels} if own else device.labels
    selector = fleet.spec.selector
    if selector:
        found = {id_: labels for id_, labels in found.items() if selector.matches(dict(labels))}
    return dict(sorted(found.items()))


def membership_digest(desired: Snapshot, fleet: Fleet, enrolled_digest: str) -> str:
    """Name a fleet's membership without listing it: equal digests mean equal devices and labels."""
    inventory = fleet.spec.inventory
    listed: object
    if isinstance(inventory, str):
        listed = desired.content.get(inventory, "missing")
    else:
        listed = [device.model_dump(mode="json", exclude_none=True) for device in inventory or ()]
    selector = fleet.spec.selector.match_labels if fleet.spec.selector else None
    return digest_json({"inventory": listed, "selector": selector, "enrolled": enrolled_digest if selector else ""})
