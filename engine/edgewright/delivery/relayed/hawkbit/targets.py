"""Targets of a hawkBit: find or create them for devices, and read when devices last polled. Used by ``sync``."""

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime

from edgewright.core.fleet import twins
from edgewright.core.fleet.routes import Route
from edgewright.core.fleet.twins import Twin
from edgewright.delivery.relayed.hawkbit.action_notes import TARGET
from edgewright.delivery.relayed.hawkbit.api import Hawkbit, among
from edgewright.delivery.relayed.job_notes import POLLED_AT
from edgewright.delivery.relayed.twin_writes import TwinWrites, asked, chunks, noted

_NAMED_AT_ONCE = 100
"""Devices in one query: an address may only be so long."""
_OVERLAP = 60_000
"""Milliseconds by which the clocks of one hawkBit's nodes may differ."""


class Targets:
    """Matches devices and targets."""

    def __init__(self, hawkbit: Hawkbit, writes: TwinWrites, clock: Callable[[], datetime], *, create: bool) -> None:
        self._hawkbit = hawkbit
        self._writes = writes
        self._clock = clock
        self._may_create = create
        self._polled: dict[str, int] = {}
        """When devices last polled, where the twin was not written for it."""

    def match(self, routes: Mapping[str, Route], current: Mapping[str, Twin]) -> dict[str, Twin]:
        """Find or create the targets of devices; return the twins that changed."""
        new = [device for device in routes if device not in current or not current[device].memo.get(TARGET)]
        changed: dict[str, Twin] = {}
        for devices in chunks(new, _NAMED_AT_ONCE):
            existing = self._existing(devices)
            missing = [device for device in devices if device not in existing]
            if missing and self._may_create:
                existing |= self._create(missing)
            changed |= self._writes.change([each for each in devices if each in existing], _matched)
            changed |= self._writes.change([each for each in devices if each not in existing], self._unknown)
        return changed

    def read_polls(self, routes: Mapping[str, Route], current: Mapping[str, Twin]) -> dict[str, Twin]:
        """Read which devices have polled hawkBit since the last pass; return the twins that changed."""
        last = {
            device: max(int(twin.memo.get(POLLED_AT, 0)), self._polled.get(device, 0))
            for device, twin in current.items()
            if device in routes
        }
        now = self._clock()
        since = min(max(last.values(), default=0), int(now.timestamp() * 1000)) - _OVERLAP
        polled = {
            target.id: target.asked_at
            for target in self._hawkbit.targets(f"lastControllerRequestAt=ge={max(since, 1)}")
            if target.asked_at > last.get(target.id, target.asked_at)
        }
        self._polled |= polled

        def work(twin: Twin) -> Twin:
            at = polled[twin.device]
            kind = routes[twin.device].device.labels.get("class", "")
            seen = asked(twin, datetime.fromtimestamp(at / 1000, UTC), now, device_class=kind)
            return twin if seen == twin else noted(seen, **{POLLED_AT: at})

        return self._writes.change(polled, work)

    def _existing(self, devices: Sequence[str]) -> set[str]:
        wanted = set(devices)
        return {target.id for target in self._hawkbit.targets(among("controllerId", devices)) if target.id in wanted}

    def _create(self, devices: Sequence[str]) -> set[str]:
        """Create targets; return those that exist then, though somebody else may be creating them too."""
        if self._hawkbit.create_targets(devices):
            return set(devices)
        for device in devices:
            self._hawkbit.create_targets([device])
        return self._existing(devices)

    def _unknown(self, twin: Twin) -> Twin:
        return twins.with_problem(twin, "UnknownDevice", f"{self._hawkbit.name} has no target with this device's id")


def _matched(twin: Twin) -> Twin:
    matched = noted(twin, **{TARGET: True})
    return twins.with_problem(matched, "", "") if twin.reason == "UnknownDevice" else matched
