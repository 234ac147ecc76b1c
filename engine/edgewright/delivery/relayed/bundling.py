"""Orders for bundles, and the port that builds them. Implemented in ``delivery.bundles``; wired by ``wiring``."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from edgewright.delivery.evidence import nonce_of
from edgewright.errors import DeliveryError, EdgewrightError, Transient
from edgewright_schemas.delivery import Delivery
from edgewright_wire.canonical import digest_json, hex_of
from edgewright_wire.messages import ModelAssignment

_SHORT = 12


@dataclass(frozen=True, slots=True)
class Order:
    """The content of a bundle; equal for all devices of fleets with equal settings."""

    model: str
    target: ModelAssignment | None
    """What to install; None: remove the model."""
    delivery: Delivery
    """How the fleet's devices install: format, root, installer."""
    recipe: str = ""
    """Identifies the other inputs of the bundle, as returned by Bundler."""
    attempt: int = 1
    """Number of the attempt to deliver the same to a device, from 1."""

    @property
    def version(self) -> str:
        """Version without the attempt: the release, and a digest of everything that makes the bundle."""
        content = self.target.model_dump(mode="json", by_alias=True, exclude_none=True) if self.target else None
        made = {"model": self.model, "target": content, "recipe": self.recipe, **_way(self.delivery)}
        digest = hex_of(digest_json(made))[:_SHORT]
        release = self.target.release if self.target is not None else "removed"
        return f"{''.join(c for c in release if c.isascii() and c.isalnum())[:_SHORT] or 'release'}-{digest}"

    @property
    def name(self) -> str:
        """Full name, for servers whose names are one flat list."""
        attempt = f"-{self.attempt}" if self.attempt > 1 else ""
        return f"{self.model[:100]}-{self.version}{attempt}"

    @property
    def nonce(self) -> str:
        """The nonce that its evidence carries."""
        attempt = f"-{self.attempt}" if self.attempt > 1 else ""
        return nonce_of(self.model, self.target) + attempt


def _way(delivery: Delivery) -> dict[str, Any]:
    """Return the fleet's settings that go into a bundle; the server's address is not among them."""
    way: dict[str, Any] = {"root": delivery.root, "installer": delivery.installer, "proof": delivery.proves}
    if delivery.hawkbit is not None:
        way["bundle"] = delivery.hawkbit.bundle.model_dump(mode="json", by_alias=True)
    if delivery.mender_server is not None:
        way |= {"deviceType": delivery.mender_server.device_type, "module": delivery.mender_server.module}
    return way


class Bundler(Protocol):
    """Builds bundles."""

    def recipe(self, delivery: Delivery) -> str:
        """Return an identifier of the bundle's other inputs: a template's content, the signing key.

        Raises:
            DeliveryError: Something of it is missing.
            DeliveryUnavailable: It cannot be read now.
        """
        ...

    def build(self, order: Order) -> Path:
        """Build one, or return the cached file; it stays for as long as the caller reads it.

        The suffix gives its format: ``.swu``, ``.raucb``, ``.mender``. A Mender artifact is called ``order.name``.

        Raises:
            DeliveryError: It cannot be built from what is published and declared.
            DeliveryUnavailable, StorageFull: It cannot be built now.
        """
        ...


class Recipes:
    """The recipes of one pass: each is looked up once, and a failure does not affect the others."""

    def __init__(self, bundler: Bundler) -> None:
        self._bundler = bundler
        self._found: dict[str, str | None] = {}
        self._failed: EdgewrightError | None = None

    def find(self, delivery: Delivery) -> str | None:
        """Find the recipe of a fleet; None where it fails."""
        key = delivery.model_dump_json()
        if key not in self._found:
            try:
                self._found[key] = self._bundler.recipe(delivery)
            except EdgewrightError as error:
                self._found[key], self._failed = None, error
        return self._found[key]

    def check(self) -> None:
        """Raise the last failure, once everything else is done.

        Raises:
            DeliveryError: The last that failed.
            Transient: It may succeed later.
        """
        match self._failed:
            case None:
                return
            case DeliveryError() | Transient() as error:
                raise error
            case error:
                raise DeliveryError(error.message, hint=error.hint) from error
