"""The way to every device, as is declared now; made for drivers and device APIs by ``systems`` and ``desks``."""

import threading
from collections.abc import Callable, Mapping

from edgewright.core.fleet.routes import Labels, Route, find_routes
from edgewright.core.snapshot import Snapshot
from edgewright_schemas.fleet import Fleet


class RouteTable:
    """Looked up often, and computed only when what is declared or enrolled has changed. Safe from several threads.

    Args:
        revision: Names what is in force now; None: nothing is, and there are no devices.
        snapshot: Reads it.
        enrolled: Labels of enrolled devices, by id; asked only where a fleet chooses among them.
    """

    def __init__(
        self,
        revision: Callable[[], str | None],
        snapshot: Callable[[], Snapshot],
        enrolled: Callable[[], Mapping[str, Labels]],
    ) -> None:
        self._revision = revision
        self._snapshot = snapshot
        self._enrolled = enrolled
        self._lock = threading.Lock()
        self._desired: Snapshot | None = None
        self._asks = False
        self._known: Mapping[str, Labels] | None = None
        self._routes: Mapping[str, Route] = {}

    def __call__(self) -> Mapping[str, Route]:
        """The routes, by device."""
        with self._lock:
            revision = self._revision()
            if revision is None:
                return {}
            if self._desired is None or self._desired.revision != revision:
                self._desired = self._snapshot()
                documents = [resource.document for resource in self._desired.resources.values()]
                self._asks = any(isinstance(d, Fleet) and d.spec.selector is not None for d in documents)
                self._known = None
            enrolled = dict(self._enrolled()) if self._asks else {}
            if enrolled != self._known:
                self._known = enrolled
                self._routes = find_routes(self._desired, enrolled)
            return self._routes


def fixed_routes(desired: Snapshot, enrolled: Callable[[], Mapping[str, Labels]]) -> RouteTable:
    """The routes of one snapshot."""
    return RouteTable(lambda: desired.revision, lambda: desired, enrolled)
