"""Reaching devices, over every update system alike. Implemented by ``delivery``.

Packages are published once, for all; a driver for each update system delivers the assignments. Which
devices are changed when is the engine's alone: a driver knows of no waves.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from edgewright.core.config_drift import RepositoryInspection
from edgewright.core.fleet.routes import Capability
from edgewright.errors import EdgewrightError
from edgewright_wire.messages import Assignment, Report


@dataclass(frozen=True, slots=True)
class PackageContent:
    """A package's bytes, for publishing."""

    manifest: bytes
    digest: str
    blobs: Mapping[str, Path]
    """Config and layers, by digest."""


class PackageReader(Protocol):
    """Reads the published packages."""

    def published(self) -> frozenset[str]:
        """Return the digests of the published packages.

        Raises:
            DeliveryUnavailable: The repository cannot be read.
        """
        ...

    def damaged(self) -> Mapping[str, str]:
        """Return the published packages that are incomplete now: what is missing, in words, by digest.

        Raises:
            DeliveryUnavailable: The repository cannot be read.
        """
        ...


class PackageWriter(Protocol):
    """Makes packages available. Every call may be repeated."""

    def publish(self, packages: Sequence[PackageContent]) -> Mapping[str, EdgewrightError]:
        """Make packages available; one signing for all of them.

        Returns:
            Why packages stay out, by digest; the others are out. BlobCorrupt: a blob has other bytes. DeliveryError:
            it is incomplete. StorageFull: there is no space for it.

        Raises:
            DeliveryError: The signing key is missing or wrong.
            DeliveryUnavailable, StorageFull: The repository cannot be written.
        """
        ...

    def refresh(self) -> Sequence[str]:
        """Renew the signatures past half of their life, as far as their keys are here; returns the roles renewed.

        Raises:
            DeliveryError, DeliveryUnavailable, StorageFull: As in publish.
        """
        ...


class DeviceReader(Protocol):
    """Reads the assignments and reports of an update system's devices."""

    def capabilities(self, devices: Collection[str]) -> Mapping[str, Capability]:
        """Return the capabilities of devices: what can be proven of them, and done to them."""
        ...

    def assigned(self) -> Mapping[str, int]:
        """Return the versions of the published assignments, by device.

        Raises:
            DeliveryUnavailable: The system cannot be read.
        """
        ...

    def inspect(self, configs: Mapping[str, int], budget: int | None) -> RepositoryInspection:
        """Inspect everything published for devices, and compare it with what was published.

        Args:
            configs: Sizes of the configurations that assignments name, by digest.
            budget: How many bytes to read for comparing contents; the next inspection continues there. None: all.

        Raises:
            DeliveryUnavailable: The system cannot be read.
        """
        ...

    def observe(self, known: Mapping[str, int]) -> Sequence[Report]:
        """Collect reports newer than the sequences known, by device.

        A report that cannot be read is skipped and logged; it never stops the others.
        """
        ...


class DeviceWriter(Protocol):
    """Delivers assignments to devices. Every call may be repeated.

    Raises (all): DeliveryError when the system refuses, or a key is missing or wrong; DeliveryUnavailable when it does
    not answer; StorageFull.
    """

    def assign(self, assignments: Sequence[Assignment], configs: Mapping[str, bytes]) -> None:
        """Deliver assignments to their devices, with the configurations they name, by digest.

        What a device has not finished of an older assignment is cancelled.

        Raises:
            DeliveryError: An assignment is older than, or differs from, the one there of its version; or what it names
                is not published.
        """
        ...

    def cancel(self, devices: Collection[str]) -> None:
        """Cancel what these devices have not installed yet; they stay with what they run.

        Nothing of their present assignment is tried again. Where capabilities say that nothing can be cancelled, only
        devices that have not begun are held back.
        """
        ...

    def retire(self, devices: Sequence[str]) -> None:
        """Stop managing devices: their assignments go, what they run stays. Unknown ones are skipped."""
        ...

    def attend(self, wake: Callable[[], None]) -> AbstractContextManager[None]:
        """Run the sessions with devices that are connected to, within the block; ``wake`` is called when there is news.

        Only the process that holds the lease does so.
        """
        ...


class DeliveryReader(PackageReader, DeviceReader, Protocol):
    """The read side of all update systems together."""

    def in_inbox(self, known: Mapping[str, int]) -> Sequence[str]:
        """List the devices with newer reports than known in the state store's inbox, without reading these.

        ``observe`` gives them, too, until they are moved by DeviceStateWriter.take_inbox.
        """
        ...


class DeliveryWriter(PackageWriter, DeviceWriter, Protocol):
    """The write side of all update systems together."""


class Driver(DeviceReader, DeviceWriter, Protocol):
    """One update system."""
