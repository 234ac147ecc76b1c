"""Operators' decisions on keys and tokens that claim to be a device's, for every update system alike.

Called by ``edgewright devices``. Every decision is idempotent.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Protocol

from edgewright.core.fleet.enrollment import IdentityStatus
from edgewright.errors import DeliveryError
from edgewright.ports import Identity, IdentityStore

MENDER = "mender"
REFUSED_BECAUSE = "tokenProblem"
"""Field of a key's details: why the token it came with was not accepted."""
SHOWN = 15
"""Characters of a fingerprint that messages show: ``sha256:`` and eight digits."""


class DeviceRegistry(Protocol):
    """Stores enrolled devices; the state store implements it."""

    def enrolled(self) -> Mapping[str, Mapping[str, str]]:
        """Return the labels of enrolled devices, by id."""
        ...

    def enroll(self, devices: Mapping[str, Mapping[str, str]]) -> None:
        """Add devices, or replace the labels of known ones."""
        ...


class Admission:
    """Accepts, rejects and retires keys of one environment."""

    def __init__(
        self, store: IdentityStore, registry: DeviceRegistry, clock: Callable[[], datetime], systems: Sequence[str]
    ) -> None:
        """Remember what is decided on.

        Args:
            store: Stores keys.
            registry: Stores enrolled devices.
            clock: Gives aware UTC times.
            systems: Update systems whose devices have keys.
        """
        self._systems = systems
        self._store = store
        self._registry = registry
        self._clock = clock

    def identities(self, device: str | None = None, status: IdentityStatus | None = None) -> Sequence[Identity]:
        """List devices' keys, in order of device and time."""
        found = self._store.identities(device=device, status=status)
        return [key for key in found if key.system in self._systems]

    def find(self, device: str, fingerprint: str | None, statuses: Sequence[IdentityStatus]) -> Identity:
        """Find the one key that a device and a fingerprint name.

        Args:
            device: The device that the key claims to be.
            fingerprint: Its beginning, with or without ``sha256:``; needed where a device has several keys.
            statuses: Its status may be one of these.
        Raises:
            DeliveryError: There is none, or more than one.
        """
        wanted = f"sha256:{(fingerprint or '').removeprefix('sha256:').lower()}"
        asking = [key for key in self.identities(device) if key.status in statuses]
        found = [key for key in asking if key.key.startswith(wanted)]
        if len(found) == 1:
            return found[0]
        listed = ", ".join(f"{key.key[: SHOWN + 8]} ({key.status})" for key in (found or self.identities(device)))
        if found:
            raise DeliveryError(
                f"device {device} has several keys: {listed}",
                hint="compare them with what the device shows, and name one with --fingerprint",
            )
        if asking and fingerprint:
            raise DeliveryError(
                f"device {device} has no such key; it has {listed}",
                hint="if that is not what the device shows, somebody else asks in its name: edgewright devices reject",
            )
        raise DeliveryError(
            f"no key of device {device} waits" + (f"; it has {listed}" if listed else ""),
            hint="edgewright devices pending lists those that do",
        )

    def approve(self, key: Identity, labels: Mapping[str, str], device: str | None = None) -> Identity:
        """Accept a key: retire the device's other keys, and enroll the device.

        Args:
            key: The key.
            labels: Override those the device was enrolled with, which override those it sent itself.
            device: The device's id, where Mender's identity claims another.

        Raises:
            DeliveryError: The key cannot be this device's.
            StateError, StateUnavailable, StorageFull: The store cannot be used.
        """
        name = device or key.device
        if name != key.device and key.system != MENDER:
            raise DeliveryError(
                f"this key belongs to {key.device}, and cannot be accepted for {name}",
                hint=f"let the device request it under the id {name}",
            )
        known = self._registry.enrolled().get(name, {})
        self._registry.enroll({name: {**key.labels, **known, **labels}})
        if name != key.device:
            return accept_as(self._store, key.key, name, self._clock())
        return self._store.decide(key.system, key.key, IdentityStatus.ACCEPTED, self._clock()) or key

    def reject(self, key: Identity) -> None:
        """Reject a key."""
        self._store.decide(key.system, key.key, IdentityStatus.REJECTED, self._clock())

    def retire(self, device: str) -> Sequence[Identity]:
        """Retire all keys of a device; return those that were accepted."""
        gone: list[Identity] = []
        for system in self._systems:
            gone += self._retire(system, device)
        return gone

    def _retire(self, system: str, device: str) -> Sequence[Identity]:
        now, gone = self._clock(), list[Identity]()

        def work(keys: Sequence[Identity]) -> Iterator[Identity]:
            gone.clear()
            for key in keys:
                if key.status is IdentityStatus.ACCEPTED:
                    gone.append(key)
                    yield replace(key, status=IdentityStatus.RETIRED, decided_at=now)
                elif key.status is IdentityStatus.PENDING:
                    yield replace(key, status=IdentityStatus.REJECTED, decided_at=now)

        self._store.change(system, device, work)
        return gone


def accept_as(store: IdentityStore, key: str, device: str, now: datetime) -> Identity:
    """Accept a Mender client's key as a device's, under another name than the client gave; retire its other keys.

    Args:
        store: Keeps keys.
        key: Its fingerprint.
        device: Its id in the inventory.
        now: Aware UTC time.

    Raises:
        DeliveryError: There is no such key, or it is retired.
        StateError, StateUnavailable, StorageFull: The store cannot be used.
    """
    known = store.identity(MENDER, key)
    if known is None or known.status is IdentityStatus.RETIRED:
        state = "is not known" if known is None else "is retired"
        raise DeliveryError(f"the key {key} {state}", hint="edgewright devices pending lists those that ask")
    if known.device != device:
        store.forget(MENDER, [key])
        store.ask(replace(known, device=device, status=IdentityStatus.PENDING))
    return store.decide(MENDER, key, IdentityStatus.ACCEPTED, now) or known
