"""Orders: the content of a bundle and its effect on a device. Pure but for reading published files.

Many devices get the same bundle: nothing in it names a device or a job.
"""

import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from edgewright.core.fleet.routes import Proof
from edgewright.delivery.evidence import nonce_of
from edgewright.delivery.repository.depot import Depot, PayloadFile
from edgewright.errors import DeliveryError
from edgewright_schemas.delivery import Bundle, DdiSettings, Delivery
from edgewright_wire.canonical import canonical_json, digest_bytes, hex_of
from edgewright_wire.layout import PAYLOAD_ASSIGNMENT
from edgewright_wire.markers import SlotFile, SlotMarker
from edgewright_wire.messages import ModelAssignment
from edgewright_wire.slots import MARKER_FILE

BUILDER_VERSION = 1
"""Increased whenever the same order would build another bundle."""

ReadFile = Callable[[str], bytes]
"""Reads a file of the repository by its path, at the accepted commit."""


@dataclass(frozen=True, slots=True)
class BundleOrder:
    """An order to install a release of a model on devices, or to remove the model."""

    model: str
    target: ModelAssignment | None
    """None: the model is to be removed."""
    delivery: Delivery
    """The fleet's settings: folder of the models, installer, and the proof that is required."""
    given_nonce: str = ""
    """In place of the one derived from model and target, for systems that identify orders by it."""

    @property
    def bundle(self) -> Bundle:
        """Format, compatibility and template."""
        settings = self.delivery.ddi or self.delivery.hawkbit or DdiSettings()
        return settings.bundle

    @property
    def proves(self) -> bool:
        """True if an installer on the device runs golden samples."""
        return Proof(self.delivery.proves) is Proof.VERIFIED

    @property
    def nonce(self) -> str:
        """The nonce that evidence of this order repeats."""
        return self.given_nonce or nonce_of(self.model, self.target)

    @property
    def file_name(self) -> str:
        """File name of the bundle."""
        what = self.target.release if self.target is not None else "removed"
        plain = "".join(letter if letter.isascii() and letter.isalnum() else "-" for letter in f"{self.model}-{what}")
        return f"{plain[:100]}.{'swu' if self.bundle.format == 'swu' else 'raucb'}"

    @property
    def version(self) -> str:
        """The version that update systems display."""
        return self.target.release if self.target is not None else f"without-{self.model}"

    @property
    def description(self) -> str:
        """A description for people."""
        what = f"installs release {self.target.release} of" if self.target is not None else "removes"
        return f"{what} {self.model}"

    @property
    def installer(self) -> str:
        """The installer's command, quoted for a shell.

        Raises:
            DeliveryError: It is no command.
        """
        try:
            return shlex.join(shlex.split(self.delivery.installer))
        except ValueError as error:
            raise DeliveryError(
                f"delivery.installer is no command: {self.delivery.installer!r}: {error}", hint="close the quotation"
            ) from error


def bundle_files(order: BundleOrder, depot: Depot) -> tuple[PayloadFile, ...]:
    """List the files of a bundle, by name: a payload; for devices without an installer, the content of a slot.

    Raises:
        DeliveryError: The package is not published, or has a file name that no bundle can hold.
        DeliveryUnavailable: The package cannot be read.
    """
    if order.target is None:
        return ()
    files = depot.payload(order.target)
    if not order.proves:
        slot = [file for file in files if file.name != PAYLOAD_ASSIGNMENT]
        listed = tuple(SlotFile(name=file.name, size=file.size) for file in slot)
        marker = SlotMarker(assignment=order.target, files=listed).to_bytes()
        files = (*slot, PayloadFile(MARKER_FILE, digest_bytes(marker), len(marker), data=marker))
    for file in files:
        if not file.name.isprintable():
            raise DeliveryError(
                f"{file.name!r} cannot be put into a bundle: its name has unprintable characters",
                hint="give the file of the configuration, or of the package, another name",
            )
    return files


def bundle_key(order: BundleOrder, files: Sequence[PayloadFile], descriptor: str, certificate: Path) -> str:
    """Return the digest of everything that a bundle is made from.

    Args:
        order: Its effect.
        files: Its payload.
        descriptor: The template of its descriptor.
        certificate: Of the key that signs it.

    Raises:
        DeliveryError: The certificate cannot be read.
    """
    try:
        signer = digest_bytes(certificate.read_bytes())
    except OSError as error:
        raise DeliveryError(
            f"cannot read the certificate {certificate}: {error.strerror}",
            hint="edgewright init REPOSITORY --keys-only makes it, with the --state and --env that are used here",
        ) from error
    content: Mapping[str, object] = {
        "builder": BUILDER_VERSION,
        "model": order.model,
        "target": order.target.model_dump(mode="json", by_alias=True) if order.target is not None else None,
        "nonce": order.nonce,
        "bundle": order.bundle.model_dump(mode="json", by_alias=True, exclude={"template"}),
        "root": order.delivery.root,
        "installer": order.installer if order.proves else None,
        "files": [[file.name, file.digest] for file in files],
        "descriptor": digest_bytes(descriptor.encode()),
        "signer": signer,
    }
    return hex_of(digest_bytes(canonical_json(content)))
