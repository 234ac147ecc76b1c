"""Writes a package as an OCI image layout folder, for registries, skopeo and other tools.

Format: https://github.com/opencontainers/image-spec/blob/main/image-layout.md. Blobs are written before the index that
names them; a folder that has its index is whole. Writing it again is harmless.
"""

from collections.abc import Mapping
from pathlib import Path

from edgewright.durable import copy_atomic, make_folder, sync_folder, write_atomic
from edgewright_wire.canonical import canonical_json, digest_bytes, hex_of
from edgewright_wire.package import ARTIFACT_TYPE, MANIFEST_TYPE

INDEX_TYPE = "application/vnd.oci.image.index.v1+json"
REFERENCE = "org.opencontainers.image.ref.name"


def write_oci_layout(
    manifest: bytes, blobs: Mapping[str, Path], into: Path, *, reference: str = "latest", link: bool = False
) -> str:
    """Write a layout with one package.

    Args:
        manifest: The OCI manifest.
        blobs: Config and layers, by digest.
        into: The folder; made if it is not there.
        reference: The tag the index gives the package.
        link: Make hard links to the blobs where that is possible, instead of copies.

    Returns:
        The manifest's digest.

    Raises:
        BlobCorrupt: A file does not match its digest.
        StorageFull: No space is left.
    """
    folder = into / "blobs" / "sha256"
    make_folder(folder)
    for digest, path in blobs.items():
        copy_atomic(path, folder / hex_of(digest), digest, link=link)
    sync_folder(folder)
    digest = digest_bytes(manifest)
    write_atomic(folder / hex_of(digest), manifest)
    write_atomic(into / "oci-layout", canonical_json({"imageLayoutVersion": "1.0.0"}))
    entry = {
        "mediaType": MANIFEST_TYPE,
        "artifactType": ARTIFACT_TYPE,
        "digest": digest,
        "size": len(manifest),
        "annotations": {REFERENCE: reference},
    }
    index = {"schemaVersion": 2, "mediaType": INDEX_TYPE, "manifests": [entry]}
    write_atomic(into / "index.json", canonical_json(index))
    return digest
