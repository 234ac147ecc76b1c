"""Bundles for the drivers that push through a server of somebody's own. Implements delivery.servers.bundling.Bundler.

Made by ``systems``: what these drivers hand on is built by those that serve the same devices directly.
"""

from pathlib import Path

from edgewright.delivery.bundles.caching import BundleCache
from edgewright.delivery.bundles.making import BundleMaker
from edgewright.delivery.bundles.orders import BundleOrder
from edgewright.delivery.credentials import BUNDLES, load_bundle_keys
from edgewright.delivery.depot import Depot
from edgewright.delivery.mender import orders as mender
from edgewright.delivery.mender.artifacts import write_artifact
from edgewright.delivery.servers.bundling import Order
from edgewright.errors import DeliveryError
from edgewright_wire.canonical import canonical_json, digest_bytes, hex_of

_ARTIFACTS = "artifacts"


class SoftwareBundler:
    """``.swu`` and RAUC bundles, for hawkBit."""

    def __init__(self, maker: BundleMaker) -> None:
        self._maker = maker

    def build(self, order: Order) -> Path:
        """As in Bundler."""
        return self._maker.make(BundleOrder(order.model, order.target, order.delivery, order.nonce)).path


class ArtifactBundler:
    """Mender artifacts, for Mender's server.

    Args:
        cache: Folder for what is built.
        keys: Folder of the keys; ``bundles.pem`` signs.
        depot: What is published.
    """

    def __init__(self, cache: Path, keys: Path, depot: Depot) -> None:
        self._cache = BundleCache(cache / _ARTIFACTS)
        self._keys = keys
        self._depot = depot

    def build(self, order: Order) -> Path:
        """As in Bundler."""
        settings = order.delivery.mender_server
        assert settings is not None  # the schema asks for it
        wanted = mender.Order(order.model, order.target, order.delivery.root, order.nonce)
        artifact = mender.compose(wanted, order.name, settings, self._depot)
        signer = self._keys / f"{BUNDLES}.crt"
        try:
            certificate = digest_bytes(signer.read_bytes())
        except OSError as error:
            raise DeliveryError(
                f"cannot read the certificate {signer}: {error.strerror}",
                hint="edgewright init REPOSITORY --keys-only makes it, with the --state and --env that are used here",
            ) from error
        key = hex_of(digest_bytes(canonical_json({"name": order.name, "nonce": order.nonce, "signer": certificate})))

        def build(path: Path) -> None:
            with path.open("xb") as file:
                for piece in write_artifact(artifact, load_bundle_keys(self._keys).key).read():
                    file.write(piece)

        return self._cache.get(key, f"{order.name}.mender", build).path
