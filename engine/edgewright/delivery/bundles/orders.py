"""What a bundle does on the devices that get it, and what it is made of. Pure but for reading what is published.

Many devices are given the same bundle: nothing in it names a device or a job.
"""

import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from edgewright.core.fleet.routes import Proof
from edgewright.delivery.evidence import nonce_of
from edgewright.delivery.repository.depot import ASSIGNMENT_FILE, Depot, PayloadFile
from edgewright.errors import DeliveryError
from edgewright_schemas.delivery import Bundle, DdiSettings, Delivery
from edgewright_wire.canonical import canonical_json, digest_bytes, hex_of
from edgewright_wire.messages import ModelAssignment

BUILDER_VERSION = 1
"""Raised whenever the same order makes another bundle."""
MARKER_FILE = "release.json"
"""Says what a slot holds, as the agent reads it."""

ReadFile = Callable[[str], bytes]
"""Reads a file of the repository by its path, as it is in force."""


@dataclass(frozen=True, slots=True)
class BundleOrder:
    """What is to be so on a device."""

    model: str
    target: ModelAssignment | None
    """None: the model is to be removed."""
    delivery: Delivery
    """Where models are kept, what installs them, and what is to be shown."""
    given_nonce: str = ""
    """In place of the one that follows from model and target, for who tells orders apart by it."""

    @property
    def bundle(self) -> Bundle:
        """Format, compatibility and template."""
        settings = self.delivery.ddi or self.delivery.hawkbit or DdiSettings()
        return settings.bundle

    @property
    def proves(self) -> bool:
        """Whether an installer on the device runs golden samples."""
        return Proof(self.delivery.proves) is Proof.VERIFIED

    @property
    def nonce(self) -> str:
        """What evidence of this order bears."""
        return self.given_nonce or nonce_of(self.model, self.target)

    @property
    def file_name(self) -> str:
        """The bundle's."""
        what = self.target.release if self.target is not None else "removed"
        plain = "".join(letter if letter.isascii() and letter.isalnum() else "-" for letter in f"{self.model}-{what}")
        return f"{plain[:100]}.{'swu' if self.bundle.format == 'swu' else 'raucb'}"

    @property
    def version(self) -> str:
        """What update systems show."""
        return self.target.release if self.target is not None else f"without-{self.model}"

    @property
    def description(self) -> str:
        """What it does, in words."""
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


def files_of(order: BundleOrder, depot: Depot) -> tuple[PayloadFile, ...]:
    """List what is put into a bundle, by name: a payload; for devices without an installer, what a slot holds.

    Raises:
        DeliveryError: What is ordered is not published, or has a file that no bundle takes.
        DeliveryUnavailable: What is published cannot be read.
    """
    if order.target is None:
        return ()
    files = depot.payload(order.target)
    if not order.proves:
        slot = [file for file in files if file.name != ASSIGNMENT_FILE]
        marker = canonical_json(
            {
                "assignment": order.target.model_dump(mode="json", by_alias=True, exclude_none=True),
                "files": [{"name": file.name, "size": file.size} for file in slot],
            }
        )
        files = (*slot, PayloadFile(MARKER_FILE, digest_bytes(marker), len(marker), data=marker))
    for file in files:
        if not file.name.isprintable():
            raise DeliveryError(
                f"{file.name!r} cannot be put into a bundle: it has characters that nobody sees",
                hint="give the file of the configuration, or of the package, another name",
            )
    return files


def key_of(order: BundleOrder, files: Sequence[PayloadFile], descriptor: str, certificate: Path) -> str:
    """Name everything that a bundle is made from.

    Args:
        order: What it does.
        files: What is in it.
        descriptor: The template of its descriptor.
        certificate: Whose key signs it.

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
