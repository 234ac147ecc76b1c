"""The controller's own private keys, read once. Called by ``connection``."""

import base64
import io
import stat
import threading
from pathlib import Path

import paramiko
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
    load_ssh_private_key,
)

from edgewright.delivery.pushed.ssh.errors import ConnectionFailed

DEFAULT = "ssh/id_ed25519"
REASON = "KeyUnusable"
_Stamp = tuple[Path, int, int]


class Keyring:
    """Reads private keys. Thread-safe.

    Args:
        folder: Of keys that are named without a folder.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._lock = threading.Lock()
        self._loaded: dict[_Stamp, paramiko.PKey] = {}

    def path(self, name: str | None) -> Path:
        """Return the path of a key; None: the default key."""
        return self._folder / Path(name or DEFAULT).expanduser()

    def load(self, name: str | None) -> paramiko.PKey:
        """Load a key; one that has not changed is read once.

        Raises:
            ConnectionFailed: It is missing, others can read it, it has a passphrase, or it is no private key.
        """
        path = self.path(name)
        with self._lock:
            try:
                status = path.stat()
                stamp = (path, status.st_mtime_ns, status.st_size)
                if stamp not in self._loaded:
                    self._loaded[stamp] = _load(path, status.st_mode)
            except OSError as error:
                raise ConnectionFailed(
                    REASON,
                    f"the private key {path} cannot be read: {error.strerror}. Name another in spec.delivery.ssh.key, "
                    f"or make it: mkdir -p -m 700 {path.parent} && ssh-keygen -t ed25519 -N '' -f {path}",
                ) from error
            return self._loaded[stamp]


def _load(path: Path, mode: int) -> paramiko.PKey:
    if stat.S_IMODE(mode) & 0o077:
        raise ConnectionFailed(REASON, f"the private key {path} can be read by others: chmod 600 {path}")
    data = path.read_bytes()
    try:
        key = _converted(path, _parsed(data))
        certificate = path.with_name(f"{path.name}-cert.pub")
        if certificate.exists():
            key.load_certificate(str(certificate))
        return key
    except TypeError as error:
        raise ConnectionFailed(
            REASON,
            f"the private key {path} has a passphrase, and nobody is there to type it: take one without "
            f"(ssh-keygen -p -N '' -f {path}), kept where only the controller reads it",
        ) from error
    except (ValueError, paramiko.SSHException, UnsupportedAlgorithm) as error:
        # What the libraries say of it may quote the file.
        raise ConnectionFailed(REASON, _wrong(path, data)) from error


def _parsed(data: bytes) -> object:
    """Read a private key: OpenSSH's form, or PEM's (PKCS #1, SEC 1, PKCS #8).

    Raises:
        TypeError: It has a passphrase.
        ValueError, UnsupportedAlgorithm: It is none, or of another kind.
    """
    if b"BEGIN OPENSSH PRIVATE KEY" in data:
        return load_ssh_private_key(data, None)
    return load_pem_private_key(data, None)


def _converted(path: Path, key: object) -> paramiko.PKey:
    """Hand a key over to paramiko, which reads no PKCS #8 of Ed25519, and not every file without a comment.

    Raises:
        ConnectionFailed: SSH knows no such keys.
    """
    match key:
        case rsa.RSAPrivateKey():
            return paramiko.RSAKey(key=key)
        case ec.EllipticCurvePrivateKey() if isinstance(key.curve, ec.SECP256R1 | ec.SECP384R1 | ec.SECP521R1):
            return paramiko.ECDSAKey(vals=(key, key.public_key()))
        case ed25519.Ed25519PrivateKey():
            text = key.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption()).decode("ascii")
            return paramiko.Ed25519Key(file_obj=io.StringIO(text))
        case _:
            kind = type(key).__name__.removesuffix("PrivateKey").lstrip("_")
            raise ConnectionFailed(REASON, f"{path} is a key of a kind that SSH does not use ({kind}): {_KINDS}")


_KINDS = "ed25519, ecdsa (P-256, P-384, P-521) and rsa are. Make one: ssh-keygen -t ed25519"


def _wrong(path: Path, data: bytes) -> str:
    """Describe a file that is no private key, for a message."""
    if data.startswith((b"ssh-", b"ecdsa-", b"sk-", b"-----BEGIN PUBLIC", b"---- BEGIN SSH2 PUBLIC")):
        return f"{path} is a public key: name the private one, which has no .pub"
    if data.startswith(b"PuTTY-User-Key-File"):
        return f"{path} is in PuTTY's form: puttygen {path} -O private-openssh -o NEW, and name that"
    if b"BEGIN OPENSSH PRIVATE KEY" in data and b"sk-" in _unarmored(data):
        return f"{path} is a key of a security token, which somebody would have to touch: {_KINDS}"
    return f"{path} is no private key for SSH, or is damaged: {_KINDS}"


def _unarmored(data: bytes) -> bytes:
    try:
        return base64.b64decode(b"".join(line for line in data.splitlines() if not line.startswith(b"-----")))
    except ValueError:
        return b""
