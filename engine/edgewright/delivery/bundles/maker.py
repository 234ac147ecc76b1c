"""Makes the bundle of an order, or finds it. Called by the drivers whose devices have SWUpdate or RAUC."""

from collections.abc import Callable, Collection
from pathlib import Path

from edgewright.delivery.bundles.cache import BuiltBundle, BundleCache
from edgewright.delivery.bundles.descriptors import template_of
from edgewright.delivery.bundles.orders import BundleOrder, ReadFile, files_of, key_of
from edgewright.delivery.identity.credentials import BUNDLES, load_bundle_keys
from edgewright.delivery.repository.depot import Depot

_FOLDER = "signed"


class BundleMaker:
    """Bundles of one environment.

    Args:
        cache: A folder for what is built; others may keep theirs there, too.
        keys: Folder of the keys; ``bundles.pem`` signs.
        depot: What is published.
        read: Reads templates that fleets name.
        needed: Keys of bundles that devices have been told of.
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
        """Make a bundle, unless it is there.

        Raises:
            DeliveryError: What is ordered is not published, a key is missing, the fleet's template is wrong, or the
                program that builds such bundles is not here.
            DeliveryUnavailable, StorageFull: What is published cannot be read, or the bundle not be written.
        """
        template = template_of(order.bundle, self._read)
        files = files_of(order, self._depot)
        key = key_of(order, files, template[1], self._keys / f"{BUNDLES}.crt")

        def build(path: Path) -> None:
            signer = load_bundle_keys(self._keys)
            if order.bundle.format == "swu":
                from edgewright.delivery.bundles.swu import write_swu as write
            else:
                from edgewright.delivery.bundles.raucb import write_rauc as write
            write(path, order, files, template, signer)

        return self._cache.get(key, order.file_name, build, self._needed)
