"""Devices that poll a hawkBit server, simulated: they speak the protocol over real HTTP, and run what is in a bundle.

``SwupdateLike`` does and says what SWUpdate does (``integration/test_ddi_swupdate.py`` has the real one);
``RaucLike``, what rauc-hawkbit-updater does, with RAUC's own program unpacking the bundle.
"""

import hashlib
import os
import re
import shutil
import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import load_pem_x509_certificate

from harness.cpio_files import read_cpio
from rigs.base import Behaviour

_ENTRY = re.compile(r'filename = "([^"]+)";\s*(?:path = "([^"]+)";\s*)?(?:type = "[^"]+";\s*)?sha256 = "([0-9a-f]+)"')
_BEGUN = 64
"""Bytes that a device fetches that then gets stuck."""


class Failure(Exception):
    """The device's client gives up."""


@dataclass
class DdiDevice:
    """A device at rest, at an action, or with its bundle."""

    name: str
    home: str
    """Its base resource."""
    token: str
    folder: Path
    certificate: Path
    environment: dict[str, str] = field(default_factory=dict)
    """For scripts."""
    kind: str = "TargetToken"
    behaviour: Behaviour = Behaviour.HONEST
    installs: int = 0
    attributes: dict[str, str] = field(default_factory=dict)
    closes: bool = True
    """True if it closes an action that succeeded."""
    _action: str = ""
    _artifact: dict[str, Any] = field(default_factory=dict)
    _bundle: bytes | None = None
    _begun: bool = False

    def __post_init__(self) -> None:
        self.root.mkdir(parents=True, exist_ok=True)
        self._http = httpx.Client(headers={"Authorization": f"{self.kind} {self.token}"}, timeout=30)

    @property
    def root(self) -> Path:
        return self.folder / "root"

    @property
    def active(self) -> Path:
        return self.root / "models/reader/active"

    def close(self) -> None:
        self._http.close()

    def step(self) -> bool:
        """Do the next thing; False when there is nothing to do."""
        if self.behaviour is Behaviour.SILENT:
            return False
        if self._bundle is not None:
            self._finish()
            return True
        if self._artifact:
            return self._fetch()
        return self._poll()

    # ── the protocol ──────────────────────────────────────────────────────────────────────────────────────────

    def _poll(self) -> bool:
        links = self._get(self.home)["_links"]
        if "configData" in links and self.attributes:
            self._http.put(links["configData"]["href"], json={"mode": "merge", "data": self.attributes})
        if "cancelAction" in links:
            self._stop(links["cancelAction"]["href"])
            return True
        if "deploymentBase" not in links:
            return False
        answer = self._get(links["deploymentBase"]["href"])
        self._action = str(answer["id"])
        (chunk,) = answer["deployment"]["chunks"]
        (self._artifact,) = chunk["artifacts"]
        self._tell("proceeding", details=["Installing Update Chunk Artifacts."])
        return True

    def _fetch(self) -> bool:
        links = self._get(self.home)["_links"]
        if "cancelAction" in links:
            self._stop(links["cancelAction"]["href"])
            return True
        href = self._artifact["_links"]["download"]["href"]
        if self.behaviour is Behaviour.STALLS:
            begun, self._begun = self._begun, True
            if not begun:
                assert self._http.get(href, headers={"Range": f"bytes=0-{_BEGUN - 1}"}).status_code == 206
            return not begun
        answer = self._http.get(href)
        if answer.status_code != 200:
            self._give_up(f"Download failed: {answer.status_code}")
            return True
        data = answer.content
        self._bundle = data[:-9] + bytes([data[-9] ^ 1]) + data[-8:] if self.behaviour is Behaviour.CORRUPTS else data
        return True

    def _finish(self) -> None:
        bundle, hashes = self._bundle or b"", self._artifact["hashes"]
        before = self._pointer()
        try:
            if hashlib.sha1(bundle).hexdigest() != hashes["sha1"]:
                raise Failure(f"ERROR : Checksum does not match: Should be '{hashes['sha1']}'")
            if self.behaviour is not Behaviour.LIES:
                self._tell("proceeding", details=self._install(bundle))
        except Failure as error:
            self._give_up(*error.args)
        else:
            self._tell("proceeding", details=["All Chunks Installed."], progress=(1, 1))
            if self.closes or self.behaviour is Behaviour.LIES:
                self._tell("closed", "success", details=["Software bundle installed successfully."])
        self.installs += self._pointer() not in {before, None}
        self._rest()

    def _install(self, bundle: bytes) -> list[str]:
        """Install a bundle.

        Returns:
            What the client has to say of it.

        Raises:
            Failure: The update failed.
        """
        raise NotImplementedError

    def _run(self, *command: str | Path) -> subprocess.CompletedProcess[bytes]:
        environment = {**os.environ, **self.environment}
        return subprocess.run(command, check=False, capture_output=True, env=environment)

    def _stop(self, href: str) -> None:
        stop = self._get(href)["cancelAction"]["stopId"]
        status = {"execution": "closed", "result": {"finished": "success"}, "details": ["cancellation acknowledged."]}
        self._http.post(f"{href}/feedback", json={"id": stop, "status": status}).raise_for_status()
        self._rest()

    def _give_up(self, *details: str) -> None:
        self._tell("closed", "failure", details=list(details))
        self._rest()

    def _rest(self) -> None:
        self._artifact, self._bundle, self._begun = {}, None, False

    def _tell(
        self, execution: str, finished: str = "none", *, details: list[str], progress: tuple[int, int] | None = None
    ) -> None:
        result: dict[str, Any] = {"finished": finished}
        if progress is not None:
            result["progress"] = dict(zip(("cnt", "of"), progress, strict=True))
        status = {"execution": execution, "result": result, "details": details}
        self._http.post(
            f"{self.home}/deploymentBase/{self._action}/feedback", json={"id": self._action, "status": status}
        )

    def _get(self, url: str) -> Any:
        return self._http.get(url).raise_for_status().json()

    def _pointer(self) -> tuple[str, bytes] | None:
        if not self.active.is_symlink():
            return None
        return str(self.active.readlink()), (self.active / "release.json").read_bytes()


@dataclass
class SwupdateLike(DdiDevice):
    """Unpacks a ``.swu`` where its description says, and runs its script."""

    def _install(self, bundle: bytes) -> list[str]:
        files = dict(read_cpio(bundle))
        assert list(files)[:2] == ["sw-description", "sw-description.sig"]
        description = files["sw-description"]
        self._check_signature(description, files["sw-description.sig"])
        scripts = []
        for name, path, sha256 in _ENTRY.findall(description.decode()):
            assert hashlib.sha256(files[name]).hexdigest() == sha256
            if path:
                Path(path).parent.mkdir(parents=True, exist_ok=True)
                Path(path).write_bytes(files[name])
            else:
                scripts.append(name)
        (script,) = scripts
        place = self.folder / script
        place.write_bytes(files[script])
        place.chmod(0o755)
        said: list[str] = []
        for moment in ("preinst", "postinst"):
            done = self._run(place, moment)
            said += [f"ERROR : {line}" for line in done.stderr.decode().splitlines()]
            if done.returncode:
                raise Failure(*said)
        return said

    def _check_signature(self, description: bytes, signature: bytes) -> None:
        """As far as it takes to notice another signer or description; OpenSSL and SWUpdate check the rest elsewhere."""
        trusted = load_pem_x509_certificate(self.certificate.read_bytes()).public_bytes(Encoding.DER)
        if trusted not in signature or hashlib.sha256(description).digest() not in signature:
            raise Failure("ERROR : Signature verification failed")


@dataclass
class RaucLike(DdiDevice):
    """Has RAUC's program check and unpack a bundle, and runs its handler."""

    def _install(self, bundle: bytes) -> list[str]:
        place, content = self.folder / "bundle.raucb", self.folder / "content"
        place.write_bytes(bundle)
        shutil.rmtree(content, ignore_errors=True)
        done = self._run("rauc", f"--keyring={self.certificate}", "extract", place, content)
        if done.returncode:
            raise Failure(f"LastError: {done.stderr.decode().splitlines()[-1]}")
        done = self._run(content / "handler.sh")
        if done.returncode:
            raise Failure("LastError: Installation error: Child process exited with code 1", done.stdout.decode())
        return ["100% Installing done."]
