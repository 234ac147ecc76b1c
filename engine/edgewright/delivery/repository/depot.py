"""The published packages and configurations by digest, and the *payload* of a device, which is made of them.

An installer on a device takes a payload: ``assignment.json``, ``manifest.json``, every layer of the package that is no
documentation by its file name, and the configuration. Called by the drivers that build bundles or push files.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from edgewright import durable
from edgewright.errors import DeliveryError, DeliveryUnavailable
from edgewright_wire.canonical import digest_bytes, hex_of
from edgewright_wire.layout import PAYLOAD_ASSIGNMENT, PAYLOAD_MANIFEST, TARGETS, blob_path, package_target
from edgewright_wire.messages import Blob, ModelAssignment
from edgewright_wire.package import DOC_TYPE, layers_by_path


@dataclass(frozen=True, slots=True)
class PayloadFile:
    """One file of a payload; its content is in ``data`` or at ``path``."""

    name: str
    digest: str
    size: int
    path: Path | None = None
    data: bytes = b""

    def read(self) -> bytes:
        """Read the file and check its digest.

        Raises:
            DeliveryUnavailable: It cannot be read.
            DeliveryError: It has other bytes.
        """
        if self.path is None:
            return self.data
        try:
            content = self.path.read_bytes()
        except OSError as error:
            raise _unreadable(self.path, error) from error
        if digest_bytes(content) != self.digest:
            raise DeliveryError(f"{self.path} has other bytes than its name says", hint="apply again, which mends it")
        return content


class Depot:
    """Reads a published repository's folder, and keeps configurations in it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def manifest(self, package: Blob) -> bytes:
        """Read a package's manifest.

        Raises:
            DeliveryError: It is not published, or has other bytes.
            DeliveryUnavailable: The repository cannot be read.
        """
        target = Path(package_target(package.digest))
        path = self._folder / TARGETS / target.parent / f"{hex_of(package.digest)}.{target.name}"
        return PayloadFile(PAYLOAD_MANIFEST, package.digest, package.size, self._published(path, package.digest)).read()

    def keep(self, configs: Mapping[str, bytes]) -> None:
        """Store configurations by digest, durably; keep those that are there whole.

        Raises:
            DeliveryError: One has other bytes than its digest.
            DeliveryUnavailable, StorageFull: The repository cannot be written.
        """
        for digest, content in configs.items():
            if digest_bytes(content) != digest:
                raise DeliveryError(f"configuration {digest} has other bytes", hint="render it again")
            path = self._folder / blob_path(digest)
            try:
                if not (path.exists() and path.read_bytes() == content):
                    durable.make_folder(path.parent)
                    durable.write_atomic(path, content)
            except OSError as error:
                raise _unreadable(path, error) from error

    def payload(self, target: ModelAssignment) -> tuple[PayloadFile, ...]:
        """List the files of a payload, by name.

        Raises:
            DeliveryError: The package or configuration is not published, or cannot be used.
            DeliveryUnavailable: The repository cannot be read.
        """
        manifest = self.manifest(target.package)
        try:
            layers = layers_by_path(json.loads(manifest))
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise DeliveryError(
                f"package {target.package.digest} cannot be used: {error}", hint="package the model again"
            ) from error
        assignment = target.to_bytes()
        files = [
            PayloadFile(PAYLOAD_ASSIGNMENT, digest_bytes(assignment), len(assignment), data=assignment),
            PayloadFile(PAYLOAD_MANIFEST, target.package.digest, len(manifest), data=manifest),
        ]
        wanted = {
            name: Blob(digest=layer["digest"], size=layer["size"])
            for name, layer in layers.items()
            if layer.get("mediaType") != DOC_TYPE
        }
        if target.config is not None:
            wanted[target.config.path] = target.config
        for name, blob in sorted(wanted.items()):
            path = self._published(self._folder / blob_path(blob.digest), blob.digest)
            files.append(PayloadFile(name, blob.digest, blob.size, path))
        return tuple(files)

    def _published(self, path: Path, digest: str) -> Path:
        if not path.exists():
            raise DeliveryError(f"{digest} is assigned, and not published", hint="publish it first: apply")
        return path


def _unreadable(path: Path, error: OSError) -> DeliveryUnavailable:
    return DeliveryUnavailable(
        f"cannot use {path}: {error.strerror or error}", hint="check that the published folder is mounted and writable"
    )
