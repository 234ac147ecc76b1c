"""Builds the bundle of an order, unless it is cached. Called by the drivers whose devices have SWUpdate or RAUC."""

from collections.abc import Callable, Collection
from pathlib import Path

from edgewright.delivery.bundles.cache import BuiltBundle, BundleCache
from edgewright.delivery.bundles.descriptors import load_template
from edgewright.delivery.bundles.orders import BundleOrder, ReadFile, bundle_files, bundle_key
from edgewright.delivery.identity.credentials import BUNDLES, load_bundle_keys
from edgewright.delivery.repository.depot import Depot

_FOLDER = "signed"


class BundleMaker:
    """Builds the bundles of one environment.

    Args:
        cache: A folder for built bundles, which other makers may share.
        keys: Folder of the keys; ``bundles.pem`` signs.
        depot: The published packages and configurations.
        read: Reads templates that fleets name.
        needed: Gives the keys of bundles that were offered to devices.
    """

    def __init__(
        self,
        cache: Path,
        keys: Path,
        depot: Depot,
        read: ReadFile,
        needed: Callable[[], Collection[str]] = tuple,
    ) -> None:
        self._cache = BundleCache(cache / _FOLDER)
        self._keys = keys
        self._depot = depot
        self._read = read
        self._needed = needed

    def make(self, order: BundleOrder) -> BuiltBundle:
        """Build a bundle, or return the cached one.

        Raises:
            DeliveryError: The package is not published, a key is missing, the fleet's template is wrong, or the
                program that builds such bundles is not installed.
            DeliveryUnavailable, StorageFull: The package cannot be read, or the bundle cannot be written.
        """
        template = load_template(order.bundle, self._read)
        files = bundle_files(order, self._depot)
        key = bundle_key(order, files, template[1], self._keys / f"{BUNDLES}.crt")

        def build(path: Path) -> None:
            signer = load_bundle_keys(self._keys)
            if order.bundle.format == "swu":
                from edgewright.delivery.bundles.swu import write_swu as write
            else:
                from edgewright.delivery.bundles.raucb import write_rauc as write
            write(path, order, files, template, signer)

        return self._cache.get(key, order.file_name, build, self._needed)
