"""All update systems as one: packages go into the repository, assignments to the driver that each device's fleet names.

Implements ports.DeliveryReader and ports.DeliveryWriter. Wired by ``cli``.
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Protocol

from edgewright.core.config_drift import RepositoryInspection
from edgewright.core.fleet.routes import Capability, Route
from edgewright.errors import DeliveryError, EdgewrightError
from edgewright.ports import DeliveryReader, DeliveryWriter, Driver, PackageContent
from edgewright_wire.messages import Assignment, Report

AGENT = "agent"


class _Repository(DeliveryReader, DeliveryWriter, Protocol):
    """The published repository of packages, which is the agents' driver, too."""


class RoutedDelivery:
    """One delivery for mixed fleets.

    Args:
        repository: Publishes packages, and reaches agents.
        drivers: The other update systems, by name.
        routes: The way to every device, as is declared now.
    """

    def __init__(
        self, repository: _Repository, drivers: Mapping[str, Driver], routes: Callable[[], Mapping[str, Route]]
    ) -> None:
        self.repository = repository
        self._drivers: Mapping[str, Driver] = {AGENT: repository, **drivers}
        self._routes = routes

    # ── packages ──────────────────────────────────────────────────────────────────────────────────────────────

    def published(self) -> frozenset[str]:
        """As in ports.PackageReader."""
        return self.repository.published()

    def damaged(self) -> Mapping[str, str]:
        """As in ports.PackageReader."""
        return self.repository.damaged()

    def publish(self, packages: Sequence[PackageContent]) -> Mapping[str, EdgewrightError]:
        """As in ports.PackageWriter."""
        return self.repository.publish(packages)

    def refresh(self) -> Sequence[str]:
        """As in ports.PackageWriter."""
        return self.repository.refresh()

    # ── what devices say ──────────────────────────────────────────────────────────────────────────────────────

    def capabilities(self, devices: Collection[str]) -> Mapping[str, Capability]:
        """As in ports.DeviceReader; a device that is in no fleet any more is asked for nothing."""
        found: dict[str, Capability] = {}
        for system, its in self._sorted(devices).items():
            found |= self._driver(system, its).capabilities(its)
        return found

    def assigned(self) -> Mapping[str, int]:
        """As in ports.DeviceReader; of a device that two systems know, the newest."""
        found: dict[str, int] = {}
        for driver in self._drivers.values():
            for device, version in driver.assigned().items():
                found[device] = max(version, found.get(device, 0))
        return found

    def inspect(self, configs: Mapping[str, int], budget: int | None) -> RepositoryInspection:
        """As in ports.DeviceReader."""
        looks = [driver.inspect(configs, budget) for driver in self._drivers.values()]
        assigned: dict[str, tuple[int, str]] = {}
        for look in looks:
            for device, there in look.assigned.items():
                assigned[device] = max(there, assigned.get(device, there))
        return RepositoryInspection(assigned, tuple(flaw for look in looks for flaw in look.flaws))

    def observe(self, known: Mapping[str, int]) -> Sequence[Report]:
        """As in ports.DeviceReader; each device is heard through the system it is reached by alone."""
        said = [(system, report) for system, driver in self._drivers.items() for report in driver.observe(known)]
        if not said:
            return []
        routes = self._routes()
        heard = [
            report
            for system, report in said
            if report.device not in routes or routes[report.device].delivery.type == system
        ]
        return sorted(heard, key=lambda report: report.device)

    def in_inbox(self, known: Mapping[str, int]) -> Sequence[str]:
        """As in ports.DeliveryReader; only of devices that are reached by their agents."""
        devices = self.repository.in_inbox(known)
        routes = self._routes() if devices else {}
        return [device for device in devices if device not in routes or routes[device].delivery.type == AGENT]

    # ── what devices are assigned ─────────────────────────────────────────────────────────────────────────────

    def assign(self, assignments: Sequence[Assignment], configs: Mapping[str, bytes]) -> None:
        """As in ports.DeviceWriter. A device that changed its system is retired from the one before.

        What one system refuses keeps no other from taking its part; the first refusal is raised at the end.
        Configurations that none of the assignments names are put where every system reads them.
        """
        by_device = {assignment.device: assignment for assignment in assignments}
        refused: list[EdgewrightError] = []
        lone = configs.keys() - _configs_of(assignments)
        if lone:
            self.repository.assign([], {digest: configs[digest] for digest in lone})
        for system, devices in self._sorted(by_device).items():
            its = [by_device[device] for device in devices]
            named = _configs_of(its)
            try:
                self._driver(system, devices).assign(its, {d: c for d, c in configs.items() if d in named})
                self._leave_others(system, devices)
            except EdgewrightError as error:
                refused.append(error)
        if refused:
            raise refused[0]

    def cancel(self, devices: Collection[str]) -> None:
        """As in ports.DeviceWriter."""
        for system, its in self._sorted(devices).items():
            self._driver(system, its).cancel(its)

    def retire(self, devices: Sequence[str]) -> None:
        """As in ports.DeviceWriter; from every system that knows a device."""
        for driver in self._drivers.values():
            known = driver.assigned()
            if its := [device for device in devices if device in known]:
                driver.retire(its)

    @contextmanager
    def attend(self, wake: Callable[[], None]) -> Iterator[None]:
        """As in ports.DeviceWriter."""
        with ExitStack() as stack:
            for driver in self._drivers.values():
                stack.enter_context(driver.attend(wake))
            yield

    def _leave_others(self, system: str, devices: Collection[str]) -> None:
        for other, driver in self._drivers.items():
            if other != system and (known := driver.assigned()) and (left := sorted(known.keys() & set(devices))):
                driver.retire(left)

    def _sorted(self, devices: Collection[str]) -> Mapping[str, Sequence[str]]:
        """Sort devices by system; those of no fleet go with agents, which is where devices were before."""
        routes = self._routes()
        found: dict[str, list[str]] = {}
        for device in devices:
            route = routes.get(device)
            found.setdefault(route.delivery.type if route is not None else AGENT, []).append(device)
        return found

    def _driver(self, system: str, devices: Collection[str]) -> Driver:
        driver = self._drivers.get(system)
        if driver is None:
            few = ", ".join(sorted(devices)[:3])
            raise DeliveryError(
                f"there is no driver for {system}, which reaches {few}", hint="change spec.delivery.type"
            )
        return driver


def _configs_of(assignments: Iterable[Assignment]) -> set[str]:
    return {model.config.digest for each in assignments for model in each.models if model.config is not None}
