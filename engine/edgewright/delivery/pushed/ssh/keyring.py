"""The controller's own private keys, read once. Called by ``connection``."""

import stat
import threading
from pathlib import Path

import paramiko
from cryptography.exceptions import UnsupportedAlgorithm
from paramiko.pkey import UnknownKeyType

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
    try:
        return paramiko.PKey.from_path(str(path))
    except (TypeError, paramiko.PasswordRequiredException) as error:
        raise ConnectionFailed(
            REASON,
            f"the private key {path} has a passphrase, and nobody is there to type it: take one without "
            f"(ssh-keygen -p -N '' -f {path}), kept where only the controller reads it",
        ) from error
    except (ValueError, paramiko.SSHException, UnknownKeyType, UnsupportedAlgorithm) as error:
        # What the libraries say of it may quote the file.
        raise ConnectionFailed(REASON, f"{path} is no private key for SSH: ed25519, ecdsa and rsa are") from error
