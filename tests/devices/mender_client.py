"""A device with Mender's client, as far as its server and its update modules can tell: the protocol over real HTTP, the
artifact opened and checked, the real update modules run as programs. One thing at a time, so that a test can end the
server anywhere between. ``tests/integration/test_mender_client.py`` has Mender's own.
"""

import base64
import hashlib
import io
import json
import os
import shutil
import subprocess
import tarfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_public_key

from rigs.base import Behaviour

API = "/api/devices"


class Broken(Exception):
    """An artifact that the client refuses."""


@dataclass
class Unpacked:
    """An artifact, opened."""

    name: str
    module: str
    meta: Mapping[str, str]
    provides: Mapping[str, str]
    clears: Sequence[str]
    device_types: Sequence[str]
    files: Mapping[str, bytes]


def unpack(artifact: bytes, key: RSAPublicKey) -> Unpacked:
    """Open an artifact and check it, as clients do.

    Raises:
        Broken: It is not signed by the key, or has other bytes.
    """
    with tarfile.open(fileobj=io.BytesIO(artifact)) as outer:
        assert outer.getnames() == ["version", "manifest", "manifest.sig", "header.tar", "data/0000.tar"]
        parts = {name: _member(outer, name) for name in outer.getnames()}
    try:
        key.verify(base64.b64decode(parts["manifest.sig"]), parts["manifest"], PKCS1v15(), SHA256())
    except InvalidSignature:
        raise Broken("reader: invalid signature: crypto/rsa: verification error") from None
    sums = {name: digest for digest, name in (line.split("  ") for line in parts["manifest"].decode().splitlines())}
    with tarfile.open(fileobj=io.BytesIO(parts["header.tar"])) as header:
        info, kind = (json.loads(_member(header, name)) for name in ("header-info", "headers/0000/type-info"))
        has_meta = "headers/0000/meta-data" in header.getnames()
        meta = json.loads(_member(header, "headers/0000/meta-data")) if has_meta else {}
    with tarfile.open(fileobj=io.BytesIO(parts["data/0000.tar"])) as data:
        files = {name: _member(data, name) for name in data.getnames()}
    found = {name: parts[name] for name in ("version", "header.tar")}
    found |= {f"data/0000/{name}": content for name, content in files.items()}
    if {name: hashlib.sha256(content).hexdigest() for name, content in found.items()} != sums:
        raise Broken("reader: error reading data: invalid checksum")
    return Unpacked(
        info["artifact_provides"]["artifact_name"],
        kind["type"],
        meta,
        kind["artifact_provides"],
        kind["clears_artifact_provides"],
        info["artifact_depends"]["device_type"],
        files,
    )


def _member(archive: tarfile.TarFile, name: str) -> bytes:
    file = archive.extractfile(name)
    assert file is not None
    return file.read()


@dataclass
class Deployment:
    """The current deployment."""

    id: str
    name: str
    uri: str
    stage: Callable[[], bool]
    artifact: bytes = b""
    content: Unpacked | None = None
    log: list[str] = field(default_factory=list)


class MenderDevice:
    """One device.

    Args:
        url: Where the server is now.
        folder: Everything of the device.
        identity: What its identity script prints.
        verify_key: Signs its artifacts.
        modules: Folder of update modules.
        scripts: Inventory scripts.
        tenant: The tenant token.
    """

    def __init__(
        self,
        url: Callable[[], str],
        folder: Path,
        identity: Mapping[str, str],
        verify_key: Path,
        modules: Path,
        scripts: Sequence[Path] = (),
        tenant: str = "",
        device_type: str = "edgewright",
    ) -> None:
        self._url = url
        self.folder = folder
        self.identity = dict(identity)
        self._modules = modules
        self._scripts = scripts
        self._tenant = tenant
        self.device_type = device_type
        key = load_pem_public_key(verify_key.read_bytes())
        assert isinstance(key, RSAPublicKey)
        self._verify_key = key
        self.key = Ed25519PrivateKey.generate()
        self.token = ""
        self.provides: dict[str, str] = {"artifact_name": "factory"}
        self.behaviour = Behaviour.HONEST
        self.at: Deployment | None = None
        self.log_due: Deployment | None = None
        self.inventory_due = True
        self.installs = 0
        self.path = os.environ.get("PATH", os.defpath)
        """Folder where update modules find programs."""
        self.http = httpx.Client(timeout=30, trust_env=False)

    def close(self) -> None:
        self.http.close()

    def step(self) -> bool:
        """Do the next thing; False when there was nothing to do."""
        if self.behaviour is Behaviour.SILENT:
            return False
        if not self.token:
            return self.authorize()
        if self.log_due is not None:
            return self._send_log(self.log_due)
        if self.at is not None:
            return self.at.stage()
        if self.inventory_due:
            return self._send_inventory()
        return self._ask()

    # ── talking ───────────────────────────────────────────────────────────────────────────────────────────────────

    def authorize(self) -> bool:
        answer = self.ask_for_token()
        self.token = answer.text if answer.status_code == 200 else ""
        return bool(self.token)

    def ask_for_token(self) -> httpx.Response:
        public = self.key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
        asks = {"id_data": json.dumps(self.identity), "pubkey": public, "tenant_token": self._tenant}
        body = json.dumps(asks).encode()
        headers = {"X-MEN-Signature": base64.b64encode(self.key.sign(body)).decode()}
        return self.http.post(f"{self._url()}{API}/v1/authentication/auth_requests", content=body, headers=headers)

    def call(self, method: str, path: str, body: Any = None, **headers: str) -> httpx.Response:
        """Send a request with the token, its body in chunks as the real client's."""
        headers["Authorization"] = f"Bearer {self.token}"
        content = None if body is None else iter([json.dumps(body).encode()])
        answer = self.http.request(method, f"{self._url()}{API}{path}", content=content, headers=headers)
        if answer.status_code == 401:
            self.token = ""
        return answer

    def _send_inventory(self) -> bool:
        lines = [line for script in self._scripts for line in self._run(str(script)).stdout.splitlines()]
        attributes = [dict(zip(("name", "value"), line.split("=", 1), strict=True)) for line in lines]
        attributes.append({"name": "device_type", "value": self.device_type})
        answer = self.call("PATCH", "/v1/inventory/device/attributes", attributes)
        self.inventory_due = answer.status_code != 200
        return True

    def _ask(self) -> bool:
        provides = {**self.provides, "device_type": self.device_type}
        answer = self.call("POST", "/v2/deployments/device/deployments/next", {"device_provides": provides})
        if answer.status_code != 200:
            assert answer.status_code in {204, 401}, answer.text
            return answer.status_code == 401
        found = answer.json()
        artifact = found["artifact"]
        assert artifact["device_types_compatible"] == [self.device_type]
        self.at = Deployment(found["id"], artifact["artifact_name"], artifact["source"]["uri"], self._begin)
        if artifact["artifact_name"] == self.provides["artifact_name"]:
            self.at.stage = lambda: self._finish("already-installed")
        return True

    def _report(self, status: str) -> bool:
        """Report the status; False: the server wants it to stop, or does not answer as it should."""
        assert self.at is not None
        path = f"/v1/deployments/device/deployments/{self.at.id}/status"
        answer = self.call("PUT", path, {"status": status})
        assert answer.status_code in {204, 401, 409}, answer.text
        if answer.status_code == 409:
            self.at.log.append("deployment aborted at the backend")
        return answer.status_code == 204

    def _send_log(self, deployment: Deployment) -> bool:
        stamp = datetime.now(UTC).isoformat()
        messages = [{"level": "error", "message": line, "timestamp": stamp} for line in deployment.log]
        self.call("PUT", f"/v1/deployments/device/deployments/{deployment.id}/log", {"messages": messages})
        self.log_due = None
        return True

    # ── a deployment, step after step ─────────────────────────────────────────────────────────────────────────────

    def _begin(self) -> bool:
        assert self.at is not None
        self.at.stage = self._fetch if self._report("downloading") else self._failed
        return True

    def _fetch(self) -> bool:
        assert self.at is not None
        if self.behaviour is Behaviour.STALLS:
            return False
        first = self.http.get(self.at.uri, headers={"Range": "bytes=0-999"})
        assert first.status_code == 206, first.text
        tag = first.headers["ETag"]
        rest = self.http.get(self.at.uri, headers={"Range": "bytes=1000-", "If-Range": tag})
        assert rest.status_code == 206
        assert rest.headers["Content-Range"] == f"bytes 1000-{999 + len(rest.content)}/{1000 + len(rest.content)}"
        self.at.artifact = first.content + rest.content
        if self.behaviour is Behaviour.CORRUPTS:
            at = self.at.artifact.rindex(b"data/0000.tar") + 512 + 520
            self.at.artifact = self.at.artifact[:at] + b"~" + self.at.artifact[at + 1 :]
        self.at.stage = self._store
        return True

    def _store(self) -> bool:
        assert self.at is not None
        self.at.stage = self._failed
        try:
            content = unpack(self.at.artifact, self._verify_key)
        except Broken as error:
            self.at.log.append(f"Artifact install failed: Payload: can not install Payload: {error}")
            return True
        assert content.name == self.at.name
        assert list(content.device_types) == [self.device_type]
        self.at.content = content
        self._lay_out(content)
        if self._report("downloading"):
            self.at.stage = self._lie if self.behaviour is Behaviour.LIES else self._install
        return True

    def _lie(self) -> bool:
        return self._finish("success")

    def _install(self) -> bool:
        assert self.at is not None
        if not self._report("installing"):
            self.at.stage = self._undo
        else:
            done = self._module("ArtifactInstall")
            self.installs += done
            self.at.stage = self._commit if done else self._undo
        return True

    def _commit(self) -> bool:
        assert self.at is not None
        assert self.at.content is not None
        if not self._report("installing") or not self._module("ArtifactCommit"):
            self.at.stage = self._undo
            return True
        kept = {name: value for name, value in self.provides.items() if name not in self.at.content.clears}
        self.provides = {**kept, **self.at.content.provides, "artifact_name": self.at.content.name}
        self._module("Cleanup")
        self.at.stage = lambda: self._finish("success")
        return True

    def _undo(self) -> bool:
        assert self.at is not None
        if self._ask_module("SupportsRollback") == "Yes":
            self._module("ArtifactRollback")
        self._module("ArtifactFailure")
        self.at.stage = self._failed
        return True

    def _failed(self) -> bool:
        assert self.at is not None
        if self.at.content is not None:
            self._module("Cleanup")
        self.log_due = self.at
        return self._finish("failure")

    def _finish(self, status: str) -> bool:
        if self._report(status):
            self.at = None
            self.inventory_due = True
            shutil.rmtree(self._tree, ignore_errors=True)
        return True

    # ── update modules ────────────────────────────────────────────────────────────────────────────────────────────

    @property
    def _tree(self) -> Path:
        return self.folder / "data/modules/v3/payloads/0000/tree"

    def _lay_out(self, content: Unpacked) -> None:
        shutil.rmtree(self._tree, ignore_errors=True)
        for folder in ("header", "tmp", "files"):
            (self._tree / folder).mkdir(parents=True)
        (self._tree / "header/artifact_name").write_text(content.name)
        (self._tree / "header/meta-data").write_text(json.dumps(content.meta, indent=2))
        for name, data in content.files.items():
            (self._tree / "files" / name).write_bytes(data)

    def _ask_module(self, state: str) -> str:
        assert self.at is not None
        assert self.at.content is not None
        return self._run(str(self._modules / self.at.content.module), state, str(self._tree)).stdout.strip()

    def _module(self, state: str) -> bool:
        assert self.at is not None
        assert self.at.content is not None
        program = self._modules / self.at.content.module
        result = self._run(str(program), state, str(self._tree))
        self.at.log += [f'Output (stderr) from command "{program}": {line}' for line in result.stderr.splitlines()]
        if result.returncode:
            self.at.log.append(f"Update module terminated abnormally: exit status {result.returncode}")
        return result.returncode == 0

    def _run(self, *command: str) -> subprocess.CompletedProcess[str]:
        where = self._tree if self._tree.is_dir() else self.folder
        environment = {**os.environ, "PATH": self.path}
        return subprocess.run(
            command, cwd=where, env=environment, capture_output=True, text=True, timeout=120, check=False
        )
