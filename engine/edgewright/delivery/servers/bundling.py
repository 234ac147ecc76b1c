"""What a server is given to hand on to devices. Bundles are built by whoever knows their format; wired by ``cli``."""

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from edgewright.delivery.evidence import nonce_of
from edgewright_schemas.delivery import Delivery
from edgewright_wire.canonical import digest_json, hex_of
from edgewright_wire.messages import ModelAssignment

_SHORT = 12


@dataclass(frozen=True, slots=True)
class Order:
    """What a bundle has devices do; the same for all devices whose fleets say the same."""

    model: str
    target: ModelAssignment | None
    """What to install; None: remove the model."""
    delivery: Delivery
    """How the fleet's devices install: format, root, installer."""
    attempt: int = 1
    """Which time it is that a device is given the same."""

    @property
    def version(self) -> str:
        """Name what is ordered, the attempt apart: the release, and a digest of everything that makes the bundle."""
        content = self.target.model_dump(mode="json", by_alias=True, exclude_none=True) if self.target else None
        way = self.delivery.model_dump(mode="json", by_alias=True, exclude_none=True)
        digest = hex_of(digest_json({"model": self.model, "target": content, "way": way}))[:_SHORT]
        release = self.target.release if self.target is not None else "removed"
        return f"{''.join(c for c in release if c.isascii() and c.isalnum())[:_SHORT] or 'release'}-{digest}"

    @property
    def name(self) -> str:
        """Name it in full, for whom names are one flat list."""
        attempt = f"-{self.attempt}" if self.attempt > 1 else ""
        return f"{self.model[:100]}-{self.version}{attempt}"

    @property
    def nonce(self) -> str:
        """What its evidence carries."""
        attempt = f"-{self.attempt}" if self.attempt > 1 else ""
        return nonce_of(self.model, self.target) + attempt


class Bundler(Protocol):
    """Builds bundles."""

    def build(self, order: Order) -> Path:
        """Build one, or find it built; the file stays for as long as the caller reads it.

        Its ending says what it is: ``.swu``, ``.raucb``, ``.mender``. A Mender artifact is called ``order.name``.

        Raises:
            DeliveryError: It cannot be built from what is published and declared.
            DeliveryUnavailable, StorageFull: It cannot be built now.
        """
        ...
