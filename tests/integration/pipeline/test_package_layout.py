import json
import subprocess
from pathlib import Path

import pytest

from clients import require_client
from edgewright.errors import BlobCorrupt
from edgewright.pipeline.packaging.layout import write_oci_layout
from edgewright.pipeline.packaging.manifest import Description, Part, make_config, make_manifest
from edgewright_wire.canonical import digest_bytes
from edgewright_wire.package import DOC_TYPE, WEIGHT_TYPE

DESCRIPTION = Description(
    name="reader",
    task="image-classification",
    architecture="small-cnn",
    parameters=5130,
    precision="int8",
    quantization="static-int8",
    atol=0.05,
    input_name="input",
    output_name="output",
    image=True,
)


def package(folder: Path, model: bytes = b"weights") -> tuple[bytes, dict[str, Path]]:
    folder.mkdir()
    parts = [Part("model.onnx", WEIGHT_TYPE, model), Part("README.md", DOC_TYPE, b"# reader\n")]
    config = make_config(DESCRIPTION, parts)
    blobs = {}
    for number, data in enumerate([config, *(part.data for part in parts)]):
        (folder / str(number)).write_bytes(data)
        blobs[digest_bytes(data)] = folder / str(number)
    return make_manifest(DESCRIPTION, config, parts), blobs


def test_skopeo_reads_and_copies_the_layout(tmp_path: Path) -> None:
    skopeo = require_client("skopeo")
    manifest, blobs = package(tmp_path / "package")

    digest = write_oci_layout(manifest, blobs, tmp_path / "layout", reference="v1")

    raw = subprocess.run(
        [skopeo, "inspect", "--raw", f"oci:{tmp_path / 'layout'}:v1"], capture_output=True, check=True
    ).stdout
    assert raw == manifest
    # Copying makes skopeo read every blob and check its digest.
    copied = tmp_path / "copied"
    subprocess.run(
        [skopeo, "--insecure-policy", "copy", f"oci:{tmp_path / 'layout'}:v1", f"dir:{copied}"],
        capture_output=True,
        check=True,
    )
    assert digest_bytes((copied / "manifest.json").read_bytes()) == digest
    assert {path.name for path in copied.iterdir()} >= {digest.removeprefix("sha256:") for digest in blobs}


def test_the_layout_is_whole_and_writing_it_again_replaces_what_it_names(tmp_path: Path) -> None:
    manifest, blobs = package(tmp_path / "package")
    newer, newer_blobs = package(tmp_path / "newer", b"other weights")

    assert write_oci_layout(manifest, blobs, tmp_path / "layout") == digest_bytes(manifest)
    assert write_oci_layout(manifest, blobs, tmp_path / "layout") == digest_bytes(manifest)
    write_oci_layout(newer, newer_blobs, tmp_path / "layout", link=True)

    assert json.loads((tmp_path / "layout" / "oci-layout").read_text()) == {"imageLayoutVersion": "1.0.0"}
    (entry,) = json.loads((tmp_path / "layout" / "index.json").read_text())["manifests"]
    assert entry["digest"] == digest_bytes(newer)
    for digest in {*blobs, *newer_blobs, digest_bytes(manifest), digest_bytes(newer)}:
        path = tmp_path / "layout" / "blobs" / "sha256" / digest.removeprefix("sha256:")
        assert digest_bytes(path.read_bytes()) == digest


def test_a_blob_with_other_bytes_than_its_digest_leaves_no_index(tmp_path: Path) -> None:
    manifest, blobs = package(tmp_path / "package")
    next(iter(blobs.values())).write_bytes(b"rotten")

    with pytest.raises(BlobCorrupt):
        write_oci_layout(manifest, blobs, tmp_path / "layout")
    assert not (tmp_path / "layout" / "index.json").exists()
