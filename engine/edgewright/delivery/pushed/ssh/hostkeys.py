"""Verifies host keys of SSH servers. Pure; called by ``connection``.

Keys come from the inventory (``ssh.hostKey``: then only that one is accepted) or from the fleet's file in the format of
sshd(8), SSH_KNOWN_HOSTS FILE FORMAT: several names, patterns, hashed names, ``@revoked``. Nothing is ever added.
"""

import base64
import binascii
import fnmatch
import hashlib
import hmac
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from edgewright.delivery.pushed.ssh.errors import ConnectionFailed
from edgewright.delivery.pushed.ssh.targets import Hop, SshTarget

_SIGNATURES = {"ssh-rsa": ("rsa-sha2-512", "rsa-sha2-256")}
"""Names of a key's type in the key exchange, where they differ."""


@dataclass(frozen=True, slots=True)
class HostKey:
    """A public key."""

    type: str
    blob: bytes

    @property
    def fingerprint(self) -> str:
        """As ``ssh-keygen -l`` shows it."""
        return "SHA256:" + base64.b64encode(hashlib.sha256(self.blob).digest()).decode().rstrip("=")

    def __str__(self) -> str:
        return f"{self.type} {base64.b64encode(self.blob).decode()}"


@dataclass(frozen=True, slots=True)
class KnownHostKeys:
    """The known host keys of one server."""

    accepted: tuple[HostKey, ...] = ()
    revoked: tuple[HostKey, ...] = ()
    source: str = ""
    """The file or field that lists them."""

    @property
    def algorithms(self) -> frozenset[str]:
        """Algorithms by which the server should identify itself; empty: any."""
        return frozenset(name for key in self.accepted for name in _SIGNATURES.get(key.type, (key.type,)))


def known_host_keys(target: SshTarget, hop: Hop, known_hosts: str) -> KnownHostKeys:
    """Find the known keys of the device, or of its jump host.

    Args:
        target: The device.
        hop: The server of the two.
        known_hosts: The fleet's file.
    """
    if hop is target.hop and target.host_key is not None:
        written = parse_key(target.host_key)
        return KnownHostKeys((written,) if written else (), source=f"ssh.hostKey of {target.device}")
    source = target.known_hosts or "no knownHosts"
    listed = [(marker, key) for marker, names, key in _lines(known_hosts) if _names(names, hop.known_as)]
    return KnownHostKeys(
        tuple(key for marker, key in listed if not marker),
        tuple(key for marker, key in listed if marker == "@revoked"),
        source,
    )


def check_host_key(known: KnownHostKeys, hop: Hop, presented: HostKey) -> None:
    """Compare the key that a server showed.

    Raises:
        ConnectionFailed: It is not known, another one, or revoked.
    """
    shown = f"{presented.type} {presented.fingerprint}"
    if presented in known.revoked:
        raise ConnectionFailed(
            "HostKeyRevoked", f"{hop} shows {shown}, which {known.source} revokes: give the device a new host key"
        )
    if presented in known.accepted:
        return
    if not known.accepted:
        raise ConnectionFailed(
            "HostKeyUnknown",
            f"{hop} shows the host key {shown}, and {known.source} has none for {hop.known_as}: compare the "
            f"fingerprint on the device (ssh-keygen -lf /etc/ssh/ssh_host_*_key.pub); where it is right, add the line "
            f"'{hop.known_as} {presented}' to the fleet's knownHosts, or ssh.hostKey to the inventory",
        )
    raise ConnectionFailed("HostKeyMismatch", f"{hop} shows the host key {shown}; {_expected(known)}. {_CHANGED}")


def no_common_key_type(known: KnownHostKeys, hop: Hop) -> ConnectionFailed:
    """Build the error for a server that has no key of a known type."""
    return ConnectionFailed("HostKeyMismatch", f"{hop} has no host key of a known type; {_expected(known)}. {_CHANGED}")


_CHANGED = (
    "Somebody may be in between, or the device was set up anew: compare fingerprints on the device "
    "(ssh-keygen -lf /etc/ssh/ssh_host_*_key.pub), and only where they are right write the new key into the spec"
)


def _expected(known: KnownHostKeys) -> str:
    keys = " or ".join(f"{key.type} {key.fingerprint}" for key in known.accepted)
    return f"{known.source} expects {keys}"


def parse_key(text: str) -> HostKey | None:
    """Parse ``ssh-ed25519 AAAA…``; None where it is no key."""
    type_, _, encoded = text.strip().partition(" ")
    try:
        blob = base64.b64decode(encoded.split(" ")[0], validate=True)
    except (binascii.Error, ValueError):
        return None
    length = int.from_bytes(blob[:4], "big")
    return HostKey(type_, blob) if blob[4 : 4 + length] == type_.encode() else None


def _lines(text: str) -> Iterator[tuple[str, str, HostKey]]:
    """Yield marker, names and key of each line; skip lines that cannot be parsed."""
    for line in text.splitlines():
        fields = line.split()
        marker = fields.pop(0) if fields and fields[0].startswith("@") else ""
        if len(fields) < 3 or fields[0].startswith("#"):
            continue
        if (key := parse_key(f"{fields[1]} {fields[2]}")) is not None:
            yield marker, fields[0], key


def _names(names: str, host: str) -> bool:
    patterns = names.split(",")
    if any(pattern.startswith("!") and _fits(pattern[1:], host) for pattern in patterns):
        return False
    return any(_fits(pattern, host) for pattern in patterns)


def _fits(pattern: str, host: str) -> bool:
    if pattern.startswith("|1|"):
        return _hashed(pattern.split("|")[2:], host)
    # [ and ] around a name with a port are themselves here.
    literal = pattern.lower().replace("[", "[[]")
    return fnmatch.fnmatchcase(host.lower(), literal)


def _hashed(parts: Sequence[str], host: str) -> bool:
    try:
        salt, wanted = (base64.b64decode(part) for part in parts)
    except (binascii.Error, ValueError):
        return False
    return hmac.compare_digest(hmac.new(salt, host.encode(), hashlib.sha1).digest(), wanted)
