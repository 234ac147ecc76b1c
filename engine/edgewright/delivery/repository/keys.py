"""The signing keys of a repository: created once, kept apart, loaded by role.

Four Ed25519 keys, each ``<role>.pem`` (PKCS#8, only its owner may read it) and ``<role>.pub`` beside it:

========  =======  =========================================================================
role      kept     signs
========  =======  =========================================================================
root      offline  the trusted keys; needed once, and once a year
targets   offline  the keys of packages and assignments; as rarely as root
packages  offline  packages that devices may run; needed where packages are published
online    online   assignments, bins, snapshot and timestamp; always needed
========  =======  =========================================================================

An offline key may be moved away: its ``.pub`` stays, and only the work it signs is refused without it.
Called by ``delivery.agent.driver`` and by ``edgewright init``.
"""

import contextlib
import os
import shutil
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_pem_private_key,
    load_pem_public_key,
)
from securesystemslib.signer import CryptoSigner, SSlibKey

from edgewright import durable
from edgewright.errors import DeliveryError, DeliveryUnavailable

ROOT = "root"
TARGETS = "targets"
PACKAGES = "packages"
ONLINE = "online"
ROLES = (ROOT, TARGETS, PACKAGES, ONLINE)
ENVIRONMENT = "EDGEWRIGHT_KEYS"

_WORK = {
    ROOT: "create the repository or renew its root here",
    TARGETS: "create the repository or renew its delegations here",
    PACKAGES: "publish",
    ONLINE: "assign",
}


@dataclass(frozen=True, slots=True)
class KeyRing:
    """The public keys of all roles, and access to the private keys that are here."""

    folder: Path
    public: Mapping[str, SSlibKey]

    def has(self, role: str) -> bool:
        """Return True if a role's private key is here."""
        return (self.folder / f"{role}.pem").exists()

    def signer(self, role: str) -> CryptoSigner:
        """Load a role's private key.

        Raises:
            DeliveryError: It is not here, is no such key, or others may read it.
        """
        path = self.folder / f"{role}.pem"
        private = _read_private(path, role)
        if private.public_key() != _crypto_key(self.public[role]):
            raise DeliveryError(
                f"{path} does not belong to {path.with_suffix('.pub')}",
                hint=f"bring the {role} key this repository was created with",
            )
        return CryptoSigner(private, self.public[role])


def create_keys(folder: Path) -> KeyRing:
    """Create all keys, in a folder that does not exist yet; it appears whole or not at all.

    Raises:
        DeliveryError: Keys are there already.
        DeliveryUnavailable: The folder cannot be written.
    """
    refusal = DeliveryError(
        f"there are keys in {folder} already",
        hint="they are never overwritten: devices trust them. Use them, or name another folder with " + ENVIRONMENT,
    )
    if folder.is_symlink() or (folder.exists() and not folder.is_dir()):
        raise DeliveryError(f"{folder} is no folder", hint=f"remove it, or name another folder with {ENVIRONMENT}")
    try:
        if folder.is_dir() and any(folder.iterdir()):
            raise refusal
        durable.make_folder(folder.parent, mode=0o700)
        beside = durable.temporary_beside(folder)
        beside.mkdir(mode=0o700)
        try:
            for role in ROLES:
                signer = CryptoSigner.generate_ed25519()
                durable.write_new(beside / f"{role}.pem", signer.private_bytes, mode=0o600)
                public = _crypto_key(signer.public_key).public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
                durable.write_new(beside / f"{role}.pub", public, mode=0o644)
            durable.sync_folder(beside)
            try:
                durable.rename(beside, folder)
            except OSError as error:
                raise refusal from error
            durable.sync_folder(folder.parent)
        finally:
            with contextlib.suppress(OSError):
                shutil.rmtree(beside)
    except OSError as error:
        raise DeliveryUnavailable(
            f"cannot write keys to {folder}: {error.strerror}", hint="make the folder writable, or name another one"
        ) from error
    return load_keys(folder)


def load_keys(folder: Path) -> KeyRing:
    """Load the public keys of a folder. Private keys are read when something is signed, not before.

    Raises:
        DeliveryError: A public key is missing or unreadable.
    """
    public: dict[str, SSlibKey] = {}
    missing = []
    for role in ROLES:
        path = folder / f"{role}.pub"
        try:
            key = load_pem_public_key(path.read_bytes())
        except FileNotFoundError:
            missing.append(path.name)
            continue
        except (OSError, ValueError, UnsupportedAlgorithm) as error:
            raise DeliveryError(f"cannot read the public key {path}: {error}", hint="bring the file again") from error
        if not isinstance(key, Ed25519PublicKey):
            raise DeliveryError(f"{path} is no Ed25519 key", hint="bring the file edgewright made")
        public[role] = SSlibKey.from_crypto(key)
    if len(missing) == len(ROLES):
        raise DeliveryError(
            f"there are no signing keys in {folder}",
            hint=f"edgewright init makes them; if they are elsewhere, set {ENVIRONMENT} to their folder",
        )
    if missing:
        raise DeliveryError(
            f"public keys are missing in {folder}: {', '.join(missing)}",
            hint="bring them here from the machine that made the keys; they are not secret",
        )
    return KeyRing(folder, MappingProxyType(public))


def _read_private(path: Path, role: str) -> Ed25519PrivateKey:
    """Read a private key that only its owner may read.

    Raises:
        DeliveryError: It is not here, is no such key, or others may read it.
    """
    try:
        with path.open("rb") as file:
            if stat.S_IMODE(os.fstat(file.fileno()).st_mode) & 0o077:
                raise DeliveryError(
                    f"the private key {path} may be read by others", hint=f"run: chmod 600 {path}; then try again"
                )
            key = load_pem_private_key(file.read(), None)
    except FileNotFoundError:
        raise DeliveryError(
            f"the {role} key is not here: {path}",
            hint=f"bring keys/{role}.pem here, or {_WORK[role]} on the machine that holds it"
            if role in {PACKAGES, ONLINE}
            else f"bring keys/{role}.pem here to {_WORK[role]}; take it away again afterwards",
        ) from None
    except (OSError, ValueError, TypeError, UnsupportedAlgorithm) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is no unencrypted PKCS#8 PEM file"
        raise DeliveryError(f"cannot read the private key {path}: {reason}", hint="bring the file again") from error
    if not isinstance(key, Ed25519PrivateKey):
        raise DeliveryError(f"{path} is no Ed25519 key", hint="bring the file edgewright made")
    return key


def _crypto_key(key: SSlibKey) -> Ed25519PublicKey:
    return Ed25519PublicKey.from_public_bytes(bytes.fromhex(str(key.keyval["public"])))
