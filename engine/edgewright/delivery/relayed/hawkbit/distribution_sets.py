"""Software modules and distribution sets of a hawkBit: one module for each bundle, and the sets that contain it.

Both are named by their content, so that work interrupted by a crash is found and resumed. Used by ``deployments``.
"""

from collections.abc import Callable

from edgewright.delivery.relayed.bundling import Bundler, Order
from edgewright.delivery.relayed.hawkbit.api import Hawkbit
from edgewright.delivery.relayed.hawkbit.options import Kinds
from edgewright.errors import DeliveryError

_MOST_NAMES = 5
_LONGEST_NAME = 128


class DistributionSets:
    """Finds or creates the sets that devices are assigned."""

    def __init__(self, hawkbit: Hawkbit, bundler: Bundler, kinds: Kinds) -> None:
        self._hawkbit = hawkbit
        self._bundler = bundler
        self._kinds = kinds
        self._modules: dict[tuple[str, str], int] = {}
        self._sets: dict[tuple[str, str, int], int] = {}

    def set_of(self, order: Order) -> int:
        """Find the distribution set for an order, or make it and what it needs.

        Raises:
            DeliveryError: The bundle cannot be built, or hawkBit refuses it.
            DeliveryUnavailable, StorageFull: Not now.
        """
        key = (order.model, order.version, order.attempt)
        if key not in self._sets:
            name, description, kind = name_of(order), _description(order), self._kinds.distribution_set
            module = self._module(order)
            version = order.version if order.attempt == 1 else f"{order.version}.{order.attempt}"
            self._sets[key] = self._find_or_create(
                f"distribution set {name}",
                version,
                lambda version: self._hawkbit.distribution_set(name, version),
                lambda version: self._hawkbit.create_set(name, version, kind, module, description),
            )
        return self._sets[key]

    def forget(self) -> None:
        """Clear the cached ids, because one was stale."""
        self._modules.clear()
        self._sets.clear()

    def _module(self, order: Order) -> int:
        """Find the software module with the bundle, or make it and upload."""
        key = (order.model, order.version)
        if key not in self._modules:
            name, description, kind = name_of(order), _description(order), self._kinds.module
            module = self._find_or_create(
                f"software module {name}",
                order.version,
                lambda version: self._hawkbit.module(name, version),
                lambda version: self._hawkbit.create_module(name, version, kind, description),
            )
            if not self._hawkbit.artifacts(module):
                bundle = self._bundler.build(order)
                self._hawkbit.upload(module, bundle, f"{name}-{order.version}{bundle.suffix}")
            self._modules[key] = module
        return self._modules[key]

    def _find_or_create(
        self, what: str, version: str, find: Callable[[str], int | None], create: Callable[[str], int | None]
    ) -> int:
        """Find or create. What was deleted keeps its name in hawkBit, and is not found: then another name is taken."""
        for number in range(1, _MOST_NAMES + 1):
            name = version if number == 1 else f"{version}+{number}"
            for attempt in (find, create, find):
                if (id_ := attempt(name)) is not None:
                    return id_
        raise DeliveryError(
            f"{self._hawkbit.name} has no {what} of version {version}, and does not let one be made",
            hint="it was deleted there, time and again; purge it in the hawkBit's database, or release something else",
        )


def name_of(order: Order) -> str:
    """Name of the software module and the distribution set: the model's."""
    return order.model[:_LONGEST_NAME]


def _description(order: Order) -> str:
    if order.target is None:
        return f"removes the model {order.model}; made by edgewright"
    return f"release {order.target.release}, package {order.target.package.digest}; made by edgewright"
