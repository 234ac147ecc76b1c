"""The environment that use cases work on, as Protocols: what is desired, what is known, and what reaches devices.

Implemented by ``wiring.operations``. A use case that needs more than ``Environment`` says so with a Protocol of its own
beside it, so that no face has to offer what it does not use.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, Self

from edgewright.core.planning.observed import Observed
from edgewright.core.snapshot import Snapshot
from edgewright.ports import (
    DeliveryReader,
    DeliveryWriter,
    Identity,
    IdentityStatus,
    IdentityStore,
    SnapshotSource,
    StateReader,
    StateWriter,
    TwinStore,
    Upstream,
)

if TYPE_CHECKING:  # annotations alone must not import what a plan does not need
    from edgewright.secret import Secret


class StateStore(StateReader, StateWriter, Protocol):
    """Both sides of the state store."""

    def environments(self) -> Sequence[str]:
        """List the environments that ever wrote, in name order."""
        ...


class Delivery(DeliveryReader, DeliveryWriter, Protocol):
    """Both sides of all update systems together."""


class Reality(Protocol):
    """Observes reality for the planner."""

    def observe(self, desired: Snapshot, *, retry_failures: bool = False, deep: bool = False) -> Observed:
        """Describe reality as far as these specs need it.

        Args:
            desired: The specs; only the sources they name are read.
            retry_failures: Leave out failures of earlier runs, so that those steps are planned again.
            deep: Scan for drift, which costs in proportion to the fleet.

        Raises:
            StateError: The state store cannot be read.
            DeliveryUnavailable: The published repository cannot be read.
        """
        ...


class Environment(Protocol):
    """One environment of a spec repository."""

    @property
    def env(self) -> str:
        """The environment's name; empty where the repository declares none, or none was named."""
        ...

    @property
    def clock(self) -> Callable[[], datetime]:
        """Gives aware UTC times."""
        ...

    @property
    def is_remote(self) -> bool:
        """True where the spec repository is on another machine."""
        ...

    @property
    def root(self) -> Path:
        """The root folder of the spec repository; of a remote one, the folder that holds its state folder."""
        ...

    @property
    def upstream(self) -> Upstream:
        """The spec repository."""
        ...

    @property
    def source(self) -> SnapshotSource:
        """The desired state.

        Raises:
            SourceError: There is no repository, or no such environment.
            SourceUnavailable: The remote does not answer.
        """
        ...

    @property
    def state(self) -> StateStore:
        """The state store, as this environment."""
        ...

    def source_at(self, ref: str | None) -> SnapshotSource:
        """Return the desired state at another ref. Raises as ``source``."""
        ...

    def for_environment(self, env: str) -> Self:
        """Return another environment of the same repository and store."""
        ...

    def reality(self, desired: Snapshot) -> Reality:
        """Return the observer of reality.

        Raises:
            EdgewrightError: The repository declares environments, and none was named.
        """
        ...

    def delivery(self, desired: Snapshot) -> Delivery:
        """Return what reaches devices, as these specs declare it."""
        ...

    def make_folder(self) -> None:
        """Make the state folder.

        Raises:
            StateError, StorageFull: It cannot be written.
        """
        ...


class Admission(Protocol):
    """An operator's decisions about devices' keys; every one may be repeated."""

    def identities(self, device: str | None = None, status: IdentityStatus | None = None) -> Sequence[Identity]:
        """List devices' keys, in order of device and time."""
        ...

    def find(self, device: str, fingerprint: str | None, statuses: Sequence[IdentityStatus]) -> Identity:
        """Find one key by the beginning of its fingerprint.

        Raises:
            DeliveryError: There is none, or more than one.
        """
        ...

    def approve(self, key: Identity, labels: Mapping[str, str], device: str | None = None) -> Identity:
        """Accept a key, retire the device's other keys, and enroll the device.

        Raises:
            DeliveryError: The key cannot be this device's.
        """
        ...

    def reject(self, key: Identity) -> None:
        """Reject a key for good."""
        ...

    def retire(self, device: str) -> Sequence[Identity]:
        """Revoke all keys of a device; returns those that were accepted."""
        ...


class EnrollmentToken(Protocol):
    """A token that admits agents."""

    @property
    def name(self) -> str:
        """The token's name; no secret."""
        ...

    @property
    def made_at(self) -> datetime:
        """The time it was made."""
        ...

    @property
    def expires(self) -> datetime:
        """The time it ends."""
        ...

    @property
    def uses(self) -> int:
        """The number of agents it admits."""
        ...

    @property
    def labels(self) -> Mapping[str, str]:
        """Labels of the devices it admits."""
        ...

    @property
    def allowed(self) -> tuple[str, ...]:
        """Labels that devices may say of themselves."""
        ...

    @property
    def used(self) -> Mapping[str, str]:
        """The devices it admitted, by key."""
        ...

    def problem(self, now: datetime) -> str | None:
        """Return in a word why it admits no more agents; None while it does."""
        ...


class EnrollmentTokens(Protocol):
    """The enrollment tokens of one environment."""

    def make(
        self, *, uses: int, life: timedelta, labels: Mapping[str, str], now: datetime, allowed: Sequence[str] = ()
    ) -> "tuple[Secret, EnrollmentToken]":
        """Make a token, whose secret can be read once, now."""
        ...

    def tokens(self) -> Sequence[EnrollmentToken]:
        """List them, oldest first."""
        ...

    def revoke(self, name: str, now: datetime) -> bool:
        """Revoke a token; False where there is none of this name."""
        ...


class DeviceEnvironment(Environment, Protocol):
    """An environment with what is known of its devices beside the specs."""

    @property
    def twins(self) -> TwinStore:
        """The twins of devices without our agent."""
        ...

    @property
    def identities(self) -> IdentityStore:
        """The keys and tokens of devices."""
        ...

    @property
    def admission(self) -> Admission:
        """The decisions about keys."""
        ...

    @property
    def tokens(self) -> EnrollmentTokens:
        """The enrollment tokens."""
        ...

    def issue_device_token(self, device: str) -> "Secret":
        """Make the one token of a device that speaks hawkBit's device API; those before it are revoked."""
        ...

    def issue_gateway_token(self, gateway: str) -> "Secret":
        """Make the one token of all such devices behind a gateway; those before it are revoked."""
        ...

    def issue_server_certificate(self, hosts: Collection[str], life: timedelta) -> tuple[bytes, bytes, bytes]:
        """Make a certificate that agents trust: the chain, its key and the authority's certificate, in PEM.

        Raises:
            EdgewrightError: A host is no host name or address.
            DeliveryError: The authority's key is missing or wrong.
        """
        ...
