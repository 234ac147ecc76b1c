"""Reaching devices. Implemented by ``delivery``."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from edgewright.core.drift import Inspection
from edgewright.errors import EdgewrightError
from edgewright_wire.messages import Assignment, Report


@dataclass(frozen=True, slots=True)
class PackageContent:
    """A package's bytes, for publishing."""

    manifest: bytes
    digest: str
    blobs: Mapping[str, Path]
    """Config and layers, by digest."""


class DeliveryReader(Protocol):
    """What devices and their update system say."""

    def published(self) -> frozenset[str]:
        """Digests of the packages devices can fetch.

        Raises:
            DeliveryUnavailable: The repository cannot be read.
        """
        ...

    def assigned(self) -> Mapping[str, int]:
        """Versions of the assignments devices can fetch, by device.

        Raises:
            DeliveryUnavailable: The repository cannot be read.
        """
        ...

    def damaged(self) -> Mapping[str, str]:
        """Packages that were published and are not whole any more: what is missing, in words, by digest.

        Raises:
            DeliveryUnavailable: The repository cannot be read.
        """
        ...

    def inspect(self, configs: Mapping[str, int], budget: int | None) -> Inspection:
        """Look deep: is everything that is published still what was published?

        Args:
            configs: Sizes of the configurations that assignments name, by digest.
            budget: How many bytes to read for comparing contents; the next look goes on there. None: all.

        Raises:
            DeliveryUnavailable: The repository cannot be read.
        """
        ...

    def observe(self, known: Mapping[str, int]) -> Sequence[Report]:
        """Collect reports newer than the sequences known, by device.

        A report that cannot be read is skipped and logged; it never stops the others.
        """
        ...


class DeliveryWriter(Protocol):
    """Reaches devices. Every call may be repeated."""

    def publish(self, packages: Sequence[PackageContent]) -> Mapping[str, EdgewrightError]:
        """Make packages fetchable; one signing for all of them.

        Returns:
            Why packages stay out, by digest; the others are out. BlobCorrupt: a blob has other bytes. DeliveryError:
            it is incomplete. StorageFull: there is no space for it.

        Raises:
            DeliveryError: The signing key is missing or wrong.
            DeliveryUnavailable, StorageFull: The repository cannot be written.
        """
        ...

    def assign(self, assignments: Sequence[Assignment], configs: Mapping[str, bytes]) -> None:
        """Make assignments fetchable, with the configuration blobs they name; one signing for all of them.

        Raises:
            DeliveryError, DeliveryUnavailable: As in publish.
        """
        ...

    def refresh(self) -> Sequence[str]:
        """Renew the signatures whose time is half over, as far as their keys are here; gives the roles renewed.

        Raises:
            DeliveryError, DeliveryUnavailable: As in publish.
        """
        ...

    def retire(self, devices: Sequence[str]) -> None:
        """Remove the assignments of devices that are no longer managed.

        Raises:
            DeliveryError, DeliveryUnavailable: As in publish.
        """
        ...
