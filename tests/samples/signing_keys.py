"""Keys that sign commits and tags in tests, made with ssh-keygen and gpg; nobody's key ring takes part."""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from clients import require_client
from samples.repositories import run_git


@dataclass(frozen=True)
class SshKey:
    """An SSH key that signs."""

    path: Path
    principal: str

    @property
    def public(self) -> str:
        """Type and key, as in a public key file."""
        return " ".join(self.path.with_suffix(".pub").read_text().split()[:2])

    def allowed(self, options: str = 'namespaces="git"') -> str:
        """Its line of an allowed signers file."""
        return f"{self.principal} {options} {self.public}\n".replace("  ", " ")

    def commit(self, folder: Path, message: str = "signed") -> str:
        """Commit everything, signed; returns the commit."""
        run_git(folder, "add", "-A")
        run_git(folder, *self._options(), "commit", "-q", "--allow-empty", "-S", "-m", message)
        return run_git(folder, "rev-parse", "HEAD")

    def tag(self, folder: Path, name: str) -> None:
        """Make a signed tag of HEAD."""
        run_git(folder, *self._options(), "tag", "-s", name, "-m", name)

    def _options(self) -> tuple[str, ...]:
        return "-c", "gpg.format=ssh", "-c", f"user.signingKey={self.path}"


def ssh_key(folder: Path, name: str) -> SshKey:
    """Make an SSH key."""
    require_client("ssh-keygen")
    path = folder / f"{name}-key"
    folder.mkdir(parents=True, exist_ok=True)
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", name, "-f", str(path)], check=True)
    return SshKey(path, f"{name}@example.com")


@dataclass(frozen=True)
class GpgHome:
    """A key ring of its own, with an agent of its own."""

    home: Path

    def key(self, name: str, *, at: str = "", days: str = "0") -> "GpgKey":
        """Make a key, at another time (``20200101T000000``) if told so, that lives so many days (0: for ever)."""
        user = f"{name} <{name}@example.com>"
        faked = ("--faked-system-time", at) if at else ()
        self.gpg(*faked, "--passphrase", "", "--quick-gen-key", user, "ed25519", "sign", days)
        listed = self.gpg("--with-colons", "--list-keys", f"{name}@example.com")
        fingerprint = next(line.split(":")[9] for line in listed.splitlines() if line.startswith("fpr"))
        return GpgKey(self, fingerprint, at)

    def gpg(self, *arguments: str) -> str:
        """Run gpg."""
        command = ["gpg", "--homedir", str(self.home), "--batch", "--quiet", "--pinentry-mode", "loopback", *arguments]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout


@dataclass(frozen=True)
class GpgKey:
    """A GPG key that signs."""

    ring: GpgHome
    fingerprint: str
    at: str

    def public(self) -> str:
        """Its public part, armored."""
        return self.ring.gpg("--armor", "--export", self.fingerprint)

    def revoked(self) -> str:
        """Its public part and its revocation."""
        text = (self.ring.home / f"openpgp-revocs.d/{self.fingerprint}.rev").read_text()
        return self.public() + text[text.index(":-----BEGIN") + 1 :]

    def commit(self, folder: Path, message: str = "signed") -> str:
        """Commit everything, signed; returns the commit."""
        run_git(folder, "add", "-A")
        run_git(folder, *self._options(), "commit", "-q", "--allow-empty", "-S", "-m", message)
        return run_git(folder, "rev-parse", "HEAD")

    def tag(self, folder: Path, name: str) -> None:
        """Make a signed tag of HEAD."""
        run_git(folder, *self._options(), "tag", "-s", name, "-m", name)

    def _options(self) -> tuple[str, ...]:
        program = self.ring.home / f"gpg{self.at}"
        faked = f"--faked-system-time {self.at}" if self.at else ""
        program.write_text(f'#!/bin/sh\nexec gpg --homedir "{self.ring.home}" {faked} "$@"\n')
        program.chmod(0o700)
        return "-c", "gpg.format=openpgp", "-c", f"gpg.program={program}", "-c", f"user.signingKey={self.fingerprint}"


@contextmanager
def gpg_home() -> Iterator[GpgHome]:
    """Make a key ring, in a short path as its sockets need; its agent is ended at the end."""
    require_client("gpg")
    folder = Path(tempfile.mkdtemp(prefix="gpg-"))
    try:
        yield GpgHome(folder)
    finally:
        subprocess.run(["gpgconf", "--homedir", str(folder), "--kill", "all"], check=False, env={**os.environ})
        shutil.rmtree(folder, ignore_errors=True)
