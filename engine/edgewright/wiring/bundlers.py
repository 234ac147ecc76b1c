"""Bundles for the drivers that push through a server of somebody's own. Implements delivery.servers.bundling.Bundler.

Made by ``systems``: what these drivers hand on is built by those that serve the same devices directly.
"""

from pathlib import Path

from edgewright.delivery.bundles.cache import BundleCache
from edgewright.delivery.bundles.descriptors import load_template
from edgewright.delivery.bundles.maker import BundleMaker
from edgewright.delivery.bundles.orders import BundleOrder, ReadFile
from edgewright.delivery.identity.credentials import BUNDLES, load_bundle_keys
from edgewright.delivery.relayed.bundling import Order
from edgewright.delivery.repository.depot import Depot
from edgewright.delivery.served.mender import orders as mender
from edgewright.delivery.served.mender.artifacts import write_artifact
from edgewright.errors import DeliveryError
from edgewright_schemas.delivery import Delivery
from edgewright_wire.canonical import canonical_json, digest_bytes, digest_json, hex_of

_ARTIFACTS = "artifacts"


class SoftwareBundler:
    """``.swu`` and RAUC bundles, for hawkBit.

    Args:
        maker: Makes them.
        keys: Folder of the keys; ``bundles.pem`` signs.
        read: Reads templates that fleets name.
    """

    def __init__(self, maker: BundleMaker, keys: Path, read: ReadFile) -> None:
        self._maker = maker
        self._keys = keys
        self._read = read

    def recipe(self, delivery: Delivery) -> str:
        """As in Bundler."""
        assert delivery.hawkbit is not None  # the schema asks for it
        template = load_template(delivery.hawkbit.bundle, self._read)
        return digest_json({"template": template[1], "signer": _signer(self._keys)})

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

    def recipe(self, delivery: Delivery) -> str:
        """As in Bundler."""
        return _signer(self._keys)

    def build(self, order: Order) -> Path:
        """As in Bundler."""
        settings = order.delivery.mender_server
        assert settings is not None  # the schema asks for it
        wanted = mender.MenderOrder(order.model, order.target, order.delivery.root, order.nonce)
        artifact = mender.compose_artifact(wanted, order.name, settings, self._depot)
        key = hex_of(
            digest_bytes(canonical_json({"name": order.name, "nonce": order.nonce, "signer": _signer(self._keys)}))
        )

        def build(path: Path) -> None:
            with path.open("xb") as file:
                for piece in write_artifact(artifact, load_bundle_keys(self._keys).key).read():
                    file.write(piece)

        return self._cache.get(key, f"{order.name}.mender", build).path


def _signer(keys: Path) -> str:
    """Name who signs.

    Raises:
        DeliveryError: The certificate cannot be read.
    """
    certificate = keys / f"{BUNDLES}.crt"
    try:
        return digest_bytes(certificate.read_bytes())
    except OSError as error:
        raise DeliveryError(
            f"cannot read the certificate {certificate}: {error.strerror}",
            hint="edgewright init REPOSITORY --keys-only makes it, with the --state and --env that are used here",
        ) from error
