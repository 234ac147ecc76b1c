"""Base class of drivers for devices without our agent: the delivery port, over the twins of one system.

A driver adds how its protocol is spoken: devices that come by themselves are answered by ``server`` through the driver;
those that have to be gone to are worked on in ``attend``.
"""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime

from edgewright import __version__
from edgewright.core.config_drift import RepositoryInspection
from edgewright.core.fleet import twins
from edgewright.core.fleet.routes import Capability, Proof, Route
from edgewright.delivery.repository.depot import Depot
from edgewright.errors import DeliveryError
from edgewright.ports import TwinStore
from edgewright_wire.canonical import digest_bytes
from edgewright_wire.messages import Assignment, Report

Routes = Callable[[], Mapping[str, Route]]
"""Gives the way to every device, as is declared now."""


class TwinDriver:
    """Implements ports.Driver for one update system.

    Args:
        system: Its name, as in ``delivery.type``.
        store: Keeps the twins.
        depot: What is published.
        routes: The way to every device.
        clock: Gives aware UTC times.
    """

    cancels = True
    removes = True

    def __init__(
        self, system: str, store: TwinStore, depot: Depot, routes: Routes, clock: Callable[[], datetime]
    ) -> None:
        self.system = system
        self.store = store
        self.depot = depot
        self.routes = routes
        self.clock = clock

    # ── DeviceReader ──────────────────────────────────────────────────────────────────────────────────────────

    def capabilities(self, devices: Collection[str]) -> Mapping[str, Capability]:
        """Return the proof required of each device, and what can be done to it."""
        routes = self.routes()
        return {
            device: Capability(routes[device].proof, self.cancels, self.removes)
            for device in devices
            if device in routes
        }

    def assigned(self) -> Mapping[str, int]:
        """Versions of the assignments, by device."""
        twins_ = self.store.twins(self.system)
        return {twin.device: twin.assignment.version for twin in twins_ if twin.assignment is not None}

    def inspect(self, configs: Mapping[str, int], budget: int | None) -> RepositoryInspection:
        """Return the assignments; their files are checked where they are published."""
        assigned = {
            twin.device: (twin.assignment.version, digest_bytes(twin.assignment.to_bytes()))
            for twin in self.store.twins(self.system)
            if twin.assignment is not None
        }
        return RepositoryInspection(assigned)

    def observe(self, known: Mapping[str, int]) -> Sequence[Report]:
        """Return the reports that devices would send, as far as they are news."""
        stand_in = f"edgewright {__version__} {self.system}"
        found = (twins.report_of(twin, stand_in) for twin in self.store.twins(self.system, since=known))
        return [report for report in found if report is not None]

    # ── DeviceWriter ──────────────────────────────────────────────────────────────────────────────────────────

    def assign(self, assignments: Sequence[Assignment], configs: Mapping[str, bytes]) -> None:
        """Note what devices are assigned; they are told when they come, or are gone to.

        Raises:
            DeliveryError: A newer assignment is there, or what one names is not published.
            DeliveryUnavailable, StorageFull, StateUnavailable: It cannot be noted.
        """
        self.depot.keep(configs)
        checked: set[bytes] = set()
        for assignment in assignments:
            for model in assignment.models:
                if (key := model.to_bytes()) not in checked:
                    self.depot.payload(model)
                    checked.add(key)
        given = {assignment.device: assignment for assignment in assignments}
        now, routes = self.clock(), self.routes()

        def work(twin: twins.Twin) -> twins.Twin:
            route = routes.get(twin.device)
            is_asked = route is not None and route.proof is Proof.VERIFIED
            return twins.assign(twins.demand_proof(twin) if is_asked else twin, given[twin.device], now)

        try:
            self.store.change_all(list(given), self.system, work)
        except ValueError as error:
            raise DeliveryError(str(error), hint="another controller has assigned it; apply again") from error

    def cancel(self, devices: Collection[str]) -> None:
        """Call off what devices have not installed yet."""
        self._change_known(devices, lambda twin: twins.cancel(twin, self.clock()))

    def retire(self, devices: Sequence[str]) -> None:
        """Stop managing devices."""
        self._change_known(devices, lambda twin: twins.retire(twin, self.clock()))

    @contextmanager
    def attend(self, wake: Callable[[], None]) -> Iterator[None]:
        """Do nothing: the devices call by themselves."""
        yield

    def _change_known(self, devices: Collection[str], work: Callable[[twins.Twin], twins.Twin]) -> None:
        known = {twin.device for twin in self.store.twins(self.system)}
        self.store.change_all([device for device in devices if device in known], self.system, work)
