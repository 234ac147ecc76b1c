"""Mender's artifact format, version 3: a tar archive of ``version``, ``manifest``, ``manifest.sig``, ``header.tar`` and
``data/0000.tar``, written without a program of Mender's. Called by ``orders``.

The manifest lists the sha256 of everything else, and the signature is the manifest's; the signature scheme, RSA with
PKCS #1 v1.5 padding, gives the same bytes each time, so every controller with the same key serves the same file.
"""

import base64
import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.hashes import SHA256

from edgewright.delivery.served.mender.composed_file import ComposedFile, tar
from edgewright.errors import DeliveryError
from edgewright_wire.canonical import canonical_json

_NAME = re.compile(r"[A-Za-z0-9_.,-]+")
"""The file names of a payload that clients accept."""


@dataclass(frozen=True, slots=True)
class ArtifactFile:
    """One file of the payload."""

    name: str
    content: ComposedFile
    sha256: str
    """In hex."""


@dataclass(frozen=True, slots=True)
class MenderArtifact:
    """The content of an artifact."""

    name: str
    device_types: Sequence[str]
    """Types of devices that it may be installed on."""
    module: str
    """The update module that installs it."""
    files: Sequence[ArtifactFile] = ()
    provides: Mapping[str, str] = field(default_factory=dict)
    """What the device provides once it is installed."""
    clears: Sequence[str] = ()
    """Patterns of what it provided before, and provides no more."""
    meta: Mapping[str, str] = field(default_factory=dict)
    """For the update module."""


def write_artifact(artifact: MenderArtifact, key: RSAPrivateKey) -> ComposedFile:
    """Write an artifact, signed.

    Raises:
        DeliveryError: A file has a name that clients refuse.
    """
    check_file_names(file.name for file in artifact.files)
    version = canonical_json({"format": "mender", "version": 3})
    header = _header(artifact)
    sums = {f"data/0000/{file.name}": file.sha256 for file in artifact.files}
    sums |= {"header.tar": hashlib.sha256(header).hexdigest(), "version": hashlib.sha256(version).hexdigest()}
    manifest = "".join(f"{digest}  {name}\n" for name, digest in sorted(sums.items())).encode()
    signature = base64.b64encode(key.sign(manifest, PKCS1v15(), SHA256()))
    small = {"version": version, "manifest": manifest, "manifest.sig": signature, "header.tar": header}
    data = tar((file.name, file.content) for file in artifact.files)
    return tar([*((name, ComposedFile.of_bytes(content)) for name, content in small.items()), ("data/0000.tar", data)])


def check_file_names(names: Iterable[str]) -> None:
    """Check file names by the rules of Mender's client.

    Raises:
        DeliveryError: Clients would refuse some; names all of them.
    """
    if refused := sorted(name for name in names if not _NAME.fullmatch(name)):
        raise DeliveryError(
            f"Mender's client takes no files called {', '.join(map(repr, refused))}",
            hint="name them, or the fleet's config.path, with letters, digits and . , _ - alone",
        )


def _header(artifact: MenderArtifact) -> bytes:
    info: dict[str, Any] = {
        "payloads": [{"type": artifact.module}],
        "artifact_provides": {"artifact_name": artifact.name},
        "artifact_depends": {"device_type": list(artifact.device_types)},
    }
    kind: dict[str, Any] = {
        "type": artifact.module,
        "artifact_provides": dict(artifact.provides),
        "clears_artifact_provides": list(artifact.clears),
    }
    files = {"header-info": info, "headers/0000/type-info": kind}
    if artifact.meta:
        files["headers/0000/meta-data"] = dict(artifact.meta)
    packed = tar((name, ComposedFile.of_bytes(canonical_json(content))) for name, content in files.items())
    return b"".join(packed.read())
