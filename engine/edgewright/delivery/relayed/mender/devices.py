"""Devices of a Mender server: match them to ours, and read when they were last seen. Used by ``sync``."""

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime

from edgewright.core.fleet import twins
from edgewright.core.fleet.routes import Route
from edgewright.core.fleet.twins import Twin
from edgewright.delivery.relayed.job_notes import POLLED_AT
from edgewright.delivery.relayed.mender.api import PAGE, Device, Mender
from edgewright.delivery.relayed.mender.deployment_notes import MENDER_ID
from edgewright.delivery.relayed.twin_writes import TwinWrites, asked, chunks, noted

_SCOPES = ("inventory", "identity", "tags")
"""Where the attribute with a device's id may be; the first that has it."""
_STATUS, _CHECK_IN = ("identity", "status"), ("system", "check_in_time")
_ACCEPTED = frozenset({"", "accepted"})
_DEVICE_REASONS = frozenset({"UnknownDevice", "AmbiguousDevice", "NotAccepted"})


class Devices:
    """Finds devices, and records when they were seen."""

    def __init__(self, mender: Mender, writes: TwinWrites, attribute: str, clock: Callable[[], datetime]) -> None:
        self._mender = mender
        self._writes = writes
        self._attribute = attribute
        self._clock = clock
        self.seen_at: dict[str, datetime] = {}
        """When devices were last seen."""

    def read(self, routes: Mapping[str, Route]) -> dict[str, Twin]:
        """Look every device up; return the twins that changed."""
        found = self.find(list(routes), [_STATUS, _CHECK_IN])
        now = self._clock()

        def work(twin: Twin) -> Twin:
            problem = self._problem(twin.device, found.get(twin.device, []))
            if problem is not None:
                return twins.with_problem(twin, *problem)
            (device,) = found[twin.device]
            matched = noted(twin, **{MENDER_ID: device.id})
            if matched.reason in _DEVICE_REASONS:
                matched = twins.with_problem(matched, "", "")
            return self._seen(matched, device, routes[twin.device], now)

        changed = self._writes.change(routes, work)
        for id_, devices in found.items():
            if len(devices) == 1 and devices[0].updated_at is not None:
                self.seen_at[id_] = devices[0].updated_at
        return changed

    def find(self, ids: Sequence[str], select: Sequence[tuple[str, str]] = ()) -> dict[str, list[Device]]:
        """Find Mender's devices by our ids; with ``select``, only these attributes of them."""
        found: dict[str, list[Device]] = {}
        for scope in _SCOPES:
            own = (scope, self._attribute)
            missing = [id_ for id_ in ids if id_ not in found]
            for some in chunks(missing, PAGE):
                for device in self._mender.devices(*own, some, [own, *select] if select else []):
                    id_ = device.attributes.get(own)
                    if isinstance(id_, str) and id_ in some:
                        found.setdefault(id_, []).append(device)
        return found

    def _problem(self, device: str, found: Sequence[Device]) -> tuple[str, str] | None:
        if not found:
            words = f"{self._mender.name} has no device whose attribute {self._attribute} is {device}"
            return "UnknownDevice", words
        if len(found) > 1:
            ids = ", ".join(each.id for each in found)
            return "AmbiguousDevice", f"{self._mender.name} has several devices that say they are {device}: {ids}"
        if found[0].status not in _ACCEPTED:
            return "NotAccepted", f"{self._mender.name} has not accepted the device: it is {found[0].status}"
        return None

    def _seen(self, twin: Twin, device: Device, route: Route, now: datetime) -> Twin:
        at = device.updated_at
        last = max(self.seen_at.get(twin.device, _LONG_AGO), _from_ms(twin.memo.get(POLLED_AT, 0)))
        if at is None or _to_ms(at) <= _to_ms(last):
            return twin
        after = asked(twin, at, now, device_class=route.device.labels.get("class", ""))
        return twin if after == twin else noted(after, **{POLLED_AT: _to_ms(at)})


_LONG_AGO = datetime(1970, 1, 1, tzinfo=UTC)


def _to_ms(at: datetime) -> int:
    return int(at.timestamp() * 1000)


def _from_ms(ms: object) -> datetime:
    return datetime.fromtimestamp(ms / 1000, UTC) if isinstance(ms, int) else _LONG_AGO
