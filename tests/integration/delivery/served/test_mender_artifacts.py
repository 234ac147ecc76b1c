"""Artifacts as edgewright writes them, read by Mender's own ``mender-artifact``."""

import io
import json
import subprocess
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from clients import require_client
from edgewright.delivery.identity.credentials import BundleKeys, create_credentials, load_bundle_keys
from edgewright.delivery.served.mender.artifacts import write_artifact
from edgewright.delivery.served.mender.composed_file import ComposedFile
from edgewright.delivery.served.mender.orders import MenderOrder, artifact_name, compose_artifact
from edgewright.errors import DeliveryError, DeliveryUnavailable
from edgewright_schemas.delivery import Delivery, MenderSettings
from edgewright_wire.layout import blob_path
from edgewright_wire.messages import ModelAssignment
from rigs.base import Grounds

EDGEWRIGHT = MenderSettings.model_validate({"deviceType": "lane-box"})
DIRECTORY = MenderSettings(module="directory")


@pytest.fixture
def grounds(tmp_path: Path) -> Iterator[Grounds]:
    made = Grounds(tmp_path, Delivery.model_validate({"type": "mender"}))
    create_credentials(made.keys)
    yield made
    made.close()


def keys(grounds: Grounds) -> BundleKeys:
    return load_bundle_keys(grounds.keys)


def release(grounds: Grounds, version: int = 1) -> ModelAssignment:
    made = grounds.release(version, config=b"threshold = 0.8")
    grounds.depot.keep(grounds.configs())
    return made


def order(target: ModelAssignment | None, nonce: str = "n-1") -> MenderOrder:
    return MenderOrder("reader", target, "/var/lib/edgewright", nonce)


def written(grounds: Grounds, ordered: MenderOrder, settings: MenderSettings) -> ComposedFile:
    name = artifact_name(ordered.model, ordered.target, "12345678")
    return write_artifact(compose_artifact(ordered, name, settings, grounds.depot), keys(grounds).key)


def saved(grounds: Grounds, pieces: ComposedFile) -> Path:
    path = grounds.folder / "some.mender"
    path.write_bytes(b"".join(pieces.read()))
    assert path.stat().st_size == pieces.size
    return path


def mender_artifact(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    program = require_client("mender-artifact")
    return subprocess.run([program, *arguments], capture_output=True, text=True, timeout=60, check=False)


def validate(grounds: Grounds, path: Path, public: bytes | None = None) -> subprocess.CompletedProcess[str]:
    key = grounds.folder / "public.pem"
    key.write_bytes(public or keys(grounds).public_pem)
    return mender_artifact("validate", "-k", key, path)


def payload_of(path: Path) -> tarfile.TarFile:
    with tarfile.open(path) as outer:
        data = outer.extractfile("data/0000.tar")
        assert data is not None
        return tarfile.open(fileobj=io.BytesIO(data.read()))


@pytest.mark.parametrize("settings", [EDGEWRIGHT, DIRECTORY], ids=["edgewright", "directory"])
@pytest.mark.parametrize("removes", [False, True], ids=["install", "remove"])
def test_menders_tool_finds_them_valid_and_signed(grounds: Grounds, settings: MenderSettings, removes: bool) -> None:
    path = saved(grounds, written(grounds, order(None if removes else release(grounds)), settings))

    result = validate(grounds, path)
    assert (result.returncode, result.stderr) == (0, "")
    said = mender_artifact("read", "-k", grounds.folder / "public.pem", path).stdout
    assert "Signature: signed and verified correctly" in said
    assert f"Compatible devices: '[{settings.device_type}]'" in said
    assert f"Type:   {settings.module}" in said
    assert 'Clears Provides: ["edgewright.reader.release"]' in said
    assert path.stat().st_size >= 4096, "clients refuse smaller ones"


def test_ours_says_what_is_ordered_and_brings_the_payload(grounds: Grounds) -> None:
    wanted = release(grounds)
    path = saved(grounds, written(grounds, order(wanted), EDGEWRIGHT))

    said = mender_artifact("read", path).stdout
    meta = json.loads(said[said.index("Metadata:") + 9 : said.index("Files:")])
    assert meta == {"model": "reader", "nonce": "n-1", "order": "install", "root": "/var/lib/edgewright"}
    assert f"edgewright.reader.release: {wanted.release}" in said
    with payload_of(path) as payload:
        brought = {name: getattr(payload.extractfile(name), "read", bytes)() for name in payload.getnames()}
    assert brought == {file.name: file.read() for file in grounds.depot.payload(wanted)}


def test_menders_own_module_gets_a_folder_as_the_installer_lays_it_out(grounds: Grounds, tmp_path: Path) -> None:
    from edgewright_agent.handle import ModelHandle

    wanted = release(grounds)
    root = tmp_path / "root"
    ordered = MenderOrder("reader", wanted, str(root), "")
    with payload_of(saved(grounds, written(grounds, ordered, DIRECTORY))) as payload:
        payload.extractall(tmp_path, filter="data")
    where = Path((tmp_path / "dest_dir").read_text())
    assert where == root / "models/reader"
    where.mkdir(parents=True)
    with tarfile.open(tmp_path / "update.tar") as update:
        update.extractall(where, filter="data")

    handle = ModelHandle(root, "reader")
    assert (handle.current.release, handle.config) == (wanted.release, b"threshold = 0.8")


def test_another_key_or_a_changed_byte_is_noticed(grounds: Grounds) -> None:
    path = saved(grounds, written(grounds, order(release(grounds)), EDGEWRIGHT))
    stranger = rsa.generate_private_key(65537, 2048).public_key()
    other = stranger.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    assert validate(grounds, path, other).returncode != 0

    content = path.read_bytes()
    path.write_bytes(content.replace(b"threshold = 0.8", b"threshold = 0.1"))
    assert validate(grounds, path).returncode != 0


def test_the_same_order_gives_the_same_bytes_and_can_be_read_from_anywhere(grounds: Grounds) -> None:
    wanted = release(grounds)
    pieces = written(grounds, order(wanted), EDGEWRIGHT)
    whole = b"".join(pieces.read())

    assert b"".join(written(grounds, order(wanted), EDGEWRIGHT).read()) == whole
    assert b"".join(written(grounds, order(wanted, "n-2"), EDGEWRIGHT).read()) != whole
    for start in (0, 1, 511, 512, 4097, pieces.size - 1, pieces.size):
        for end in (start, start + 1, start + 5000, pieces.size):
            assert b"".join(pieces.read(start, end)) == whole[start:end]


def test_what_clients_would_refuse_is_refused_with_advice(grounds: Grounds) -> None:
    made = grounds.release(1, config=b"x = 1")
    grounds.depot.keep(grounds.configs())
    assert made.config is not None
    odd = made.model_copy(update={"config": made.config.model_copy(update={"path": "lane box.toml"})})

    with pytest.raises(DeliveryError, match=r"'lane box.toml'") as refused:
        written(grounds, order(odd), EDGEWRIGHT)
    assert "config.path" in refused.value.hint


def test_damaged_blobs_are_never_signed(grounds: Grounds) -> None:
    wanted = release(grounds, 7)
    assert wanted.config is not None
    blob = grounds.folder / "repository" / blob_path(wanted.config.digest)
    sound = blob.read_bytes()
    blob.write_bytes(bytes(len(sound)))

    assert validate(grounds, saved(grounds, written(grounds, order(wanted), EDGEWRIGHT))).returncode != 0
    with pytest.raises(DeliveryError, match="other bytes"):
        written(grounds, order(wanted), DIRECTORY)
    blob.write_bytes(sound[:-1])
    with pytest.raises(DeliveryUnavailable, match="shorter"):
        b"".join(written(grounds, order(wanted), EDGEWRIGHT).read())
